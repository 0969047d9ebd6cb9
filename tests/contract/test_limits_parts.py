"""Limits of several slots, as in a Redis Cluster: reserved part by part, given back, or left counted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import IdempotencyConflictError, LimitExceededError, StoreUnavailableError
from deal_sdk.limits import Gate, PurchaseRule, RateRule, Reservation, Settled, Store
from deal_sdk.limits.scripts import unpacked
from deal_sdk.metrics import Metrics
from tests.contract.store_backends import BACKENDS, opened

USER, ADDRESS = "user-123", "192.0.2.7"


class OneSlotAtATime:
    """A store that refuses, as a cluster does, a script whose keys lie in several slots."""

    has_slots = True

    def __init__(self, store: Store) -> None:
        self._store = store
        self.down: set[str] = set()
        self.trips = 0
        self.name = store.name
        self.script_time = store.script_time
        self.command = store.command

    async def run(self, script: Any, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        tags = {re.search(r"\{(.*?)\}", key).group(1) for key in unpacked(keys)}
        assert len(tags) == 1, f"CROSSSLOT: {keys}"
        self.trips += 1
        if tags & self.down:
            raise StoreUnavailableError("this node is down", reason="connection")
        return await self._store.run(script, keys, arguments)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest, clock: ManualClock) -> AsyncIterator[OneSlotAtATime]:
    async with opened(request, clock) as store:
        yield OneSlotAtATime(store)


@pytest.fixture
def gate(store: OneSlotAtATime, clock: ManualClock) -> Gate:
    return Gate(store, clock=clock, metrics=Metrics())


def purchase(maximum: int = 5, user: str = USER) -> PurchaseRule:
    return PurchaseRule(user, "MINT", maximum)


def by_address(per_minute: int = 100, *, policy: Any = None) -> RateRule:
    return RateRule(ADDRESS, "buy", "public", per_minute, 100, subject="ip", store_policy=policy)


async def used(gate: Gate, *rules: Any) -> list[int]:
    return [state.current for state in await gate.peek(rules)]


async def test_all_parts_are_taken_or_none(gate: Gate) -> None:
    assert (await gate.reserve("payment-1", [purchase(), by_address(1)])).allowed
    refused = await gate.reserve("payment-2", [purchase(), by_address(1)])

    assert not refused.allowed
    assert [refusal.limit for refusal in refused.refusals] == ["rate:ip:buy:per_minute"]
    assert await used(gate, purchase(), by_address(1)) == [1, 1, 1]


async def test_one_users_limits_take_one_round_trip(gate: Gate, store: OneSlotAtATime) -> None:
    await gate.reserve("payment-1", [purchase(), RateRule(USER, "buy", "Gift", 10, 10)])
    assert store.trips == 1
    await gate.reserve("payment-2", [purchase(), by_address()])
    assert store.trips == 3


async def test_every_limit_that_refuses_is_named_with_the_worst_wait(gate: Gate) -> None:
    await gate.reserve("payment-1", [purchase(1), by_address(1)])
    refused = await gate.reserve("payment-2", [purchase(1), by_address(1)])

    assert [refusal.limit for refusal in refused.refusals] == ["purchase:MINT", "rate:ip:buy:per_minute"]
    assert refused.retry_after_seconds == 86_400
    with pytest.raises(LimitExceededError):
        refused.raise_if_refused()


async def test_a_repeated_call_takes_nothing_more(gate: Gate) -> None:
    first = await gate.reserve("payment-1", [purchase(), by_address()])
    again = await gate.reserve("payment-1", [purchase(), by_address()])

    assert first.allowed
    assert again.allowed
    assert again.reservation == first.reservation
    assert await used(gate, purchase(), by_address()) == [1, 1, 1]


async def test_an_id_means_the_same_parts(gate: Gate) -> None:
    await gate.reserve("payment-1", [purchase(), by_address()])
    with pytest.raises(IdempotencyConflictError):
        await gate.reserve("payment-1", [purchase(), purchase(5, "another user")])


async def test_the_id_and_the_user_alone_end_every_part(gate: Gate, store: Any, clock: ManualClock) -> None:
    await gate.reserve("payment-1", [purchase(), by_address()])
    await gate.reserve("payment-2", [purchase(), by_address()])
    restarted = Gate(store, clock=clock, metrics=Metrics())

    assert await restarted.cancel(Reservation("payment-1", USER)) is Settled.CANCELLED
    assert await restarted.cancel(Reservation("payment-1", USER)) is Settled.ABSENT
    assert await restarted.commit(Reservation("payment-2", USER)) is Settled.COMMITTED
    assert await restarted.cancel(Reservation("payment-2", USER)) is Settled.COMMITTED
    assert await used(gate, purchase(), by_address()) == [1, 1, 1]


async def test_many_users_are_settled_at_once(gate: Gate) -> None:
    reservations = [Reservation(f"payment-{number}", f"user-{number % 7}") for number in range(30)]
    for reservation in reservations:
        await gate.reserve(reservation.reservation_id, [purchase(10, str(reservation.user_id))])

    assert await gate.cancel_many(reservations) == [Settled.CANCELLED] * 30
    assert await used(gate, *(purchase(10, f"user-{number}") for number in range(7))) == [0] * 7


async def test_a_crash_between_the_parts_leaves_counted_and_never_released(
    gate: Gate, store: OneSlotAtATime, clock: ManualClock
) -> None:
    crash = RuntimeError("the process died here")
    ask, asked = gate._ask, 0

    async def dying(*arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise crash
        return await ask(*arguments)

    gate._ask = dying
    with pytest.raises(RuntimeError):
        await gate.reserve("payment-1", [purchase(), by_address()])
    gate._ask = ask

    assert await used(gate, purchase(), by_address()) == [1, 0, 0]
    await clock.advance(7_200)
    assert await gate.cancel(Reservation("payment-1", USER)) is Settled.ABSENT
    assert await used(gate, purchase()) == [1]


async def test_a_retry_after_a_crash_completes_the_parts(gate: Gate, store: OneSlotAtATime) -> None:
    store.down.add(ADDRESS)
    await gate.reserve("payment-1", [purchase(), by_address()])
    store.down.clear()

    assert (await gate.reserve("payment-1", [purchase(), by_address()])).allowed
    assert await used(gate, purchase(), by_address()) == [1, 1, 1]
    assert await gate.cancel(Reservation("payment-1", USER)) is Settled.CANCELLED
    assert await used(gate, purchase(), by_address()) == [0, 0, 0]


async def test_a_retry_that_is_refused_gives_back_nothing_of_the_first_call(
    gate: Gate, store: OneSlotAtATime
) -> None:
    store.down.add(ADDRESS)
    await gate.reserve("payment-1", [purchase(), by_address(1)])
    store.down.clear()
    await gate.take([by_address(1)])

    assert not (await gate.reserve("payment-1", [purchase(), by_address(1)])).allowed
    assert await used(gate, purchase()) == [1]


async def test_a_cancel_that_was_cut_short_can_be_repeated(gate: Gate, store: OneSlotAtATime) -> None:
    await gate.reserve("payment-1", [purchase(), by_address()])
    store.down.add(ADDRESS)
    with pytest.raises(StoreUnavailableError):
        await gate.cancel(Reservation("payment-1", USER))
    assert await used(gate, purchase()) == [1]
    store.down.clear()

    assert await gate.cancel(Reservation("payment-1", USER)) is Settled.CANCELLED
    assert await used(gate, purchase(), by_address()) == [0, 0, 0]


async def test_each_limit_has_its_own_policy_without_its_node(gate: Gate, store: OneSlotAtATime) -> None:
    store.down.add(ADDRESS)
    decision = await gate.reserve("payment-1", [purchase(), by_address()])
    assert decision.allowed
    assert decision.degraded == ("rate:ip:buy:per_minute", "rate:ip:buy:burst")
    assert decision.reservation == Reservation("payment-1", USER)

    with pytest.raises(StoreUnavailableError):
        await gate.reserve("payment-2", [purchase(), by_address(policy="refuse")])
    assert await used(gate, purchase()) == [1]


async def test_racing_callers_get_exactly_the_room_there_is(gate: Gate) -> None:
    rules = [purchase(10), by_address(15)]
    decisions = await asyncio.gather(*(gate.reserve(f"payment-{number}", rules) for number in range(60)))

    assert sum(decision.allowed for decision in decisions) == 10
    assert await used(gate, *rules) == [10, 10, 10]


async def test_what_is_taken_for_good_is_taken_in_every_part_or_none(gate: Gate, clock: ManualClock) -> None:
    assert (await gate.take([purchase(), by_address(1)])).allowed
    assert not (await gate.take([purchase(), by_address(1)])).allowed
    await clock.advance(3_600)
    assert await used(gate, purchase()) == [1]
