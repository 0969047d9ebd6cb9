"""The pool: who is asked, what goes on to the next, and what is said when nobody answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deal_sdk.chain.pool import RpcPool
from deal_sdk.chain.rpc_opening import open_pool
from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    ChainMismatchError,
    RpcAllEndpointsFailedError,
    RpcMalformedReplyError,
    RpcRateLimitedError,
    RpcRefusedError,
    RpcTimeoutError,
    RpcUnavailableError,
)
from deal_sdk.metrics import Metrics
from deal_sdk.settings import load_settings
from tests.unit.chain.scripted import RpcFault, ScriptedNode, pass_time, settle

UNKNOWN_BLOCKHASH = RpcFault(-32002, "Blockhash not found", {"err": "BlockhashNotFound"})
ALL_FAULTS = [
    RpcUnavailableError("down"),
    RpcTimeoutError("late"),
    RpcRateLimitedError("slow down", retry_after_seconds=1.0),
    RpcMalformedReplyError("garbage"),
    RpcRefusedError("bad key", rpc_code=401),
]


class Node(ScriptedNode):
    """A scripted node with a name, a cluster, and replies that can be held back."""

    def __init__(self, endpoint: str) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.genesis = "cluster"
        self.down: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.holds_back: set[str] = set()
        self.methods |= {
            "getGenesisHash": lambda _: self.genesis,
            "getSlot": lambda _: self.slot - self.lag_slots,
            "getMultipleAccounts": self._accounts,
            "requestAirdrop": lambda _: "airdrop",
            "getBlock": lambda _: None,
        }

    async def post(self, body: bytes) -> bytes:
        if self.down is not None:
            await asyncio.sleep(0)
            raise self.down
        if any(name.encode() in body for name in self.holds_back):
            self.gate.clear()
            await self.gate.wait()
        elif not self.holds_back:
            await self.gate.wait()
        return await super().post(body)

    def _accounts(self, params: list[Any]) -> dict[str, Any]:
        wanted = params[1].get("minContextSlot", 0)
        if wanted > self.slot - self.lag_slots:
            raise RpcFault(-32016, "Minimum context slot", {"contextSlot": self.slot - self.lag_slots})
        return {"context": self._context(), "value": [None for _ in params[0]]}


class World:
    """Three nodes of one cluster behind a pool."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.nodes = [Node("a"), Node("b"), Node("c")]
        self.rpc: Any = None

    async def open(self, **options: Any) -> World:
        settings = load_settings(rpc_hedge_share=options.pop("rpc_hedge_share", 0.0), **options)
        self.rpc = await open_pool(self.nodes, settings, clock=self.clock, metrics=self.metrics)
        self.forget()
        return self

    def forget(self) -> None:
        for node in self.nodes:
            node.asked.clear()

    def move(self, slots: int) -> None:
        for node in self.nodes:
            node.slot += slots

    def asked(self, method: str) -> list[int]:
        return [node.count(method) for node in self.nodes]

    async def probe(self) -> None:
        await pass_time(self.clock, 5.0, step_seconds=2.5)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
async def world():
    made = World()
    yield made
    if made.rpc is not None:
        await made.rpc.close()


async def finished(task: asyncio.Task[Any]) -> Any:
    await settle()
    assert task.done()
    return task.result()


