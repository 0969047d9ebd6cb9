"""Database URLs: what is understood, and refusals that repeat nothing secret."""

from __future__ import annotations

import pytest

from deal_sdk.errors import ConfigurationError
from deal_sdk.records import location
from deal_sdk.records.location import parse_database_url

SECRET = "pa55word"


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite+aiosqlite://", "sqlite:///:memory:", "sqlite+aiosqlite:///"]
)
def test_a_url_without_a_file_is_ephemeral(url: str) -> None:
    found = parse_database_url(url)
    assert (found.dialect, found.ephemeral, found.url.database) == ("sqlite", True, None)


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+aiosqlite"])
@pytest.mark.parametrize("file", ["deal.db", "/var/lib/deal.db"])
def test_a_file_is_kept_as_named(driver: str, file: str) -> None:
    found = parse_database_url(f"{driver}:///{file}")
    assert (found.url.drivername, found.url.database, found.ephemeral) == ("sqlite+aiosqlite", file, False)


@pytest.mark.parametrize("driver", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_postgresql_is_reached_through_asyncpg(driver: str) -> None:
    found = parse_database_url(f"{driver}://deal:{SECRET}@db.example:6543/deal?sslmode=require")
    assert (found.dialect, found.url.drivername) == ("postgresql", "postgresql+asyncpg")
    assert (found.url.host, found.url.port, found.url.password) == ("db.example", 6543, SECRET)
    assert dict(found.url.query) == {"ssl": "require"}
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        f"mysql://deal:{SECRET}@host/deal",
        f"postgresql+psycopg2://deal:{SECRET}@host/deal",
        f"postgresql://deal:{SECRET}@host",
        f"postgresql://deal:{SECRET}@host:port/deal",
        f"postgresql://deal:{SECRET}@host/deal?unknown=1",
        f"sqlite://deal:{SECRET}@host/file",
        "sqlite:///deal.db?mode=memory",
        f"://{SECRET}",
    ],
)
def test_a_url_that_cannot_work_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_database_url(url)
    assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.to_dict()}"
    assert caught.value.__cause__ is None


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"deal-sdk\[postgres\]"):
        parse_database_url("postgresql://host/deal")
