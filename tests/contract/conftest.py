"""One database after another for the suites that must hold on every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.records.database import Database

EPHEMERAL = pytest.param("ephemeral", id="ephemeral")
FILE = pytest.param("file", id="sqlite-file")
# An ephemeral database is a file too, so the fast run does without the second one.
FILE_AS_WELL = pytest.param("file", id="sqlite-file", marks=pytest.mark.slow)
POSTGRES = pytest.param("postgres", id="postgres", marks=pytest.mark.postgres)


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that the test moves by hand; the database of the same test is stamped by it."""
    return ManualClock()


@pytest.fixture(params=[EPHEMERAL, FILE_AS_WELL, POSTGRES])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    return _url(request, tmp_path)


@pytest.fixture(params=[FILE, POSTGRES])
def lasting_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind that can be opened twice."""
    return _url(request, tmp_path)


def _url(request: pytest.FixtureRequest, directory: Path) -> str:
    if request.param == "ephemeral":
        return "sqlite+aiosqlite://"
    if request.param == "file":
        return f"sqlite:///{directory / 'deal.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
async def database(database_url: str, manual_clock: ManualClock) -> AsyncIterator[Database]:
    """An open database of each kind, with the current schema."""
    opened = await Database.open(database_url, clock=manual_clock, migrate=True, busy_timeout_seconds=2.0)
    yield opened
    await opened.close()