class TestOrder:
    async def test_reads_and_sends_go_to_the_preferred_endpoint(self, world):
        await world.open()
        await world.rpc.get_slot()
        await world.rpc.send_transaction(b"bytes")
        assert world.asked("getSlot") == [1, 0, 0]
        assert world.asked("sendTransaction") == [1, 0, 0]

    async def test_calls_of_one_tick_still_share_a_batch(self, world):
        await world.open()
        await asyncio.gather(*(world.rpc.send_transaction(bytes([n])) for n in range(20)))
        assert [len(body) for body in world.nodes[0].bodies if isinstance(body, list)] == [20]

    async def test_rebroadcasts_go_round(self, world):
        await world.open()
        for turn in range(4):
            await world.rpc.send_transaction(b"bytes", skip_preflight=True, turn=turn)
        assert world.asked("sendTransaction") == [2, 1, 1]
        assert len({sent for node in world.nodes for sent in node.sent}) == 1, "never new bytes"

    @pytest.mark.parametrize("fault", ALL_FAULTS, ids=lambda fault: fault.code)
    @pytest.mark.parametrize("method", ["getSlot", "sendTransaction", "getBlock"])
    async def test_what_fails_goes_on_to_the_next(self, world, fault, method):
        await world.open()
        world.nodes[0].down = fault
        params = ["bytes", {}] if method == "sendTransaction" else [{}]
        await world.rpc.call(method, params)
        assert world.asked(method) == [0, 1, 0]
        assert world.metric("rpc_failovers_total", endpoint="a") == 1

    async def test_a_refusal_that_holds_everywhere_is_not_repeated(self, world):
        await world.open()
        world.nodes[0].refuse_sends = RpcFault(-32002, "failed", {"err": {"InstructionError": [0, 1]}})
        with pytest.raises(RpcRefusedError):
            await world.rpc.send_transaction(b"bytes")
        assert world.asked("sendTransaction") == [1, 0, 0]

    async def test_a_node_that_does_not_know_the_blockhash_yet_is_passed_over(self, world):
        await world.open()
        world.nodes[0].refuse_sends = UNKNOWN_BLOCKHASH
        await world.rpc.send_transaction(b"bytes")
        assert world.asked("sendTransaction") == [1, 1, 0]

    async def test_what_is_not_to_be_repeated_is_not(self, world):
        await world.open()
        world.nodes[0].down = RpcTimeoutError("late")
        with pytest.raises(RpcTimeoutError):
            await world.rpc.call("requestAirdrop", ["x", 1])
        assert world.asked("requestAirdrop") == [0, 0, 0]

    async def test_one_that_hangs_is_asked_last_after_a_while(self, world):
        await world.open()
        world.nodes[0].gate.clear()
        hanging = asyncio.create_task(world.rpc.get_slot())
        await pass_time(world.clock, 1.5)
        await world.rpc.get_slot()
        assert world.asked("getSlot") == [0, 1, 0]
        world.nodes[0].gate.set()
        assert await finished(hanging) == 1_000
        await world.rpc.get_slot()
        assert world.asked("getSlot") == [2, 1, 0]

    async def test_a_paused_endpoint_is_left_alone_while_others_serve(self, world):
        await world.open()
        world.nodes[0].down = RpcRateLimitedError("slow down", retry_after_seconds=30.0)
        await world.rpc.get_slot()
        world.nodes[0].down = None
        await world.rpc.get_slot()
        assert world.asked("getSlot") == [0, 2, 0]
        await pass_time(world.clock, 30, step_seconds=1)
        world.forget()
        await world.rpc.get_slot()
        assert world.asked("getSlot") == [1, 0, 0]

    async def test_calls_beyond_the_rate_spill_over_before_they_wait(self, world):
        await world.open(rpc_calls_per_second={"a": 2.0})
        await world.clock.advance(10)
        for _ in range(5):
            await world.rpc.get_slot()
        assert world.asked("getSlot") == [2, 3, 0]


