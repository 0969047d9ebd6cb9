"""Renewals from a shell: what cron calls, and what an operator reads."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from deal_sdk.cli.application import run
from deal_sdk.clock import SystemClock
from deal_sdk.records import Database, UserDirectory

CHANNEL = """
import sys

class Channel:
    async def is_member(self, user_id, external_id):
        return external_id == "chat-7"

channel = Channel()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "members_of_channel.py").write_text(CHANNEL)
    (tmp_path / "broken_channel.py").write_text("raise RuntimeError('no token')")
    asyncio.run(_fill(f"sqlite:///{tmp_path / 'deal.db'}"))
    return tmp_path


async def _fill(url: str) -> None:
    database = await Database.open(url, clock=SystemClock())
    users = UserDirectory(database)
    await users.create(external_id="chat-7")
    await users.create(external_id="chat-8")
    await users.create(tier="Business")
    await database.close()


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert run(["renewals", *arguments, "--json"]) == code
    return orjson.loads(capsys.readouterr().out)


def test_a_run_renews_and_the_next_one_finds_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "status")["due"] == {"Business": 1, "Gift": 2}
    dry = said(capsys, "run", "--dry-run")
    assert (dry["successful"], dry["tokens_added"]) == (1, 10_000)
    assert len(said(capsys, "due")["users"]) == 3
    assert run(["webhooks", "add", "log:info", "--event", "credits_renewed", "--json"]) == 0
    capsys.readouterr()
    report = said(capsys, "run", "--membership", "members_of_channel:channel")
    assert (report["successful"], report["failed"], report["tokens_added"]) == (2, 0, 10_100)
    assert report["skipped"] == {"channel_required": 1}
    assert run(["webhooks", "deliveries", "--json"]) == 0
    told = orjson.loads(capsys.readouterr().out)["deliveries"]
    assert [one["event_type"] for one in told] == ["credits_renewed"] * 2
    [left] = said(capsys, "due")["users"]
    assert left["external_id"] == "chat-8"
    assert said(capsys, "status")["renewed"] == 2
    assert run(["renewals", "run"]) == 0
    assert "membership_unknown 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [
        *("nowhere:channel", "members_of_channel:nobody", "members_of_channel", ":"),
        *("members_of_channel:Channel", "members_of_channel:sys", "broken_channel:channel"),
    ],
)
def test_who_answers_for_the_channel_has_to_exist(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    error = said(capsys, "run", "--membership", name, code=1)["error"]
    assert error["code"] == "configuration"
