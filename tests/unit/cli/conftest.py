"""A chain that runs beside the commands of a test, and a database with its mint and one user."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer
from deal_sdk import Deal

PASSPHRASE = "correct horse battery staple"
START_SECONDS = 60


@pytest.fixture
def chain() -> Iterator[str]:
    """Run a chain in a thread of its own, for commands have an event loop each; its RPC URL."""
    started, urls = threading.Event(), list[str]()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with (
            Localnet(LocalnetConfig(slot_seconds=0.02, finality_slots=4)) as localnet,
            LocalnetServer(localnet, rpc_port=0) as server,
        ):
            urls.append(server.rpc_url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(START_SECONDS)
    yield urls[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.fixture
def servers(chain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.setenv("DEAL_KEYSTORE_PASSPHRASE", PASSPHRASE)
    database_url = f"sqlite:///{tmp_path / 'deal.db'}"

    async def fill() -> None:
        named = {"rpc_url": chain, "database_url": database_url, "keystore_passphrase": PASSPHRASE}
        async with Deal.open(create_mint=True, **named) as deal:
            await deal.users.create(external_id="chat-7")

    asyncio.run(fill())
    return ("--rpc-url", chain, "--database-url", database_url)
