"""`dealctl worker` as a process: it carries on what another left, says how it is, and ends when told to."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from solders.keypair import Keypair

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer
from deal_sdk import Deal
from deal_sdk.client import MonitoringServer
from deal_sdk.errors import ConfigurationError
from tests.acceptance.command_line import dealctl, dealctl_json, environment_of
from tests.servers.processes import wait_until

PASSPHRASE: Final = "correct horse battery staple"
STOP_SECONDS: Final = 30.0
CHANNEL: Final = """
class Channel:
    async def is_member(self, user_id, external_id):
        return external_id == "chat-7"

channel = Channel()
"""


@pytest.fixture
async def chain() -> AsyncIterator[Localnet]:
    async with Localnet(LocalnetConfig(slot_seconds=0.02, finality_slots=8)) as localnet:
        yield localnet


@pytest.fixture
async def server(chain: Localnet) -> AsyncIterator[LocalnetServer]:
    async with LocalnetServer(chain, rpc_port=0) as running:
        yield running


@pytest.fixture
def options(server: LocalnetServer, tmp_path: Path) -> dict[str, Any]:
    return {
        "rpc_url": server.rpc_url,
        "database_url": f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}",
        "keystore_passphrase": PASSPHRASE,
    }


class RunningWorker:
    """A worker's process and what it said when it was ready."""

    def __init__(self, options: dict[str, Any], *arguments: str, folder: Path | None = None) -> None:
        named = ["--rpc-url", options["rpc_url"], "--database-url", options["database_url"]]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deal_sdk.cli", "worker", *named, "--json", *arguments],
            cwd=folder,
            env=environment_of(
                {"DEAL_KEYSTORE_PASSPHRASE": options["keystore_passphrase"], "DEAL_RENEWAL_JOB": "true"}
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.ready: dict[str, Any] = {}

    def read(self) -> None:
        assert self.process.stdout is not None
        text = ""
        for line in self.process.stdout:
            text += line
            if line.rstrip() == "}":
                break
        self.ready = json.loads(text)

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Tell it to end and return its exit code and what it wrote to stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=STOP_SECONDS)
        return self.process.returncode, errors


@contextmanager
def worker(options: dict[str, Any], *arguments: str, folder: Path | None = None) -> Iterator[RunningWorker]:
    running = RunningWorker(options, "--metrics-port", "0", *arguments, folder=folder)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


def ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=STOP_SECONDS) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def shows(url: str, line: str) -> None:
    """Wait until the worker's metrics show a line."""
    await asyncio.to_thread(
        wait_until, lambda: line in ask(url)[1].splitlines(), f"no line {line}", STOP_SECONDS
    )


def registered_workers(options: dict[str, Any]) -> int:
    with closing(sqlite3.connect(options["database_url"].removeprefix("sqlite+aiosqlite:///"))) as connection:
        count: int = connection.execute("SELECT count(*) FROM workers").fetchone()[0]
        return count


async def test_it_carries_on_what_was_left_and_ends_when_told_to(
    options: dict[str, Any], chain: Localnet
) -> None:
    receiver = str(Keypair().pubkey())
    async with Deal.open(**options, create_mint=True) as deal:
        # However slowly this one closes, it leaves something: nothing becomes final before the chain goes on.
        chain.pause()
        payment = await deal.tokens.transfer("treasury", receiver, "1", wait_for="recorded")
    chain.resume()
    with worker(options) as running:
        await asyncio.to_thread(running.read)
        metrics_url = running.ready["metrics_url"]
        await shows(metrics_url, 'token_transactions_total{status="finalized",type="transfer"} 1.0')
        await shows(metrics_url, "payments_taken_over_total 1.0")
        assert registered_workers(options) == 1
        code, errors = await asyncio.to_thread(running.end, signal.SIGTERM)
        assert (code, errors) == (0, "")
        assert registered_workers(options) == 0
    async with Deal.open(**options) as deal:
        assert (await deal.transactions.get(payment.id)).status == "finalized"
        assert await deal.tokens.balance_of(receiver) == 1
        assert (await deal.verify()).ok


async def test_it_renews_whom_the_channel_has(
    options: dict[str, Any], server: LocalnetServer, tmp_path: Path
) -> None:
    (tmp_path / "bots_channel.py").write_text(CHANNEL)
    async with Deal.open(**options, create_mint=True) as deal:
        member, stranger = [await deal.users.create(external_id=name) for name in ("chat-7", "chat-8")]
    with worker(options, "--membership", "bots_channel:channel", folder=tmp_path) as running:
        await asyncio.to_thread(running.read)
        await shows(running.ready["metrics_url"], 'renewals_total{outcome="renewed"} 1.0')
        await asyncio.to_thread(running.end, signal.SIGTERM)
    async with Deal.open(**options) as deal:
        balances = [(await deal.users.get(user.id)).tokens_balance for user in (member, stranger)]
        assert balances == [100, 0]
    # A name that is wrong is refused before anything is opened.
    named = {"DEAL_CHANNEL_MEMBERSHIP": "bots_channel:nobody", "DEAL_RPC_URL": "http://127.0.0.1:1"}
    done = await asyncio.to_thread(dealctl, "worker", "--json", directory=tmp_path, more=named)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "configuration"


async def test_its_health_says_which_server_is_gone(options: dict[str, Any], server: LocalnetServer) -> None:
    async with Deal.open(**options, create_mint=True):
        pass
    with worker(options, "--drain-seconds", "0") as running:
        await asyncio.to_thread(running.read)
        status, shown = await asyncio.to_thread(ask, running.ready["health_url"])
        assert (status, json.loads(shown)["status"]) == (200, "ok")
        await server.close()
        status, shown = await asyncio.to_thread(ask, running.ready["health_url"])
        report = json.loads(shown)
        assert (status, report["status"]) == (503, "unavailable")
        problems = {name: check["problem"] for name, check in report["checks"].items()}
        assert problems == {"database": None, "chain": "rpc_unavailable", "limits": None}
        assert (await asyncio.to_thread(ask, running.ready["health_url"].replace("health", "other")))[
            0
        ] == 404
        code, _ = await asyncio.to_thread(running.end, signal.SIGINT)
        assert code == 0


async def test_a_port_that_is_taken_is_said(options: dict[str, Any]) -> None:
    async with (
        Deal.open(**options, create_mint=True) as deal,
        MonitoringServer(deal.metrics, deal.health, host="127.0.0.1", port=0) as first,
    ):
        second = MonitoringServer(deal.metrics, deal.health, host="127.0.0.1", port=first.port)
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{first.port}"):
            await second.start()


async def test_reconcile_says_who_holds_what(tmp_path: Path) -> None:
    async with (
        Localnet(LocalnetConfig(slot_seconds=0.02, finality_slots=10_000)) as never_final,
        LocalnetServer(never_final, rpc_port=0) as server,
    ):
        settings = {
            "DEAL_RPC_URL": server.rpc_url,
            "DEAL_DATABASE_URL": f"sqlite:///{tmp_path / 'deal.db'}",
            "DEAL_KEYSTORE_PASSPHRASE": PASSPHRASE,
        }
        opened = {name.removeprefix("DEAL_").lower(): value for name, value in settings.items()}
        async with Deal.open(**opened, create_mint=True) as deal:
            await deal.tokens.transfer("treasury", str(Keypair().pubkey()), "1", wait_for="recorded")
        shown = await asyncio.to_thread(dealctl_json, "reconcile", directory=tmp_path, more=settings)
    (holder,) = shown["holders"]
    assert holder["open_payments"] == 1
    assert holder["is_this_command"] is holder["is_alive"] is True
