"""Credits from a shell: a user's lots, and the expiry that cron calls."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from deal_sdk.accounting import Journal, TokenAccountingService
from deal_sdk.cli.application import run
from deal_sdk.clock import ManualClock, SystemClock
from deal_sdk.records import Database, UserDirectory


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    asyncio.run(_fill(f"sqlite:///{tmp_path / 'deal.db'}"))
    return tmp_path


async def _fill(url: str) -> None:
    clock = ManualClock(SystemClock().now() - timedelta(days=2))
    database = await Database.open(url, clock=clock)
    journal = Journal(database)
    credits = TokenAccountingService(database, journal)
    user = await UserDirectory(database).create(external_id="chat-7")
    await credits.credit(user.id, "purchase", 5)
    for days in (1, 30):
        await credits.credit(user.id, "purchase", 10, expires_in=timedelta(days=days))
    await journal.close()
    await database.close()


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert run(["credits", *arguments, "--json"]) == code
    return orjson.loads(capsys.readouterr().out)


def test_lots_are_listed_and_expire_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "lots", "ext:chat-7")
    assert [lot["remaining"] for lot in found["lots"]] == [10, 5]
    assert said(capsys, "lots", found["user_id"]) == found
    assert said(capsys, "expire") == {"expired": 1}
    assert said(capsys, "expire") == {"expired": 0}
    long_ago = (SystemClock().now() - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    assert said(capsys, "fold", "--before", long_ago, "--user", "ext:chat-7") == {"users": 1, "entries": 3}
    assert said(capsys, "fold", "--before", long_ago) == {"users": 0, "entries": 0}
    assert said(capsys, "fold", "--before", "2999-01-01", code=1)["error"]["code"] == "invalid_input"
    assert said(capsys, "lots", "ext:nobody", code=1)["error"]["code"] == "user_not_found"
