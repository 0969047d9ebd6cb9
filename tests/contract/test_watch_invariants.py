"""The rules of watched wallets hold on good records, and each finds what breaks it, on every database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.monitor import WATCH_INVARIANTS
from deal_sdk.records import Database
from deal_sdk.records.watch_tables import (
    watch_cursors,
    watch_events,
    watch_state,
    watched_transactions,
    watched_wallets,
)
from tests.contract.watch_world import ALICE, BOB, WatchWorld

ALTERATIONS: list[tuple[str, sa.UpdateBase]] = [
    (
        "watch_counts_are_transactions",
        sa.update(watched_wallets).where(watched_wallets.c.address == BOB).values(transaction_count=1),
    ),
    (
        "watch_counts_are_transactions",
        sa.delete(watched_transactions).where(watched_transactions.c.number == 1),
    ),
    (
        "watch_counts_are_transactions",
        sa.update(watched_transactions).where(watched_transactions.c.number == 3).values(number=7),
    ),
    (
        "watch_counts_are_transactions",
        sa.update(watched_wallets).where(watched_wallets.c.address == ALICE).values(deleted_number=1),
    ),
    ("watched_wallets_are_followed", sa.delete(watch_cursors).where(watch_cursors.c.followed == BOB)),
    ("watch_events_have_no_gaps", sa.delete(watch_events).where(watch_events.c.id == 2)),
    ("watch_events_have_no_gaps", sa.update(watch_state).values(last_event_id=99)),
    (
        "watch_events_have_no_gaps",
        sa.update(watch_events).where(watch_events.c.id == 1).values(id=1_000),
    ),
    (
        "watch_stops_are_told",
        sa.update(watch_events)
        .where(watch_events.c.type == "wallet:limit-reached")
        .values(type="wallet:stopped"),
    ),
]


@pytest.fixture
async def world(database: Database, manual_clock: ManualClock) -> AsyncIterator[WatchWorld]:
    """A wallet that stopped at its limit of three, and one that counted nothing."""
    world = WatchWorld(database, manual_clock, limit=3)
    await world.lease.register()
    await world.monitor.add(ALICE)
    await world.monitor.add(BOB)
    for _ in range(4):
        world.chain.land(ALICE)
    await world.poll()
    yield world
    await world.close()


class _TakenBackError(Exception):
    """Undoes an alteration."""


async def look_at(database: Database, name: str, alteration: sa.UpdateBase) -> None:
    async with database.transaction() as connection:
        await connection.execute(alteration)
        rows = (await connection.execute(WATCH_INVARIANTS[name])).all()
        assert rows, f"{name} does not see {alteration}"
        assert all(isinstance(value, str) for row in rows for value in row)
        raise _TakenBackError


async def broken(database: Database) -> dict[str, Any]:
    found = {}
    for name, query in WATCH_INVARIANTS.items():
        rows = await database.fetch(query)
        if rows:
            found[name] = [tuple(row) for row in rows]
    return found


async def test_each_rule_holds_and_finds_the_row_that_breaks_it(world: WatchWorld) -> None:
    assert (await world.monitor.get(ALICE)).status == "limit-reached"
    assert await broken(world.database) == {}

    for name, alteration in ALTERATIONS:
        with pytest.raises(_TakenBackError):
            await look_at(world.database, name, alteration)
    assert await broken(world.database) == {}
