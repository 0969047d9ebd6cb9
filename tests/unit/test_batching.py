"""The collector: calls of one tick share a round trip, and none is lost, doubled or mixed up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal_sdk.batching import Collector


class Recorder:
    """A batch function that notes what it got, and can be held back or made to fail."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: BaseException | None = None

    async def process(self, items: Sequence[int]) -> Sequence[int | BaseException]:
        self.batches.append(list(items))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.gate.wait()
            if self.error is not None:
                raise self.error
            return [item * 10 if item >= 0 else LookupError(item) for item in items]
        finally:
            self.in_flight -= 1


@pytest.fixture
async def recorder() -> Recorder:
    return Recorder()


async def submit_all(collector: Collector[int, int], items: Sequence[int]) -> list[Any]:
    return await asyncio.gather(*(collector.submit(item) for item in items), return_exceptions=True)


async def settle() -> None:
    """Let everything that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_calls_of_one_tick_leave_together(recorder: Recorder) -> None:
    collector: Collector[int, int] = Collector(recorder.process)
    assert await submit_all(collector, range(5)) == [0, 10, 20, 30, 40]
    assert recorder.batches == [[0, 1, 2, 3, 4]]


async def test_a_lone_call_waits_for_nobody(recorder: Recorder) -> None:
    collector: Collector[int, int] = Collector(recorder.process)
    caller = asyncio.create_task(collector.submit(7))
    await asyncio.sleep(0)  # the caller runs
    await asyncio.sleep(0)  # the flush at the end of that tick starts the batch
    await asyncio.sleep(0)
    assert recorder.batches == [[7]]
    assert await caller == 70


async def test_more_than_a_batch_holds_is_cut(recorder: Recorder) -> None:
    collector: Collector[int, int] = Collector(recorder.process, max_items=4)
    assert await submit_all(collector, range(10)) == [item * 10 for item in range(10)]
    assert [len(batch) for batch in recorder.batches] == [4, 4, 2]


async def test_batches_are_cut_by_bytes_and_a_larger_item_goes_alone(recorder: Recorder) -> None:
    collector: Collector[int, int] = Collector(recorder.process, max_bytes=10, size_of=lambda item: item)
    await submit_all(collector, [4, 6, 1, 50, 9, 2])
    assert recorder.batches == [[4, 6], [1], [50], [9], [2]]


async def test_what_arrives_while_a_batch_is_under_way_is_gathered(recorder: Recorder) -> None:
    collector: Collector[int, int] = Collector(recorder.process)
    recorder.gate.clear()
    first = asyncio.create_task(collector.submit(1))
    await settle()
    later = [asyncio.create_task(collector.submit(item)) for item in (2, 3)]
    await settle()
    assert (recorder.batches, collector.depth) == ([[1]], 2)
    recorder.gate.set()
    assert await asyncio.gather(first, *later) == [10, 20, 30]
    assert recorder.batches == [[1], [2, 3]]


@pytest.mark.parametrize("bound", [1, 2, 3])
async def test_no_more_batches_than_allowed_are_under_way(recorder: Recorder, bound: int) -> None:
    collector: Collector[int, int] = Collector(recorder.process, max_items=1, max_in_flight=bound)
    recorder.gate.clear()
    callers = asyncio.create_task(submit_all(collector, range(6)))
    await settle()
    assert recorder.in_flight == bound
    recorder.gate.set()
    assert await callers == [item * 10 for item in range(6)]
    assert recorder.most_in_flight == bound


async def test_an_exception_in_a_place_fails_that_item_alone(recorder: Recorder) -> None:
    collector: Collector[int, int] = Collector(recorder.process)
    one, bad, three = await submit_all(collector, [1, -2, 3])
    assert (one, three) == (10, 30)
    assert isinstance(bad, LookupError)


async def test_a_failed_batch_fails_each_of_its_items_and_no_other(recorder: Recorder) -> None:
    collector: Collector[int, int] = Collector(recorder.process)
    recorder.error = ConnectionError("gone")
    assert all(isinstance(result, ConnectionError) for result in await submit_all(collector, [1, 2]))
    recorder.error = None
    assert await collector.submit(3) == 30


@pytest.mark.parametrize("results", [[], [1], [1, 2, 3]])
async def test_a_batch_with_another_number_of_results_fails_whole(results: list[int]) -> None:
    async def process(items: Sequence[int]) -> Sequence[int | BaseException]:
        return results

    collector: Collector[int, int] = Collector(process)
    outcomes = await submit_all(collector, [1, 2])
    assert all(isinstance(outcome, RuntimeError) for outcome in outcomes)


async def test_a_cancelled_caller_harms_no_neighbour(recorder: Recorder) -> None:
    collector: Collector[int, int] = Collector(recorder.process)
    recorder.gate.clear()
    leaves, stays = (asyncio.create_task(collector.submit(item)) for item in (1, 2))
    await settle()
    leaves.cancel()
    await settle()
    recorder.gate.set()
    assert await stays == 20
    assert leaves.cancelled()
    assert recorder.batches == [[1, 2]], "the item was on its way already"


async def test_a_caller_that_left_does_not_leave_its_error_unheard(recorder: Recorder) -> None:
    collector: Collector[int, int] = Collector(recorder.process)
    recorder.gate.clear()
    leaves = asyncio.create_task(collector.submit(-1))
    await settle()
    leaves.cancel()
    recorder.gate.set()
    await collector.close()
    assert leaves.cancelled()


async def test_close_finishes_what_was_submitted_and_refuses_more(recorder: Recorder) -> None:
    collector: Collector[int, int] = Collector(recorder.process, max_items=2)
    callers = asyncio.create_task(submit_all(collector, range(5)))
    await asyncio.sleep(0)  # gather makes a task of each call
    await asyncio.sleep(0)  # each submits
    await collector.close()
    assert await callers == [0, 10, 20, 30, 40]
    assert (recorder.in_flight, collector.depth) == (0, 0)
    with pytest.raises(RuntimeError, match="closed"):
        await collector.submit(6)
    await collector.close()


async def test_cancelling_close_does_not_cancel_a_batch(recorder: Recorder) -> None:
    collector: Collector[int, int] = Collector(recorder.process)
    recorder.gate.clear()
    caller = asyncio.create_task(collector.submit(1))
    await settle()
    closing = asyncio.create_task(collector.close())
    await settle()
    closing.cancel()
    await settle()
    assert closing.cancelled()
    recorder.gate.set()
    assert await caller == 10


@given(
    st.lists(st.lists(st.integers(-3, 40), max_size=9), max_size=6),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 60),
)
async def test_every_item_gets_its_own_result(
    ticks: list[list[int]], max_items: int, max_in_flight: int, max_bytes: int
) -> None:
    recorder = Recorder()
    collector: Collector[int, int] = Collector(
        recorder.process,
        max_items=max_items,
        max_in_flight=max_in_flight,
        max_bytes=max_bytes,
        size_of=abs,
    )
    callers: list[asyncio.Task[list[Any]]] = []
    for items in ticks:
        callers.append(asyncio.create_task(submit_all(collector, items)))
        await asyncio.sleep(0)
    for items, results in zip(ticks, await asyncio.gather(*callers), strict=True):
        for item, result in zip(items, results, strict=True):
            assert result == item * 10 if item >= 0 else isinstance(result, LookupError)
    assert sorted(chain(*recorder.batches)) == sorted(chain(*ticks)), "each item left exactly once"
    assert all(len(batch) <= max_items for batch in recorder.batches)
    assert all(len(batch) == 1 or sum(map(abs, batch)) <= max_bytes for batch in recorder.batches)
    assert recorder.most_in_flight <= max_in_flight
    await collector.close()


async def test_a_batch_that_nobody_waits_for_is_dropped_where_that_is_wanted(recorder: Recorder) -> None:
    collector: Collector[int, int] = Collector(recorder.process, max_items=2, drop_cancelled=True)
    recorder.gate.clear()
    callers = [asyncio.create_task(collector.submit(item)) for item in range(5)]
    await settle()
    callers[0].cancel()
    callers[3].cancel()
    await settle()
    assert recorder.in_flight == 1, "another still waits for this batch"
    callers[1].cancel()
    await settle()
    assert recorder.batches == [[0, 1], [2, 4]], "what was cancelled before it left never leaves"
    recorder.gate.set()
    assert await asyncio.gather(callers[2], callers[4]) == [20, 40]
    await collector.close()
    assert recorder.in_flight == 0


async def test_a_batch_is_carried_through_for_those_who_gave_up_otherwise(recorder: Recorder) -> None:
    collector: Collector[int, int] = Collector(recorder.process)
    recorder.gate.clear()
    caller = asyncio.create_task(collector.submit(1))
    await settle()
    caller.cancel()
    await settle()
    assert recorder.in_flight == 1
    recorder.gate.set()
    await collector.close()
    assert recorder.batches == [[1]]