class TestLag:
    async def test_one_that_lags_is_not_read_from_until_it_caught_up(self, world):
        await world.open(rpc_max_slot_lag=10)
        world.move(100)
        world.nodes[0].lag_slots = 11
        await world.probe()
        world.forget()
        await world.rpc.get_latest_blockhash()
        assert world.asked("getLatestBlockhash") == [0, 1, 0]
        assert world.metric("rpc_endpoint_slot_lag", endpoint="a") == 11
        world.nodes[0].lag_slots = 10
        world.move(1)
        await world.probe()
        await world.rpc.get_latest_blockhash()
        assert world.asked("getLatestBlockhash") == [1, 1, 0]

    async def test_it_is_still_sent_to_when_nobody_else_can_be(self, world):
        await world.open(rpc_max_slot_lag=10)
        world.nodes[0].lag_slots = 500
        await world.probe()
        world.nodes[1].down = world.nodes[2].down = RpcUnavailableError("down")
        await world.rpc.send_transaction(b"bytes")
        assert world.nodes[0].count("sendTransaction") == 1

    async def test_it_is_read_from_once_the_better_ones_are_given_up(self, world):
        await world.open(rpc_max_slot_lag=10, rpc_breaker_failures=2)
        world.nodes[0].lag_slots = 500
        await world.probe()
        world.nodes[1].down = world.nodes[2].down = RpcUnavailableError("down")
        for _ in range(2):
            with pytest.raises(RpcAllEndpointsFailedError):
                await world.rpc.get_slot()
        assert await world.rpc.get_slot() == 500

    async def test_a_slow_reply_is_not_held_against_what_came_meanwhile(self, world):
        await world.open(rpc_max_slot_lag=10)
        await world.probe()
        first = world.nodes[0]
        statuses = first.methods["getSignatureStatuses"]
        first.methods["getSignatureStatuses"] = lambda params: {
            **statuses(params),
            "context": {"slot": 1_000},
        }
        first.gate.clear()
        slow = asyncio.create_task(world.rpc.get_signature_statuses(["x"]))
        await pass_time(world.clock, 1.5)
        world.move(400)
        await world.rpc.get_signature_statuses(["x"])
        first.gate.set()
        await finished(slow)
        assert world.metric("rpc_endpoint_slot_lag", endpoint="a") == 0

    async def test_not_having_reached_a_slot_counts_and_another_is_asked(self, world):
        await world.open(rpc_max_slot_lag=10)
        await world.probe()
        world.nodes[0].lag_slots = 50
        world.forget()
        accounts = await world.rpc.call("getMultipleAccounts", [["x"], {"minContextSlot": 1_000}])
        assert accounts["context"]["slot"] == 1_000
        assert world.asked("getMultipleAccounts") == [1, 1, 0]
        await world.rpc.get_slot()
        assert world.asked("getSlot") == [0, 1, 0]

    async def test_when_none_has_reached_it_that_is_what_is_said(self, world):
        await world.open()
        with pytest.raises(RpcRefusedError) as caught:
            await world.rpc.call("getMultipleAccounts", [["x"], {"minContextSlot": 2_000}])
        assert caught.value.rpc_code == -32016
        assert world.asked("getMultipleAccounts") == [1, 1, 1]

    async def test_commitments_are_never_compared_with_one_another(self, world):
        await world.open(rpc_max_slot_lag=10)
        await world.probe()
        for node in world.nodes:
            node.methods["getSlot"] = lambda params: 1_000 if params[0]["commitment"] == "confirmed" else 968
        for commitment in ("confirmed", "finalized", "confirmed"):
            await world.rpc.get_slot(commitment)
        assert world.metric("rpc_endpoint_slot_lag", endpoint="a") == 0

    async def test_an_endpoint_in_use_is_not_probed(self, world):
        await world.open()
        for _ in range(12):
            await pass_time(world.clock, 1.0)
            await world.rpc.get_latest_blockhash()
        assert world.asked("getSlot") == [0, 2, 2]


class TestOutage:
    async def test_an_endpoint_that_keeps_failing_is_left_alone_and_found_up_again(self, world):
        await world.open(rpc_breaker_failures=3)
        world.nodes[0].down = RpcUnavailableError("down")
        for _ in range(4):
            await world.rpc.get_slot()
        assert world.metric("rpc_endpoint_state", endpoint="a") == 2
        posted = world.metric("rpc_requests_total", endpoint="a", method="getSlot", outcome="rpc_unavailable")
        assert posted == 3, "the fourth was not even tried"
        world.nodes[0].down = None
        await world.probe()
        await world.probe()
        assert world.metric("rpc_endpoint_state", endpoint="a") == 0
        world.forget()
        await world.rpc.get_slot()
        assert world.asked("getSlot") == [1, 0, 0]

    async def test_all_down_is_one_error_that_names_each(self, world):
        await world.open()
        for node, fault in zip(world.nodes, ALL_FAULTS, strict=False):
            node.down = fault
        with pytest.raises(RpcAllEndpointsFailedError) as caught:
            await world.rpc.get_slot()
        assert caught.value.facts["endpoints"] == {
            "a": "rpc_unavailable",
            "b": "rpc_timeout",
            "c": "rpc_rate_limited",
        }
        assert caught.value.retryable
        assert caught.value.outcome == "unknown"

    async def test_all_rate_limited_says_when_the_first_may_be_asked_again(self, world):
        await world.open()
        for seconds, node in zip((30.0, 20.0, 40.0), world.nodes, strict=True):
            node.down = RpcRateLimitedError("slow down", retry_after_seconds=seconds)
        with pytest.raises(RpcRateLimitedError) as caught:
            await world.rpc.get_slot()
        assert caught.value.retry_after_seconds == 20.0

    async def test_a_closed_pool_refuses_and_leaves_no_task(self, world):
        await world.open()
        before = asyncio.all_tasks()
        await world.rpc.close()
        assert asyncio.all_tasks() <= before
        with pytest.raises(RpcUnavailableError):
            await world.rpc.get_slot()


