"""Threads take turns sooner in a process that asked for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from deal_sdk.threads import SWITCH_SECONDS, switch_threads_sooner


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Begin with the interpreter's own interval, and give that of the test's process back as it was."""
    interval_seconds = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    yield
    sys.setswitchinterval(interval_seconds)


def test_whoever_waits_gets_its_turn_sooner() -> None:
    assert sys.getswitchinterval() > SWITCH_SECONDS
    switch_threads_sooner()
    assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
