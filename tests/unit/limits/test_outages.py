"""Warnings about a store that fails."""

from __future__ import annotations

import logging

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import StoreUnavailableError
from deal_sdk.limits.outages import OUTAGE_LOG_INTERVAL_SECONDS, OutageLog


async def test_says_the_first_at_once_and_counts_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    outages = OutageLog(logging.getLogger("test.outages"), clock)
    error = StoreUnavailableError("the store is away")
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            outages.say(error, "allowed")
        await clock.advance(OUTAGE_LOG_INTERVAL_SECONDS)
        outages.say(error, "allowed")
        outages.say(error, "allowed")

    assert [record.getMessage() for record in caplog.records] == [
        "the store is away; allowed",
        "the store is away; allowed (and 9 times since the last line)",
    ]