class TestCluster:
    async def test_endpoints_of_two_clusters_are_refused(self, world):
        world.nodes[2].genesis = "other"
        with pytest.raises(ChainMismatchError) as caught:
            await world.open()
        assert caught.value.facts["genesis_hashes"] == {"a": "cluster", "b": "cluster", "c": "other"}

    async def test_none_reachable_is_an_error(self, world):
        for node in world.nodes:
            node.down = RpcUnavailableError("down")
        with pytest.raises(RpcAllEndpointsFailedError):
            await world.open()

    async def test_one_that_was_away_is_asked_only_once_it_is_checked(self, world):
        world.nodes[0].down = RpcUnavailableError("down")
        await world.open()
        world.nodes[0].down = None
        await world.rpc.get_slot()
        assert world.asked("getSlot") == [0, 1, 0]
        assert world.rpc.endpoint_count == 2
        await world.probe()
        world.forget()
        await world.rpc.get_slot()
        assert world.asked("getSlot") == [1, 0, 0]
        assert world.rpc.endpoint_count == 3

    async def test_one_that_comes_back_on_another_cluster_is_never_asked(self, world):
        world.nodes[0].down = RpcUnavailableError("down")
        await world.open()
        world.nodes[0].down = None
        world.nodes[0].genesis = "other"
        await world.probe()
        world.forget()
        for turn in range(3):
            await world.rpc.send_transaction(b"bytes", turn=turn)
            await world.rpc.get_slot()
        await world.probe()
        assert world.nodes[0].asked == []
        assert world.metric("rpc_endpoint_state", endpoint="a") == 3
        assert [member.endpoint for member in world.rpc.members] == ["b", "c"]


class TestHedges:
    async def test_a_slow_read_is_asked_of_a_second_and_the_first_given_up(self, world):
        await world.open(rpc_hedge_share=1.0)
        world.nodes[0].gate.clear()
        reading = asyncio.create_task(world.rpc.get_slot())
        await pass_time(world.clock, 0.3)
        assert await finished(reading) == 1_000
        assert world.asked("getSlot") == [0, 1, 0]
        assert world.metric("rpc_hedges_total", winner="b") == 1

    async def test_a_send_is_never_hedged(self, world):
        await world.open(rpc_hedge_share=1.0)
        world.nodes[0].gate.clear()
        sending = asyncio.create_task(world.rpc.send_transaction(b"bytes"))
        await pass_time(world.clock, 3)
        assert world.asked("sendTransaction") == [0, 0, 0]
        world.nodes[0].gate.set()
        await finished(sending)

    async def test_the_status_reply_names_the_endpoint_that_gave_it(self, world):
        await world.open(rpc_hedge_share=1.0)
        world.nodes[0].gate.clear()
        reading = asyncio.create_task(world.rpc.get_signature_statuses(["x"]))
        await pass_time(world.clock, 0.3)
        assert (await finished(reading)).endpoint == "b"

    async def test_when_both_fail_the_third_is_asked(self, world):
        await world.open(rpc_hedge_share=1.0)
        world.nodes[0].gate.clear()
        world.nodes[1].down = RpcTimeoutError("late")
        reading = asyncio.create_task(world.rpc.get_slot())
        await pass_time(world.clock, 0.3)
        world.nodes[0].down = RpcTimeoutError("late")
        world.nodes[0].fail_next.append(RpcTimeoutError("late"))
        world.nodes[0].gate.set()
        assert await finished(reading) == 1_000
        assert world.asked("getSlot") == [0, 0, 1]


async def test_a_raw_body_goes_to_the_best_endpoint(world):
    await world.open()
    world.nodes[0].down = RpcUnavailableError("down")
    for _ in range(5):
        await world.rpc.get_slot()
    await world.rpc.transport.post(b'{"jsonrpc":"2.0","id":1,"method":"getSlot","params":[]}')
    assert world.asked("getSlot") == [0, 6, 0]
    assert world.rpc.transport.endpoint == "a, b, c"


def test_a_pool_that_was_never_opened_has_no_task():
    pool = RpcPool(
        [], clock=ManualClock(), metrics=Metrics(), max_slot_lag=1, probe_interval_seconds=1, hedge_share=0
    )
    assert pool.members == ()
