"""`dealctl usage` on a database alone, without any chain."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from deal_sdk.accounting import Journal, TokenAccountingService
from deal_sdk.cli.application import run
from deal_sdk.clock import ManualClock
from deal_sdk.records import Database, UserDirectory

JANUARY = ("--since", "2026-01-01", "--until", "2026-02-01")


@pytest.fixture
def url(tmp_path: Path) -> str:
    found = f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}"
    asyncio.run(_fill(found))
    return found


async def _fill(url: str) -> None:
    database = await Database.open(url, clock=ManualClock())
    journal = Journal(database)
    credits = TokenAccountingService(database, journal)
    for name in ("chat-7", "chat-8"):
        user = await UserDirectory(database).create(external_id=name)
        await credits.credit(user.id, "purchase", 100)
        await credits.debit(user.id, "image", 30)
    await journal.close()
    await database.close()


def said(capsys: pytest.CaptureFixture[str], url: str, *arguments: str) -> Any:
    assert run(["usage", *arguments, "--database-url", url, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_usage_is_shown_page_by_page_or_written_to_a_file(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = said(capsys, url, "show", *JANUARY, "--limit", "1")
    second = said(capsys, url, "show", *JANUARY, "--limit", "1", "--cursor", first["next_cursor"])
    assert second["next_cursor"] is None
    rows = [*first["usage"], *second["usage"]]
    assert [(row["operation_type"], row["net"]) for row in rows] == [("image", -30), ("purchase", 100)] * 2
    [image] = said(capsys, url, "show", *JANUARY, "--user", "ext:chat-7", "--operation", "image")["usage"]
    assert image in rows
    assert said(capsys, url, "show", *JANUARY, "--payments")["usage"] == []
    file = tmp_path / "usage.csv"
    assert said(capsys, url, "show", *JANUARY, "--export", str(file)) == {"file": str(file), "rows": 4}
    assert run(["usage", "show", *JANUARY, "--interval", "day", "--database-url", url]) == 0
    assert "2026-01-01" in capsys.readouterr().out


def test_a_statement_is_shown_or_written_as_a_page(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = said(capsys, url, "statement", "ext:chat-7", "2026-01", "--zone", "Europe/Berlin")
    assert (shown["opening_balance"], shown["closing_balance"], len(shown["entries"])) == (0, 70, 2)
    assert datetime.fromisoformat(shown["period_start"]).isoformat() == "2026-01-01T00:00:00+01:00"
    page = tmp_path / "january.html"
    written = said(capsys, url, "statement", "ext:chat-7", "2026-01", "--html", str(page), "--heading", "Bot")
    assert written["file"] == str(page)
    assert "<h1>Bot</h1>" in page.read_text()
    assert run(["usage", "statement", "ext:chat-7", "2026-01", "--database-url", url]) == 0
    assert "closing balance" in capsys.readouterr().out


def test_what_cannot_be_shown_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in (
        (("statement", "ext:chat-7", "January"), "invalid_input"),
        (("statement", "ext:chat-7", "2026-13"), "invalid_input"),
        (("statement", "ext:nobody", "2026-01"), "user_not_found"),
        (("statement", "ext:chat-7", "2026-01", "--html", "/nowhere/at/all.html"), "invalid_input"),
        (("show", "--interval", "year"), "invalid_input"),
        (("show", "--since", "2026-02-01", "--until", "2026-01-01"), "invalid_input"),
        (("show", "--export", "usage.xls"), "invalid_input"),
    ):
        assert run(["usage", *arguments, "--database-url", url, "--json"]) == 1
        assert json.loads(capsys.readouterr().out)["error"]["code"] == code
