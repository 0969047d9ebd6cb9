"""`dealctl limits` on a database and a store of its own, without any chain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from deal_sdk.cli.application import run
from deal_sdk.clock import SystemClock
from deal_sdk.limits import (
    CalendarWindow,
    Gate,
    PurchaseRecords,
    PurchaseTerms,
    RateLimiter,
    Store,
    TokenPurchaseTracker,
    open_store,
)
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database, UserDirectory
from deal_sdk.settings import DEFAULT_TIER_LIMITS

STORE_URL = "memory://test-dealctl-limits"


class Shell:
    """Runs commands on one database and one store and reads their documents."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.database_url = f"sqlite+aiosqlite:///{directory / 'deal.db'}"
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0, redis_url: str = STORE_URL) -> Any:
        servers = ("--database-url", self.database_url, "--redis-url", redis_url)
        assert run(["limits", *arguments, *servers, "--json"]) == code
        return json.loads(self._capsys.readouterr().out)


@pytest.fixture
def store() -> Iterator[Store]:
    held = open_store(STORE_URL)
    yield held
    asyncio.run(held.close())


@pytest.fixture
def shell(tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


async def use_limits(database_url: str) -> str:
    clock = SystemClock()
    database = await Database.open(database_url, clock=clock)
    async with open_store(STORE_URL) as store:
        records = PurchaseRecords(database)
        gate = Gate(store, clock=clock, metrics=Metrics(), history=records)
        tracker = TokenPurchaseTracker(gate, store, records, clock=clock)
        limiter = RateLimiter(gate, store, tiers=DEFAULT_TIER_LIMITS)
        alice = await UserDirectory(database).create(username="alice", tier="Business", external_id="7")
        for mint, maximum in (("A", 5), ("A", 4), ("B", 1)):
            await tracker.increment_and_validate_purchase(alice.id, mint, maximum)
        await limiter.check_limit(alice.id, "Business", "search query", cost=5)
        await limiter.check_limit("192.0.2.7", "Gift", subject="ip")
    await database.close()
    return str(alice.id)


def test_what_is_used_is_shown_and_reset(shell: Shell) -> None:
    alice = asyncio.run(use_limits(shell.database_url))
    seen = shell("show", "ext:7")
    assert (seen["key"], seen["tier"]) == (alice, "Business")
    assert [(one["token_mint"], one["used"], one["maximum"]) for one in seen["purchases"]] == [
        ("A", 2, 4),
        ("B", 1, 1),
    ]
    minute, burst = seen["rates"]
    assert (minute["operation"], minute["used"], minute["maximum"]) == ("search query", 5, 100)
    assert burst["limit"] == "burst"
    assert shell("show", "192.0.2.7", "--subject", "ip")["rates"][0]["used"] == 1

    assert shell("reset", alice, "--mint", "A", "--rates")["mint"] == "A"
    after = shell("show", alice)
    assert [one["token_mint"] for one in after["purchases"]] == ["B"]
    assert after["rates"] == []
    assert shell("reset", "192.0.2.7", "--rates", "--subject", "ip")["rates"]


async def spend_by_day(database_url: str) -> CalendarWindow:
    clock, day = SystemClock(), CalendarWindow("day", "Asia/Kathmandu")
    terms = PurchaseTerms(
        calendar=day,
        category="memes",
        max_in_category=9,
        amount_base_units=2**53 + 1,
        max_amount_base_units=2**60,
    )
    database = await Database.open(database_url, clock=clock)
    async with open_store(STORE_URL) as store:
        records = PurchaseRecords(database)
        gate = Gate(store, clock=clock, metrics=Metrics(), history=records)
        tracker = TokenPurchaseTracker(gate, store, records, clock=clock)
        await tracker.increment_and_validate_purchase("alice", "A", 3, terms=terms)
    await database.close()
    return day


def test_calendars_categories_and_amounts_are_shown_and_reset(shell: Shell) -> None:
    day = asyncio.run(spend_by_day(shell.database_url))
    seen = shell("show", "alice")
    windows = {(one["window"], one["time_zone"]) for one in seen["purchases"] + seen["amounts"]}
    assert windows == {("day", "Asia/Kathmandu")}
    ends_at = datetime.fromisoformat(seen["amounts"][0]["ends_at"])
    assert ends_at in day.boundaries(SystemClock().now())
    assert [(one["category"], one["used"], one["remaining"]) for one in seen["purchases"]] == [
        (None, 1, 2),
        ("memes", 1, 8),
    ]
    (amount,) = seen["amounts"]
    assert (amount["used"], amount["remaining"]) == (str(2**53 + 1), str(2**60 - 2**53 - 1))
    assert shell("reset", "alice", "--mint", "A")["mint"] == "A"
    after = shell("show", "alice")
    assert (after["purchases"], after["amounts"]) == ([], [])


def test_purchases_are_counted_from_the_database_where_the_store_is_new(shell: Shell) -> None:
    alice = asyncio.run(use_limits(shell.database_url))
    seen = shell("show", alice, redis_url="memory://")
    assert [(one["token_mint"], one["used"]) for one in seen["purchases"]] == [("A", 2), ("B", 1)]


def test_totals_and_cleaning_up(shell: Shell) -> None:
    alice = asyncio.run(use_limits(shell.database_url))
    summed = shell("stats", "--by", "user_id", "--by", "token_mint", "--since", "2020-01-01")
    assert (summed["total_tokens"], summed["total_users"], summed["total_purchases"]) == (2, 1, 3)
    assert [(row["user_id"], row["token_mint"], row["purchases"]) for row in summed["rows"]] == [
        (alice, "A", 2),
        (alice, "B", 1),
    ]
    assert shell("cleanup") == {"deleted": 0}


@pytest.mark.parametrize(
    "arguments",
    [
        ("reset", "alice"),
        ("reset", "192.0.2.7", "--mint", "A", "--subject", "ip"),
        ("reset", "alice", "--mint", "A", "--operation", "search"),
        ("stats", "--by", "colour"),
        ("show", "alice", "--subject", "IP"),
    ],
)
def test_what_makes_no_sense_is_refused(shell: Shell, arguments: tuple[str, ...]) -> None:
    assert shell(*arguments, code=1)["error"]["code"] == "invalid_input"


def test_people_get_tables(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    alice = asyncio.run(use_limits(shell.database_url))
    servers = ("--database-url", shell.database_url, "--redis-url", STORE_URL)
    assert run(["limits", "show", alice, *servers]) == 0
    assert "search query" in capsys.readouterr().out


def test_a_store_that_is_down_is_said(shell: Shell) -> None:
    asyncio.run(use_limits(shell.database_url))
    refused = shell("show", "192.0.2.7", "--subject", "ip", redis_url="redis://127.0.0.1:1/0", code=1)
    assert refused["error"]["code"] == "store_unavailable"
