"""Frames are encoded once, readers resume without loss, and none is waited for."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.dashboard.live import LiveHub, Reader, parse_position

CLOCK = ManualClock()
NOW = CLOCK.now()


async def next_of(reader: Reader) -> dict:
    frame = await reader.next()
    assert frame is not None
    return orjson.loads(frame)


async def frames_of(reader: Reader) -> list[dict]:
    found = []
    while reader.waiting:
        found.append(await next_of(reader))
    return found


def publish(hub: LiveHub, *numbers: int) -> None:
    for number in numbers:
        hub.publish("thing", {"n": number}, NOW)


def numbers_of(frames: list[dict]) -> list[int]:
    return [event["data"]["n"] for frame in frames if frame["type"] == "events" for event in frame["events"]]


async def test_events_of_one_moment_share_a_frame_that_all_readers_get() -> None:
    clock = ManualClock()
    hub = LiveHub(clock, flush_seconds=0.02)
    first, second = hub.join(None), hub.join(None)
    publish(hub, 1, 2, 3)
    assert first.waiting == 1
    await clock.advance(0.02)
    taken = [await first.next() for _ in range(2)][1], [await second.next() for _ in range(2)][1]
    assert taken[0] is taken[1]
    (event, *_) = orjson.loads(taken[0] or "")["events"]
    assert event == {
        "id": str(hub.position).replace("-3-", "-1-"),
        "type": "thing",
        "data": {"n": 1},
        "timestamp": NOW.isoformat(),
    }


async def test_a_reader_resumes_from_any_event_without_loss_or_double() -> None:
    clock = ManualClock()
    hub = LiveHub(clock)
    reader = hub.join(None)
    publish(hub, 1, 2, 3)
    await clock.advance(1)
    events = [event for frame in await frames_of(reader) for event in frame.get("events", ())]
    hub.leave(reader)
    publish(hub, 4)
    for seen, event in enumerate(events, 1):
        again = hub.join(event["id"])
        publish(hub, 5 + seen)
        await clock.advance(1)
        hello, *rest = await frames_of(again)
        assert hello["resync"] is None
        assert numbers_of(rest) == [*range(seen + 1, 5), *range(6, 6 + seen)]
        hub.leave(again)


async def test_what_is_pending_when_a_reader_joins_comes_once() -> None:
    clock = ManualClock()
    hub = LiveHub(clock)
    publish(hub, 1)
    reader = hub.join(str(hub.position).replace("-1-", "-0-"))
    await clock.advance(1)
    assert numbers_of(await frames_of(reader)) == [1]


@pytest.mark.parametrize("after", ["", "x", "a-b-c", "a-1", "a-1-2-3", "a" * 100 + "-1-1", "a-²-1"])
async def test_a_position_that_is_none_asks_for_a_new_load(after: str) -> None:
    hub = LiveHub(ManualClock())
    assert parse_position(after) is None
    assert (await next_of(hub.join(after)))["resync"] == "unknown_position"


async def test_positions_of_another_start_and_beyond_the_log_ask_for_a_new_load() -> None:
    hub, other = LiveHub(ManualClock(), log_events=2), LiveHub(ManualClock())
    first = str(hub.position)
    assert (await next_of(hub.join(str(other.position))))["resync"] == "server_restarted"
    publish(hub, 1, 2, 3)
    assert (await next_of(hub.join(first)))["resync"] == "unknown_position"
    future = str(hub.position).replace("-3-", "-4-")
    assert (await next_of(hub.join(future)))["resync"] == "unknown_position"


async def test_a_slow_reader_is_told_to_load_anew_and_delays_nobody() -> None:
    clock = ManualClock()
    hub = LiveHub(clock, queue_frames=3)
    slow, quick = hub.join(None), hub.join(None)
    for number in range(6):
        publish(hub, number)
        await clock.advance(1)
        assert await frames_of(quick)
    assert slow.is_behind
    assert not quick.is_behind
    assert await frames_of(slow) == [{"type": "resync", "reason": "slow_reader"}]


async def test_an_event_that_is_no_json_takes_no_number() -> None:
    clock = ManualClock()
    hub = LiveHub(clock)
    before = str(hub.position)
    with pytest.raises(TypeError):
        hub.publish("odd", {"n": 2**70}, NOW)
    assert str(hub.position) == before
    publish(hub, 1)
    await clock.advance(1)
    assert numbers_of(await frames_of(hub.join(before))) == [1]


async def test_readers_load_anew_when_the_record_no_longer_goes_back_to_them() -> None:
    hub = LiveHub(ManualClock())
    hub.start_at(3)
    reader = hub.join(None)
    publish(hub, 1)
    hub.skip_to(900)
    publish(hub, 2)
    hub.close()
    hello, before, resync, after = await frames_of(reader)
    assert resync == {"type": "resync", "reason": "unknown_position"}
    assert numbers_of([before, after]) == [1, 2]
    position = parse_position(after["events"][0]["id"])
    assert position is not None
    assert (hello["resync"], position.watch_id) == (None, 900)


async def test_a_reader_that_waits_is_woken() -> None:
    clock = ManualClock()
    hub = LiveHub(clock)
    reader = hub.join(None)
    await reader.next()
    waiting = asyncio.create_task(reader.next())
    await asyncio.sleep(0)
    publish(hub, 1)
    await clock.advance(1)
    assert numbers_of([orjson.loads(await waiting or "")]) == [1]
    ended = asyncio.create_task(reader.next())
    await asyncio.sleep(0)
    hub.close()
    assert await ended is None


async def test_only_so_many_readers_join() -> None:
    hub = LiveHub(ManualClock(), max_readers=1)
    reader = hub.join(None)
    assert hub.is_full
    hub.leave(reader)
    hub.leave(reader)
    assert not hub.is_full
