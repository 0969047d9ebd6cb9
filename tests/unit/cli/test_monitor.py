"""`dealctl monitor` on a database of its own; only `add` needs a chain, which the tests of watching have."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deal_sdk.cli.application import run
from deal_sdk.cli.monitor import wallets_table
from deal_sdk.clock import ManualClock
from deal_sdk.monitor import WatchedWallet
from deal_sdk.records import Database
from tests.contract.watch_world import ALICE, BOB, WatchWorld


class Shell:
    """Runs commands on one database and reads their documents."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.database_url = f"sqlite+aiosqlite:///{directory / 'deal.db'}"
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        assert run(["monitor", *arguments, "--database-url", self.database_url, "--json"]) == code
        return json.loads(self._capsys.readouterr().out)


async def watched(database_url: str) -> tuple[WatchedWallet, ...]:
    """Watch two wallets, of which one stops at its limit of two."""
    clock = ManualClock()
    database = await Database.open(database_url, clock=clock)
    world = WatchWorld(database, clock)
    await world.lease.register()
    await world.monitor.add(ALICE, label="the one", max_transactions=2)
    await world.monitor.add(BOB)
    for _ in range(3):
        world.chain.land(ALICE)
    await world.poll()
    found = await world.monitor.list()
    await world.close()
    await database.close()
    return found


def test_a_wallet_is_listed_stopped_re_watched_and_reset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(tmp_path, capsys)
    wallets = asyncio.run(watched(shell.database_url))
    listed = shell("list")
    assert [item["status_text"] for item in listed["wallets"]] == ["Limit Reached", "Active"]
    assert listed["quota"]["active_wallets"] == 1
    assert shell("rewatch", ALICE, "--actor", "ops")["next_stop"] == 4
    assert shell("stop", ALICE)["stop_reason"] == "manual"
    assert shell("limit", ALICE, "7")["max_transactions"] == 7
    assert shell("limit", ALICE)["max_transactions"] == 200
    assert shell("override", BOB, "5", "--actor", "ops", "--reason", "audit")["next_stop"] == 205
    later = "2099-01-31T12:00:00+00:00"
    assert shell("schedule-stop", BOB, later)["stop_at"] == later
    assert shell("schedule-stop", BOB)["stop_at"] is None
    for text in ("tomorrow", "2099-01-31T12:00:00"):
        assert shell("schedule-stop", BOB, text, code=1)["error"]["code"] == "invalid_input"
    assert len(json.loads(shell("export", ALICE)["export"])) == 2
    assert shell("export", ALICE, "--format", "csv")["export"].count("\n") == 3
    reset = shell("reset", ALICE)
    assert (reset["wallet"]["transaction_count"], len(json.loads(reset["export"]))) == (0, 2)
    # The manual clock that wrote all this began long ago; what was overridden, and the newest event, stay.
    cleaned = shell("cleanup", "--kept-days", "7")
    assert cleaned["rpc_usage"] == 2
    assert shell("cleanup", "--kept-days", "6", code=1)["error"]["code"] == "invalid_input"
    assert shell("stop", "nobody", code=1)["error"]["code"] == "invalid_wallet_address"

    console = Console(width=160, record=True, force_terminal=True, color_system="truecolor")
    console.print(wallets_table(wallets))
    drawn = console.export_text()
    assert "2/2" in drawn
    assert "\N{FULL BLOCK}" * 20 in drawn
    assert "0/200" in drawn


def test_the_live_table_ends_after_its_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell(tmp_path, capsys)
    asyncio.run(watched(shell.database_url))
    has_ended = threading.Event()

    async def keep_changing() -> None:
        database = await Database.open(shell.database_url, clock=ManualClock())
        world = WatchWorld(database, ManualClock())
        # The command may begin to watch after any of these; the first that it sees ends it.
        while not await asyncio.to_thread(has_ended.wait, 0.05):
            await world.monitor.stop(BOB)
            await world.monitor.rewatch(BOB)
        await world.close()
        await database.close()

    # The command is told to stop by signals, which only the main thread takes.
    changing = threading.Thread(target=asyncio.run, args=(keep_changing(),))
    changing.start()
    try:
        document = shell("watch", "--events", "1")
    finally:
        has_ended.set()
        changing.join()
    assert len(document["events"]) == 1
    assert len(document["wallets"]) == 2
