from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from deal_sdk.chain.confirmer import DEFAULT_POLL_INTERVAL_SECONDS, NOTE_AFTER_SECONDS, Confirmer
from deal_sdk.chain.following import DeliveryNote, Following, Verdict
from deal_sdk.chain.sender import Sender
from deal_sdk.clock import ManualClock
from deal_sdk.errors import RpcRateLimitedError, RpcTimeoutError, RpcUnavailableError
from deal_sdk.metrics import Metrics
from tests.unit.chain.scripted import (
    FINALITY_SLOTS,
    Landed,
    RpcFault,
    ScriptedNode,
    pass_time,
    rpc_over,
    settle,
    transaction,
)

LAST_VALID = 1_150
PAST_EXPIRY = LAST_VALID + FINALITY_SLOTS + 1


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def node() -> ScriptedNode:
    return ScriptedNode()


@pytest.fixture
async def confirmer(node: ScriptedNode, clock: ManualClock) -> AsyncIterator[Confirmer]:
    confirmer = Confirmer(rpc_over(node, clock), clock=clock, metrics=Metrics())
    yield confirmer
    await confirmer.close()


def is_pending(following: Following) -> bool:
    return not following.is_final


class TestLanding:
    async def test_it_is_sent_at_once_and_is_final_only_at_finalized(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        await settle()
        assert len(node.sent) == 1
        node.landed["a"] = Landed(1_000)
        await pass_time(clock, 1)
        assert following.verdict is None
        node.landed["a"].commitment = "confirmed"
        await pass_time(clock, 1)
        confirmed = await following.reached("confirmed")
        assert (confirmed.state, confirmed.final, confirmed.slot) == ("confirmed", False, 1_000)
        assert is_pending(following)
        node.landed["a"].commitment = "finalized"
        await pass_time(clock, 1)
        verdict = await following.reached("finalized")
        assert (verdict.state, verdict.final, verdict.succeeded) == ("finalized", True, True)
        assert verdict.evidence["endpoint"] == "scripted"
        assert verdict.evidence["context_slot"] == 1_000
        assert confirmer.pending_count == 0

    async def test_the_error_is_looked_at_before_the_commitment(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        node.landed["a"] = Landed(1_000, "confirmed", {"InstructionError": [0, {"Custom": 1}]})
        await pass_time(clock, 1)
        failed = await following.reached("confirmed")
        assert (failed.state, failed.final, failed.succeeded) == ("failed", False, False)
        node.landed["a"].commitment = "finalized"
        await pass_time(clock, 1)
        final = await following.reached("finalized")
        assert (final.state, final.final) == ("failed", True)
        assert final.error == {"InstructionError": [0, {"Custom": 1}]}
        assert final.evidence["error"] == final.error

    async def test_a_failure_that_a_fork_took_back_may_still_succeed(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        node.landed["a"] = Landed(1_000, "confirmed", {"InstructionError": [0, {"Custom": 1}]})
        await pass_time(clock, 1)
        assert following.verdict is not None
        assert following.verdict.state == "failed"
        node.slot = 1_010
        node.landed["a"] = Landed(1_005, "finalized")
        await pass_time(clock, 1)
        assert (await following.reached("finalized")).state == "finalized"

    async def test_processed_says_nothing(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        node.landed["a"] = Landed(1_000, "processed", {"InstructionError": [0, {"Custom": 1}]})
        await pass_time(clock, 5)
        assert following.verdict is None

    async def test_verdicts_are_told_in_order(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        told: list[Verdict] = []

        async def listen() -> None:
            async for verdict in following.verdicts():
                told.append(verdict)

        listener = asyncio.create_task(listen())
        node.landed["a"] = Landed(1_000, "confirmed")
        await pass_time(clock, 1)
        node.landed["a"].commitment = "finalized"
        await pass_time(clock, 1)
        await listener
        assert [verdict.state for verdict in told] == ["confirmed", "finalized"]

    async def test_the_ends_are_counted(self, node, clock):
        metrics = Metrics()
        confirmer = Confirmer(rpc_over(node, clock), clock=clock, metrics=metrics)
        confirmer.follow(transaction("a"))
        node.landed["a"] = Landed(1_000, "finalized")
        await pass_time(clock, 1)
        assert 'payment_attempts_total{outcome="finalized"} 1.0' in metrics.render().decode()
        await confirmer.close()


class TestFinality:
    """Of those that are confirmed the oldest is asked about; the others once their slot is final."""

    @pytest.fixture
    async def confirmed(self, confirmer, node, clock) -> list[Following]:
        followings = [confirmer.follow(transaction(name)) for name in "abc"]
        slots = {"a": 998, "b": 998, "c": 1_000}
        node.landed = {name: Landed(slot, "confirmed") for name, slot in slots.items()}
        await pass_time(clock, 0.5)
        assert [following.verdict.state for following in followings] == ["confirmed"] * 3
        node.bodies.clear()
        return followings

    async def test_the_oldest_is_polled_for_all(self, confirmed, node, clock):
        await pass_time(clock, 1.3)
        assert {tuple(signatures) for signatures in asked_about(node)} == {("a",)}
        assert len(asked_about(node)) <= 4

    async def test_a_final_slot_is_soon_asked_about_as_a_whole(self, confirmed, node, clock):
        for name in "ab":
            node.landed[name].commitment = "finalized"
        await pass_time(clock, 0.8)
        assert [following.is_final for following in confirmed] == [True, True, False]
        node.landed["c"].commitment = "finalized"
        await pass_time(clock, 0.6)
        assert confirmed[2].is_final

    async def test_a_younger_one_is_found_final_before_an_older_that_lingers(self, confirmed, node, clock):
        node.landed["c"].commitment = "finalized"
        await pass_time(clock, 2.2)
        assert [following.is_final for following in confirmed] == [False, False, True]

    async def test_one_that_vanishes_is_polled_often_again(self, confirmed, node, clock):
        del node.landed["b"]
        await pass_time(clock, 2.2)
        assert confirmed[1].verdict is None
        node.landed["b"] = Landed(1_000, "confirmed")
        await pass_time(clock, 0.2)
        assert confirmed[1].verdict.slot == 1_000

    async def test_the_oldest_goes_along_when_others_are_asked_about(self, confirmed, confirmer, node, clock):
        confirmer.follow(transaction("new"))
        await pass_time(clock, 0.4)
        assert set(map(tuple, asked_about(node))) == {("new", "a")}


def asked_about(node: ScriptedNode) -> list[list[str]]:
    return [body["params"][0] for body in node.bodies if body["method"] == "getSignatureStatuses"]


class TestRebroadcast:
    async def test_identical_bytes_leave_again_while_nobody_has_seen_it(self, confirmer, node, clock):
        confirmer.follow(transaction("a"))
        await pass_time(clock, 6.5)
        assert len(node.sent) == 4
        assert len(set(node.sent)) == 1
        assert all(options["maxRetries"] == 0 for options in node.send_options)
        assert all(options["preflightCommitment"] == "confirmed" for options in node.send_options)
        assert [options["skipPreflight"] for options in node.send_options] == [True, False, True, True]

    async def test_one_that_was_seen_is_not_sent_again(self, confirmer, node, clock):
        confirmer.follow(transaction("a"))
        node.landed["a"] = Landed(1_000)
        await pass_time(clock, 6.5)
        assert len(node.sent) == 1

    async def test_a_vanished_confirmed_transaction_is_sent_again_and_lands_again(
        self, confirmer, node, clock
    ):
        following = confirmer.follow(transaction("a"))
        node.landed["a"] = Landed(1_000, "confirmed")
        await pass_time(clock, 3)
        assert following.verdict is not None
        del node.landed["a"]
        node.slot = 1_010
        await pass_time(clock, 3)
        assert following.verdict is None
        assert len(node.sent) >= 2
        node.landed["a"] = Landed(1_008, "finalized")
        await pass_time(clock, 1)
        assert (await following.reached("finalized")).slot == 1_008

    async def test_a_node_that_lags_takes_nothing_back(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        node.landed["a"] = Landed(1_000, "confirmed")
        await pass_time(clock, 1)
        node.lag_slots = 5
        await pass_time(clock, 5)
        assert following.verdict is not None
        assert following.verdict.state == "confirmed"
        assert len(node.sent) == 1

    async def test_a_lost_reply_of_the_send_changes_nothing(self, confirmer, node, clock):
        node.lose_replies_of.add("sendTransaction")
        following = confirmer.follow(transaction("a"))
        await pass_time(clock, 1)
        assert is_pending(following)
        node.landed["a"] = Landed(1_000, "finalized")
        await pass_time(clock, 1)
        assert (await following.reached("finalized")).state == "finalized"

    async def test_a_failed_preflight_is_no_verdict(self, confirmer, node, clock):
        node.refuse_sends = RpcFault(-32002, "Blockhash not found", {"err": "BlockhashNotFound"})
        following = confirmer.follow(transaction("a"))
        await pass_time(clock, 3)
        assert is_pending(following)
        assert following.verdict is None
        assert following.last_report is not None
        assert following.last_report.error is not None
        assert len(node.sent) >= 2
        node.landed["a"] = Landed(1_000, "finalized")
        await pass_time(clock, 1)
        assert (await following.reached("finalized")).state == "finalized"

    async def test_one_that_the_node_has_already_was_accepted(self, node, clock):
        node.refuse_sends = RpcFault(-32002, "already", {"err": "AlreadyProcessed"})
        report = await Sender(rpc_over(node, clock)).send(transaction("a"))
        assert report.error is None

    async def test_many_broadcasts_share_requests(self, confirmer, node):
        for number in range(250):
            confirmer.follow(transaction(f"t{number}"))
        await settle()
        assert len(node.sent) == 250
        assert (
            sum(isinstance(body, list) and body[0]["method"] == "sendTransaction" for body in node.bodies)
            == 3
        )


class TestExpiry:
    async def test_it_expires_with_the_whole_evidence(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        node.slot = PAST_EXPIRY
        await pass_time(clock, 3)
        verdict = await following.reached("confirmed")
        assert (verdict.state, verdict.final, verdict.slot) == ("expired", True, None)
        assert verdict.evidence["finalized_height"] == LAST_VALID + 1
        assert verdict.evidence["finalized_slot"] == LAST_VALID + 1
        assert verdict.evidence["last_valid_block_height"] == LAST_VALID
        assert verdict.evidence["context_slot"] >= verdict.evidence["finalized_slot"]
        assert verdict.evidence["endpoints"] == ["scripted"]
        assert verdict.evidence["checked_at"]

    async def test_not_at_the_last_valid_height_itself(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        node.slot = PAST_EXPIRY - 1
        await pass_time(clock, 10)
        assert following.verdict is None

    async def test_the_processed_height_does_not_count(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        node.slot = LAST_VALID + 20
        await pass_time(clock, 10)
        assert following.verdict is None

    async def test_the_height_is_read_before_the_status_that_proves_it(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        node.slot = PAST_EXPIRY
        # It lands right after the height was read; a status read earlier would have missed it.
        node.before["getEpochInfo"] = lambda: node.history.setdefault("a", Landed(1_149, "finalized"))
        await pass_time(clock, 3)
        assert (await following.reached("finalized")).state == "finalized"

    async def test_the_history_is_searched(self, confirmer, node, clock):
        node.history["a"] = Landed(1_100, "finalized", {"InstructionError": [0, {"Custom": 1}]})
        node.slot = 100_000
        following = confirmer.follow(transaction("a"))
        await pass_time(clock, 3)
        assert (await following.reached("finalized")).state == "failed"

    async def test_a_node_behind_the_finalized_slot_proves_nothing(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        node.slot = PAST_EXPIRY
        node.lag_slots = FINALITY_SLOTS + 1
        await pass_time(clock, 10)
        assert following.verdict is None
        node.lag_slots = FINALITY_SLOTS
        await pass_time(clock, 3)
        assert (await following.reached("finalized")).state == "expired"

    async def test_a_node_that_forgot_the_time_of_signing_proves_nothing(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        node.slot = 500_000
        node.first_available_block = 1_001
        await pass_time(clock, 10)
        assert following.verdict is None
        node.first_available_block = 1_000
        await pass_time(clock, 3)
        assert (await following.reached("finalized")).state == "expired"

    async def test_every_witness_must_agree(self, node, clock):
        witness = ScriptedNode()
        witness.slot = node.slot = PAST_EXPIRY
        witness.history["a"] = Landed(1_149, "finalized")
        confirmer = Confirmer(
            rpc_over(node, clock), clock=clock, metrics=Metrics(), witnesses=[rpc_over(witness, clock)]
        )
        following = confirmer.follow(transaction("a"))
        await pass_time(clock, 3)
        assert (await following.reached("finalized")).state == "finalized"
        await confirmer.close()

    async def test_a_dead_witness_leaves_it_pending_and_slows_nobody(self, node, clock):
        witness = ScriptedNode()
        witness.methods["getFirstAvailableBlock"] = _refuse
        node.slot = PAST_EXPIRY
        confirmer = Confirmer(
            rpc_over(node, clock), clock=clock, metrics=Metrics(), witnesses=[rpc_over(witness, clock)]
        )
        following = confirmer.follow(transaction("a"))
        await pass_time(clock, 10)
        assert following.verdict is None
        other = confirmer.follow(transaction("b"))
        node.landed["b"] = Landed(PAST_EXPIRY, "finalized")
        await pass_time(clock, 0.2)
        assert other.is_final
        await confirmer.close()

    async def test_what_the_node_said_to_the_send_is_kept(self, confirmer, node, clock):
        node.refuse_sends = RpcFault(
            -32002, "custom program error: 0x1", {"err": {"InstructionError": [0, 1]}}
        )
        following = confirmer.follow(transaction("a"))
        await pass_time(clock, 1)
        node.slot = PAST_EXPIRY
        await pass_time(clock, 3)
        verdict = await following.reached("finalized")
        assert verdict.state == "expired"
        assert verdict.error["rpc_code"] == -32002

    async def test_a_transaction_of_others_is_never_sent_nor_expired(self, confirmer, node, clock):
        following = confirmer.watch("foreign")
        node.slot = 10_000
        await pass_time(clock, 10)
        assert following.verdict is None
        assert node.sent == []
        node.landed["foreign"] = Landed(9_999, "finalized")
        await pass_time(clock, 1)
        assert (await following.reached("finalized")).state == "finalized"

    async def test_watching_first_does_not_keep_it_from_being_sent(self, confirmer, node, clock):
        watched = confirmer.watch("a")
        followed = confirmer.follow(transaction("a"))
        await settle()
        assert followed is watched
        assert len(node.sent) == 1
        node.slot = PAST_EXPIRY
        await pass_time(clock, 3)
        assert (await followed.reached("finalized")).state == "expired"


class TestSweeper:
    async def test_one_call_serves_256_signatures(self, confirmer, node, clock):
        followings = [confirmer.follow(transaction(f"t{number}")) for number in range(300)]
        await settle()
        assert node.count("getSignatureStatuses") == 2
        for number in range(300):
            node.landed[f"t{number}"] = Landed(1_000, "finalized")
        await pass_time(clock, 0.2)
        assert all(following.is_final for following in followings)

    async def test_those_who_came_one_by_one_are_asked_about_together(self, confirmer, node, clock):
        rounds, arrivals_per_round = 10, 20
        for number in range(rounds * arrivals_per_round):
            confirmer.follow(transaction(f"t{number}"))
            await settle()
            await clock.advance(DEFAULT_POLL_INTERVAL_SECONDS / arrivals_per_round)
        # The first is asked about at once, and from then on one call a round is enough for all.
        assert rounds <= node.count("getSignatureStatuses") <= rounds + 1

    async def test_following_twice_is_following_once(self, confirmer, node):
        first = confirmer.follow(transaction("a"))
        assert confirmer.follow(transaction("a")) is first
        await settle()
        assert len(node.sent) == 1

    async def test_it_survives_an_outage_and_backs_off(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        await settle()
        node.fail_next = [RpcUnavailableError("down")] * 5 + [RpcTimeoutError("slow")] * 5
        asked = len(node.bodies)
        await pass_time(clock, 3)
        assert is_pending(following)
        assert len(node.bodies) - asked <= 8
        node.fail_next = []
        node.landed["a"] = Landed(1_000, "finalized")
        await pass_time(clock, 15)
        assert (await following.reached("finalized")).state == "finalized"

    async def test_it_waits_as_long_as_the_endpoint_asks(self, confirmer, node, clock):
        node.landed["a"] = Landed(1_000, "confirmed")
        following = confirmer.follow(transaction("a"))
        await pass_time(clock, 1)
        node.fail_next = [RpcRateLimitedError("slow down", retry_after_seconds=30.0)]
        await pass_time(clock, 2)
        asked = len(node.bodies)
        await pass_time(clock, 25)
        assert len(node.bodies) == asked
        node.landed["a"].commitment = "finalized"
        await pass_time(clock, 10)
        assert following.is_final

    async def test_a_bug_does_not_end_it(self, confirmer, node, clock, caplog):
        def explode() -> None:
            raise ZeroDivisionError

        node.before["getSignatureStatuses"] = explode
        following = confirmer.follow(transaction("a"))
        await pass_time(clock, 1)
        assert "broke" in caplog.text
        del node.before["getSignatureStatuses"]
        node.landed["a"] = Landed(1_000, "finalized")
        await pass_time(clock, 15)
        assert following.is_final

    async def test_it_rests_without_work_and_wakes_with_it(self, confirmer, node, clock):
        confirmer.follow(transaction("a"))
        node.landed["a"] = Landed(1_000, "finalized")
        await pass_time(clock, 1)
        asked = len(node.bodies)
        await pass_time(clock, 60, step_seconds=1)
        assert len(node.bodies) == asked
        following = confirmer.follow(transaction("b"))
        node.landed["b"] = Landed(1_000, "finalized")
        await pass_time(clock, 0.3)
        assert following.is_final

    async def test_close_cancels_those_who_wait(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        waiter = asyncio.create_task(following.reached("confirmed"))
        await settle()
        await confirmer.close()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        with pytest.raises(RpcUnavailableError):
            await following.reached("confirmed")
        with pytest.raises(RpcUnavailableError):
            confirmer.follow(transaction("b"))

    async def test_one_waiter_that_gives_up_takes_nothing_from_another(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        leaver = asyncio.create_task(following.reached("confirmed"))
        stayer = asyncio.create_task(following.reached("confirmed"))
        await settle()
        leaver.cancel()
        node.landed["a"] = Landed(1_000, "confirmed")
        await pass_time(clock, 1)
        assert (await stayer).state == "confirmed"

    async def test_a_forgotten_one_is_polled_no_more(self, confirmer, node, clock):
        following = confirmer.follow(transaction("a"))
        await settle()
        confirmer.forget(following)
        await pass_time(clock, 1)
        asked = len(node.bodies)
        await pass_time(clock, 5)
        assert len(node.bodies) == asked
        assert confirmer.pending_count == 0


def _refuse(_: object) -> None:
    raise RpcFault(-32601, "no such method")


class TestDeliveryNotes:
    async def watched(
        self, node: ScriptedNode, clock: ManualClock
    ) -> tuple[Confirmer, list[tuple[str, str]]]:
        told: list[tuple[str, str]] = []
        self.evidence: list[dict[str, object]] = []

        def take(notes: Sequence[DeliveryNote]) -> None:
            told.extend((note.signature, note.status) for note in notes)
            self.evidence.extend(note.evidence for note in notes)

        self.metrics = Metrics()
        confirmer = Confirmer(rpc_over(node, clock), clock=clock, metrics=self.metrics, on_undelivered=take)
        return confirmer, told

    async def test_what_confirms_soon_is_never_noted(self, node, clock):
        confirmer, told = await self.watched(node, clock)
        confirmer.follow(transaction("a"))
        await pass_time(clock, NOTE_AFTER_SECONDS - 1)
        node.landed["a"] = Landed(1_000, "confirmed")
        await pass_time(clock, 10)
        assert told == []
        await confirmer.close()

    async def test_a_slow_one_is_noted_as_sent_once(self, node, clock):
        confirmer, told = await self.watched(node, clock)
        confirmer.follow(transaction("a"))
        await pass_time(clock, NOTE_AFTER_SECONDS + 10)
        assert told == [("a", "sent")]
        assert self.evidence[0]["error"] is None
        assert self.evidence[0]["broadcasts"] == 3
        await confirmer.close()

    async def test_a_refused_one_is_unknown_with_the_refusal_and_sent_once_it_is_taken(self, node, clock):
        confirmer, told = await self.watched(node, clock)
        node.refuse_sends = RpcFault(-32005, "unhealthy")
        confirmer.follow(transaction("a"))
        await pass_time(clock, NOTE_AFTER_SECONDS + 1)
        assert told == [("a", "unknown")]
        assert self.evidence[0]["error"]["code"] == "rpc_unavailable"
        await confirmer.close()

    async def test_a_lost_note_is_made_again(self, node, clock):
        confirmer, told = await self.watched(node, clock)
        following = confirmer.follow(transaction("a"))
        await pass_time(clock, NOTE_AFTER_SECONDS + 1)
        following.noted_status = None
        await pass_time(clock, 1)
        assert told == [("a", "sent"), ("a", "sent")]
        await confirmer.close()

    async def test_rebroadcasts_are_counted(self, node, clock):
        confirmer, _ = await self.watched(node, clock)
        confirmer.follow(transaction("a"))
        await pass_time(clock, 6.5)
        assert self.metrics.registry.get_sample_value("payment_rebroadcasts_total") == len(node.sent) - 1
        await confirmer.close()
