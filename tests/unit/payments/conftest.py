"""A database and a pipeline world for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.records import Database
from tests.contract.payment_orders import broken_rules
from tests.unit.payments.pipeline_world import World


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def database(clock: ManualClock) -> AsyncIterator[Database]:
    opened = await Database.open("sqlite+aiosqlite://", clock=clock)
    yield opened
    broken = await broken_rules(opened)
    await opened.close()
    assert broken == {}


@pytest.fixture
async def world(database: Database, clock: ManualClock) -> AsyncIterator[World]:
    opened = World(database, clock)
    yield opened
    await opened.close()
