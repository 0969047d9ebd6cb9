"""The circuit breaker: when it opens, who may try, and what a trial decides."""

from __future__ import annotations

import pytest

from deal_sdk.chain.breaker import MAX_OPEN_FACTOR, CircuitBreaker
from deal_sdk.clock import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def states():
    return []


@pytest.fixture
def breaker(clock, states):
    return CircuitBreaker(clock=clock, failures_to_open=3, open_seconds=5.0, on_change=states.append)


def fail(breaker, times):
    for _ in range(times):
        assert breaker.enter()
        breaker.failed()


def test_failures_in_a_row_open_it_and_one_success_between_them_does_not(breaker, states):
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.state == "closed"
    fail(breaker, 1)
    assert (breaker.state, breaker.enter(), states) == ("open", False, ["open"])


async def test_one_trial_passes_and_closes_it(breaker, clock, states):
    fail(breaker, 3)
    await clock.advance(4.9)
    assert not breaker.enter()
    await clock.advance(0.1)
    assert breaker.state == "half_open"
    assert breaker.enter()
    assert not breaker.enter(), "one trial at a time"
    breaker.succeeded()
    assert breaker.state == "closed"
    assert breaker.enter()
    assert states == ["open", "half_open", "closed"]


async def test_each_failed_trial_doubles_the_pause_up_to_a_bound(breaker, clock):
    fail(breaker, 3)
    for factor in (2, MAX_OPEN_FACTOR, MAX_OPEN_FACTOR):
        await clock.advance(60)
        fail(breaker, 1)
        await clock.advance(5.0 * factor - 0.1)
        assert breaker.state == "open"
        await clock.advance(0.1)
        assert breaker.state == "half_open"
    breaker.enter()
    breaker.succeeded()
    fail(breaker, 3)
    await clock.advance(5.0)
    assert breaker.state == "half_open", "a success begins with the first pause again"


async def test_an_abandoned_trial_lets_another_try(breaker, clock):
    fail(breaker, 3)
    await clock.advance(5)
    assert breaker.enter()
    breaker.abandoned()
    assert breaker.enter()


async def test_what_left_before_it_opened_neither_prolongs_nor_blocks_it(breaker, clock):
    for _ in range(5):
        assert breaker.enter()
    for _ in range(3):
        breaker.failed()
    await clock.advance(4)
    breaker.failed()
    await clock.advance(1)
    assert breaker.state == "half_open"
    breaker.succeeded()
    assert breaker.state == "closed", "a late answer is a sign of life"
