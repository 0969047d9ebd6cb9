"""Waits that grow, and circuits that open and close."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from deal_sdk.webhooks.lanes import CLAIMED_PER_PLACE, FAILURES_TO_OPEN, MAX_RETRY_SECONDS, Backoff, Lane

BACKOFF = Backoff(5.0, Random(1))


@given(attempts=st.integers(1, 10_000_000))
def test_a_wait_is_half_of_its_bound_or_more(attempts: int) -> None:
    bound = min(5.0 * 2 ** min(attempts - 1, 64), MAX_RETRY_SECONDS)
    assert bound / 2 <= BACKOFF.delay_seconds(attempts) <= bound


def test_the_same_seed_waits_the_same() -> None:
    first, second = Backoff(5.0, Random(7)), Backoff(5.0, Random(7))
    assert [first.delay_seconds(n) for n in range(1, 9)] == [second.delay_seconds(n) for n in range(1, 9)]


def test_failures_in_a_row_open_the_circuit_and_one_success_closes_it() -> None:
    lane = Lane(2, BACKOFF)
    everything = 2 * CLAIMED_PER_PLACE
    for _ in range(FAILURES_TO_OPEN - 1):
        lane.failed(0.0, None)
    assert lane.room(0.0) == everything
    lane.failed(0.0, None)
    assert lane.room(0.0) == 0
    later = lane.pause_seconds(0.0)
    assert 0 < later <= 5.0
    assert lane.room(later) == 1
    lane.claimed = 1
    assert lane.room(later) == 0
    lane.failed(later, None)
    assert lane.pause_seconds(later) >= 5.0
    lane.claimed = 0
    lane.succeeded()
    assert lane.room(later) == everything


def test_an_endpoints_own_wish_is_kept() -> None:
    lane = Lane(2, BACKOFF)
    lane.failed(10.0, 60.0)
    assert lane.pause_seconds(10.0) == 60.0
    assert lane.room(69.0) == 0
    assert lane.room(70.0) > 0
