"""The bus: in order, bounded, and harmless to whoever publishes."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.events import Event, EventBus

PATIENCE_SECONDS = 20


@pytest.fixture
async def bus() -> EventBus:
    return EventBus(ManualClock())


class Handler:
    """Notes the numbers of the events that it took."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    async def __call__(self, event: Event) -> None:
        await asyncio.sleep(0)
        self.taken.append(event.data["number"])


async def test_a_subscriber_gets_its_type_in_order(bus: EventBus) -> None:
    handler = Handler()
    bus.subscribe("paid", handler)
    for number in range(20):
        bus.publish("paid", number=number)
        bus.publish("other", number=-1)
    await bus.drain()
    assert handler.taken == list(range(20))
    await bus.close()


async def test_a_star_takes_every_type(bus: EventBus) -> None:
    handler = Handler()
    bus.subscribe("*", handler)
    bus.publish("paid", number=1)
    bus.publish("refused", number=2)
    await bus.drain()
    assert handler.taken == [1, 2]
    await bus.close()


async def test_the_envelope_is_json_and_stamped_by_the_clock() -> None:
    clock = ManualClock()
    event = EventBus(clock).publish("paid", amount="1.5")
    assert json.loads(json.dumps(event.to_dict())) == {
        "id": event.id,
        "type": "paid",
        "data": {"amount": "1.5"},
        "timestamp": clock.now().isoformat(),
    }
    assert EventBus(clock).publish("paid").id != event.id


async def test_a_handler_that_raises_gets_the_next_event(
    bus: EventBus, caplog: pytest.LogCaptureFixture
) -> None:
    taken: list[int] = []

    async def handler(event: Event) -> None:
        taken.append(event.data["number"])
        raise ValueError("no good")

    bus.subscribe("paid", handler)
    bus.publish("paid", number=1)
    bus.publish("paid", number=2)
    await bus.drain()
    assert taken == [1, 2]
    assert "a handler of paid failed" in caplog.text
    await bus.close()


async def test_a_handler_that_hangs_holds_up_neither_publisher_nor_neighbour(bus: EventBus) -> None:
    async def hangs(_: Event) -> None:
        await asyncio.Event().wait()

    sound = Handler()
    bus.subscribe("paid", hangs)
    bus.subscribe("paid", sound)
    for number in range(3):
        bus.publish("paid", number=number)
    for _ in range(10):
        await asyncio.sleep(0)
    assert sound.taken == [0, 1, 2]
    await asyncio.wait_for(bus.close(), PATIENCE_SECONDS)


async def test_a_full_queue_drops_the_newest_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus(ManualClock(), queue_length=2)
    handler = Handler()
    bus.subscribe("paid", handler)
    with caplog.at_level(logging.WARNING, logger="deal_sdk.events"):
        for number in range(4):
            bus.publish("paid", number=number)
    await bus.drain()
    assert handler.taken == [0, 1]
    assert caplog.text.count("is full; dropped paid") == 2
    await bus.close()


async def test_an_ended_subscription_hears_nothing_more(bus: EventBus) -> None:
    handler = Handler()
    unsubscribe = bus.subscribe("paid", handler)
    bus.publish("paid", number=1)
    await bus.drain()
    unsubscribe()
    unsubscribe()
    bus.publish("paid", number=2)
    await bus.drain()
    assert handler.taken == [1]
    await bus.close()


async def test_drain_ends_when_a_waited_for_subscription_ends(bus: EventBus) -> None:
    async def hangs(_: Event) -> None:
        await asyncio.Event().wait()

    unsubscribe = bus.subscribe("paid", hangs)
    bus.publish("paid", number=1)
    bus.publish("paid", number=2)
    draining = asyncio.create_task(bus.drain())
    await asyncio.sleep(0)
    unsubscribe()
    await asyncio.wait_for(draining, PATIENCE_SECONDS)
    await bus.close()


async def test_listening_begins_when_the_context_is_entered(bus: EventBus) -> None:
    bus.publish("paid", number=0)
    async with bus.listen("paid") as events:
        bus.publish("paid", number=1)
        bus.publish("other", number=9)
        bus.publish("paid", number=2)
        assert [(await anext(events)).data["number"] for _ in range(2)] == [1, 2]


async def test_an_idle_listener_does_not_hold_up_drain(bus: EventBus) -> None:
    async with bus.listen():
        bus.publish("paid", number=1)
        await asyncio.wait_for(bus.drain(), PATIENCE_SECONDS)


@pytest.mark.parametrize("waiting", [0, 1, 2])
async def test_close_ends_every_listener(waiting: int) -> None:
    bus = EventBus(ManualClock(), queue_length=2)
    async with bus.listen() as events:
        for number in range(waiting):
            bus.publish("paid", number=number)
        await bus.close()
        assert [event async for event in events] == []


async def test_close_leaves_no_task(bus: EventBus) -> None:
    bus.subscribe("paid", Handler())
    bus.subscribe("*", Handler())
    await bus.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
