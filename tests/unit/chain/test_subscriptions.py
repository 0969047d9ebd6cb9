"""Subscriptions hint, are bounded, come back after every loss, and never stand in anybody's way."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from deal_sdk.chain.subscriptions import (
    MAX_PAUSE_SECONDS,
    PING_INTERVAL_SECONDS,
    REFUSED_PAUSE_SECONDS,
    SignatureSubscriptions,
)
from deal_sdk.clock import ManualClock
from deal_sdk.errors import RpcRefusedError, RpcUnavailableError
from deal_sdk.metrics import Metrics
from tests.unit.chain.scripted import pass_time, settle
from tests.unit.chain.scripted_links import ScriptedLinks, subscriptions_over


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def far_end() -> ScriptedLinks:
    return ScriptedLinks()


@pytest.fixture
def hints() -> list[str]:
    return []


@pytest.fixture
async def subscriptions(far_end, clock, hints) -> AsyncIterator[SignatureSubscriptions]:
    opened = subscriptions_over(far_end, clock=clock, on_hint=hints.append)
    await settle()
    yield opened
    await opened.close()


class TestHints:
    async def test_a_notification_is_told_once(self, subscriptions, far_end, hints):
        subscriptions.want("a")
        await settle()
        assert far_end.requests[0]["params"] == ["a", {"commitment": "confirmed"}]
        assert subscriptions.covers("a")
        number = far_end.numbers["a"]
        far_end.notify("a")
        far_end.notify_number(number)
        await settle()
        assert hints == ["a"]
        assert not subscriptions.covers("a")
        assert [r["method"] for r in far_end.requests] == ["signatureSubscribe"]

    async def test_a_failed_transaction_is_told_too(self, subscriptions, far_end, hints):
        subscriptions.want("a")
        await settle()
        far_end.notify("a", {"InstructionError": [0, "Custom"]})
        await settle()
        assert hints == ["a"]

    async def test_news_that_overtake_their_answer_are_news_of_what_is_unanswered(
        self, subscriptions, far_end, hints
    ):
        far_end.answers = False
        subscriptions.want("a")
        await settle()
        far_end.notify_number(77)
        await settle()
        assert hints == ["a"]

    async def test_what_is_dropped_is_unsubscribed(self, subscriptions, far_end, hints):
        subscriptions.want("a")
        await settle()
        number = far_end.numbers["a"]
        subscriptions.drop("a")
        subscriptions.drop("a")
        await settle()
        assert (far_end.requests[-1]["method"], far_end.requests[-1]["params"]) == (
            "signatureUnsubscribe",
            [number],
        )
        assert len(far_end.requests) == 2
        far_end.notify("a")
        await settle()
        assert hints == []

    async def test_what_is_dropped_before_its_answer_is_unsubscribed_after_it(self, subscriptions, far_end):
        subscriptions.want("a")
        subscriptions.drop("a")
        await settle()
        assert [r["method"] for r in far_end.requests] == ["signatureSubscribe", "signatureUnsubscribe"]
        assert not subscriptions.covers("a")

    async def test_no_more_than_so_many_are_subscribed_at_once(self, subscriptions, far_end, hints):
        for signature in "abcde":
            subscriptions.want(signature)
        await settle()
        assert far_end.subscribed == ["a", "b", "c"]
        far_end.notify("b")
        await settle()
        subscriptions.want("f")
        await settle()
        assert far_end.subscribed == ["a", "b", "c", "f"]

    async def test_every_endpoint_is_asked_and_the_first_to_tell_counts(self, clock, hints):
        first, second = ScriptedLinks(), ScriptedLinks()
        subscriptions = subscriptions_over(first, second, clock=clock, on_hint=hints.append)
        await settle()
        subscriptions.want("a")
        await settle()
        second.notify("a")
        await settle()
        assert hints == ["a"]
        assert [r["method"] for r in first.requests] == ["signatureSubscribe", "signatureUnsubscribe"]
        await subscriptions.close()
        assert first.closed
        assert second.closed

    async def test_none_at_all_where_the_bound_is_zero(self, far_end, clock, hints):
        subscriptions = subscriptions_over(far_end, clock=clock, on_hint=hints.append, limit=0)
        subscriptions.want("a")
        await pass_time(clock, 1)
        assert far_end.opened_count == 0
        await subscriptions.close()


GARBAGE = [
    "",
    "no JSON",
    b"\xff\xfe\x00",
    "[]",
    "null",
    "7",
    '{"method": "signatureNotification"}',
    '{"method": "signatureNotification", "params": []}',
    '{"method": "signatureNotification", "params": {"subscription": {"a": 1}}}',
    '{"method": "signatureNotification", "params": {"subscription": true}}',
    '{"method": ["signatureNotification"], "params": null}',
    '{"id": [1], "result": 5}',
    '{"id": 999, "result": 5}',
    '{"id": "1", "error": {"code": -32601}}',
    '{"id": true, "result": 1}',
]


class TestWhatGoesWrong:
    @pytest.mark.parametrize("frame", GARBAGE)
    async def test_garbage_is_survived(self, subscriptions, far_end, hints, frame):
        subscriptions.want("a")
        await settle()
        far_end.link.frames.put_nowait(frame)
        await settle()
        assert hints == []
        far_end.notify("a")
        await settle()
        assert hints == ["a"]
        assert far_end.opened_count == 1

    @pytest.mark.parametrize("result", [None, "5", True, -1, 1.5, {}])
    async def test_an_answer_without_a_number_covers_nothing(self, subscriptions, far_end, result):
        far_end.answers = False
        subscriptions.want("a")
        await settle()
        far_end.tell({"id": far_end.requests[0]["id"], "result": result})
        await settle()
        assert not subscriptions.covers("a")
        assert far_end.opened_count == 1

    async def test_a_lost_link_is_opened_again_and_what_is_wanted_is_subscribed_again(
        self, subscriptions, far_end, clock, hints
    ):
        for signature in "ab":
            subscriptions.want(signature)
        await settle()
        first = far_end.link
        subscriptions.drop("a")
        far_end.cut()
        await settle()
        assert first.closed
        assert not subscriptions.covers("b")
        subscriptions.want("c")
        await pass_time(clock, 1)
        assert far_end.opened_count == 2
        assert far_end.subscribed == ["a", "b", "b", "c"]
        far_end.notify("b")
        await settle()
        assert hints == ["b"]

    async def test_pauses_grow_while_nothing_is_heard_and_are_bounded(self, far_end, clock, hints):
        far_end.refuse_opening = RpcUnavailableError("away")
        subscriptions = subscriptions_over(far_end, clock=clock, on_hint=hints.append)
        await pass_time(clock, 600, step_seconds=1)
        # 1, 2, 4 ... 32 s and then every 60 s: about 14 tries in ten minutes.
        assert 10 <= far_end.opened_count <= 18
        far_end.refuse_opening = None
        subscriptions.want("a")
        await pass_time(clock, MAX_PAUSE_SECONDS + 1, step_seconds=1)
        assert subscriptions.covers("a")
        # It was heard of, so the next loss is not waited out for long.
        before = far_end.opened_count
        far_end.cut()
        await pass_time(clock, 1)
        assert far_end.opened_count == before + 1
        await subscriptions.close()

    @pytest.mark.parametrize("way", ["handshake", "method"])
    async def test_an_endpoint_without_subscriptions_is_left_alone_for_long(
        self, far_end, clock, hints, caplog, way
    ):
        caplog.set_level(logging.INFO)
        if way == "handshake":
            far_end.refuse_opening = RpcRefusedError("takes no WebSocket", rpc_code=405)
        else:
            far_end.refuse_subscribing = {"code": -32601, "message": "Method not found"}
        subscriptions = subscriptions_over(far_end, clock=clock, on_hint=hints.append)
        subscriptions.want("a")
        await pass_time(clock, REFUSED_PAUSE_SECONDS - 10, step_seconds=10)
        assert far_end.opened_count == 1
        assert len(caplog.records) == 1
        far_end.refuse_opening = far_end.refuse_subscribing = None
        await pass_time(clock, 30, step_seconds=10)
        assert subscriptions.covers("a")
        await subscriptions.close()

    async def test_a_link_that_gives_no_sign_of_life_is_replaced(self, subscriptions, far_end, clock):
        subscriptions.want("a")
        await pass_time(clock, 6 * PING_INTERVAL_SECONDS, step_seconds=1)
        assert far_end.opened_count == 1
        far_end.gives_signs_of_life = False
        await pass_time(clock, 2 * PING_INTERVAL_SECONDS + 2, step_seconds=1)
        assert far_end.opened_count >= 2

    async def test_a_defect_costs_the_hints_and_nothing_else(self, far_end, clock, caplog):
        def broken(signature: str) -> None:
            raise ValueError("a defect")

        subscriptions = subscriptions_over(far_end, clock=clock, on_hint=broken)
        await settle()
        subscriptions.want("a")
        await settle()
        far_end.notify("a")
        await settle()
        assert "a defect" in caplog.text
        await pass_time(clock, MAX_PAUSE_SECONDS + 1, step_seconds=1)
        assert far_end.opened_count == 2
        await subscriptions.close()


async def test_live_connections_and_hints_are_measured(far_end, clock):
    metrics = Metrics()
    subscriptions = SignatureSubscriptions([far_end], clock=clock, metrics=metrics)

    def sample(name: str) -> float | None:
        return metrics.registry.get_sample_value(name, {"endpoint": "scripted"})

    subscriptions.start()
    await settle()
    assert sample("websocket_connections") == 1
    subscriptions.want("a")
    await settle()
    far_end.notify("a")
    await settle()
    assert sample("signature_hints_total") == 1
    await subscriptions.close()
    assert sample("websocket_connections") == 0
