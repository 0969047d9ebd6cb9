"""A hint makes the sweeper look at once; verdicts still come from statuses, and polling misses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from deal_sdk.chain.confirmer import DEFAULT_POLL_INTERVAL_SECONDS, HINTED_POLL_FACTOR, Confirmer
from deal_sdk.chain.subscriptions import SignatureSubscriptions
from deal_sdk.clock import ManualClock
from deal_sdk.errors import RpcUnavailableError
from deal_sdk.metrics import Metrics
from tests.unit.chain.scripted import Landed, ScriptedNode, pass_time, rpc_over, settle, transaction
from tests.unit.chain.scripted_links import ScriptedLinks

STATUSES = "getSignatureStatuses"
LIMIT = 4


class Scene:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.node = ScriptedNode()
        self.far_end = ScriptedLinks()
        metrics = Metrics()
        self.subscriptions = SignatureSubscriptions(
            [self.far_end], clock=self.clock, metrics=metrics, max_subscriptions=LIMIT
        )
        self.subscriptions.start()
        self.confirmer = Confirmer(
            rpc_over(self.node, self.clock), clock=self.clock, metrics=metrics, hints=self.subscriptions
        )

    async def close(self) -> None:
        await self.confirmer.close()
        await self.subscriptions.close()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    opened = Scene()
    await settle()
    yield opened
    await opened.close()


async def test_a_hint_has_the_status_looked_up_without_any_time_passing(scene):
    following = scene.confirmer.follow(transaction("a"))
    await pass_time(scene.clock, 0.25)
    scene.node.landed["a"] = Landed(1_000, "confirmed")
    before = scene.clock.monotonic()
    scene.far_end.notify("a")
    await settle()
    assert following.verdict is not None
    assert (following.verdict.state, following.verdict.slot) == ("confirmed", 1_000)
    assert scene.clock.monotonic() == before


async def test_a_hint_alone_is_no_verdict_and_the_old_pace_returns(scene):
    following = scene.confirmer.follow(transaction("a"))
    await pass_time(scene.clock, 0.25)
    scene.far_end.notify("a")
    await settle()
    assert following.verdict is None
    scene.node.landed["a"] = Landed(1_000, "confirmed")
    await pass_time(scene.clock, 2 * DEFAULT_POLL_INTERVAL_SECONDS)
    assert following.verdict is not None


async def test_a_lone_transaction_is_polled_more_rarely_while_an_endpoint_will_tell(scene):
    scene.confirmer.follow(transaction("a"))
    await pass_time(scene.clock, 2)
    # One at once and one more before the promise, then one in 0.5 s.
    assert scene.node.count(STATUSES) <= 2 + 2 / (HINTED_POLL_FACTOR * DEFAULT_POLL_INTERVAL_SECONDS)


async def test_a_lost_notification_is_found_by_polling(scene):
    following = scene.confirmer.follow(transaction("a"))
    await pass_time(scene.clock, 0.25)
    scene.node.landed["a"] = Landed(1_000, "confirmed")
    await pass_time(scene.clock, HINTED_POLL_FACTOR * DEFAULT_POLL_INTERVAL_SECONDS + 0.1)
    assert following.verdict is not None
    await settle()
    assert not scene.subscriptions.covers("a")
    assert scene.far_end.requests[-1]["method"] == "signatureUnsubscribe"


async def test_a_lost_connection_brings_the_old_pace_back(scene):
    scene.confirmer.follow(transaction("a"))
    await pass_time(scene.clock, 1)
    scene.far_end.cut()
    scene.far_end.refuse_opening = RpcUnavailableError("away")
    await pass_time(scene.clock, 0.6)
    before = scene.node.count(STATUSES)
    await pass_time(scene.clock, 1)
    assert scene.node.count(STATUSES) - before >= 9


async def test_a_hint_while_statuses_are_on_their_way_is_not_lost(scene):
    following = scene.confirmer.follow(transaction("a"))
    await pass_time(scene.clock, 0.25)
    answered = asyncio.Event()
    post = scene.node.post

    async def slow_post(body: bytes) -> bytes:
        reply = await post(body)
        await answered.wait()
        return reply

    scene.node.post = slow_post
    await pass_time(scene.clock, 0.5)
    # The answer under way knows nothing yet; the hint comes before it is read.
    scene.node.landed["a"] = Landed(1_000, "confirmed")
    scene.far_end.notify("a")
    await settle()
    assert following.verdict is None
    answered.set()
    await settle()
    assert following.verdict is not None


async def test_a_crowd_is_polled_together_and_not_subscribed(scene):
    for number in range(200):
        scene.confirmer.follow(transaction(f"s{number}"))
    await pass_time(scene.clock, 1)
    assert len(scene.far_end.subscribed) == LIMIT
    for number in range(200):
        scene.node.landed[f"s{number}"] = Landed(1_000, "confirmed")
    before = scene.node.count(STATUSES)
    for number in range(LIMIT):
        scene.far_end.notify(f"s{number}")
    await settle()
    # One call took the whole crowd along, although only four were told of.
    assert scene.node.count(STATUSES) == before + 1
    # As long as the last sweep saw a crowd, the next ones stay out as well.
    assert len(scene.far_end.subscribed) == LIMIT
    scene.confirmer.follow(transaction("later"))
    await settle()
    assert scene.far_end.subscribed[-1] == "later"


async def test_what_is_watched_and_forgotten_is_unsubscribed(scene):
    following = scene.confirmer.watch("a")
    await settle()
    assert scene.subscriptions.covers("a")
    scene.confirmer.forget(following)
    await settle()
    assert not scene.subscriptions.covers("a")


async def test_an_endpoint_that_lies_changes_no_verdict(scene):
    following = scene.confirmer.follow(transaction("a"))
    await pass_time(scene.clock, 0.25)
    number = scene.far_end.numbers["a"]
    for _ in range(50):
        scene.far_end.notify_number(number, {"InstructionError": [0, "Custom"]})
    before = scene.node.count(STATUSES)
    await settle()
    assert following.verdict is None
    assert scene.node.count(STATUSES) == before + 1
