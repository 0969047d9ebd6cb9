"""One database and one store after another for the suites that must hold on every backend."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.limits import Store
from deal_sdk.records.database import Database
from tests.conftest import migrate
from tests.contract.cache_world import Process, processes
from tests.contract.store_backends import BACKENDS, opened

SQLITE = pytest.param("sqlite", id="sqlite")
POSTGRES = pytest.param("postgres", id="postgres", marks=pytest.mark.postgres)
ON_POSTGRES_TOO = pytest.mark.parametrize("database_url", [SQLITE, POSTGRES], indirect=True)
"""For a suite whose `database_url` is SQLite: where rows are fought for, or the two databases may differ."""


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that the test moves by hand; the database of the same test is stamped by it."""
    return ManualClock()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the current schema and nothing in it, to be copied: migrating takes longer."""
    file = tmp_path_factory.mktemp("migrated") / "deal.db"
    asyncio.run(migrate(f"sqlite:///{file}"))
    return file


def fresh_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Make an empty database with the current schema: of the kind asked for, or else SQLite."""
    if getattr(request, "param", "sqlite") == "postgres":
        url: str = request.getfixturevalue("migrated_postgres_url")
        return url
    file = tmp_path / "deal.db"
    shutil.copyfile(request.getfixturevalue("migrated_file"), file)
    return f"sqlite:///{file}"


@pytest.fixture(params=[SQLITE, POSTGRES])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of each kind, with the current schema and nothing in it."""
    return fresh_database_url(request, tmp_path)


@pytest.fixture(params=[SQLITE, POSTGRES])
def lasting_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind that can be opened twice."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return f"sqlite:///{tmp_path / 'deal.db'}"


@pytest.fixture
async def database(database_url: str, manual_clock: ManualClock) -> AsyncIterator[Database]:
    """An open database of each kind, with the current schema."""
    opened = await Database.open(database_url, clock=manual_clock, migrate=True, busy_timeout_seconds=30.0)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the test moves by hand; the store of the same test goes by it."""
    return ManualClock()


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest, clock: ManualClock) -> AsyncIterator[Store]:
    """An open store of each kind, with nothing in it."""
    async with opened(request, clock) as store:
        yield store


@pytest.fixture
async def pair(store: Store, clock: ManualClock) -> AsyncIterator[list[Process]]:
    """The caches of two processes over one store."""
    async with processes(store, clock) as pair:
        yield pair
