"""`dealctl packages` against a chain that runs beside the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer
from deal_sdk import Deal
from deal_sdk.cli.application import run

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


def test_what_is_offered_is_asked_for_once(
    servers: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str, code: int = 0) -> Any:
        assert run(["packages", *arguments, *servers, "--json"]) == code
        return orjson.loads(capsys.readouterr().out)

    package = said("offer", "starter", "500", "2.5", "--lifetime-days", "30", "--priority", "20")
    assert (package["credits"], package["price"], package["lifetime_days"]) == (500, "2.5", 30)
    assert said("list") == {"packages": [package]}
    asked = ("invoice", "ext:chat-7", "starter", "--key", "order-7", "--expires-in-seconds", "60")
    invoice = said(*asked)
    assert said(*asked) == invoice
    assert (invoice["status"], invoice["amount"], invoice["package_id"]) == ("open", "2.5", package["id"])
    assert invoice["url"].startswith("solana:")
    listed = said("invoices", invoice["user_id"])
    assert listed == {"user_id": invoice["user_id"], "invoices": [{**invoice, "payments": []}]}
    assert said("offer", "free", "5", "0", code=1)["error"]["code"] == "invalid_amount"
    assert said("invoice", "ext:chat-7", "unheard-of", code=1)["error"]["code"] == "package_not_found"
    assert said("invoices", "ext:nobody", code=1)["error"]["code"] == "user_not_found"
    for arguments in (("list",), ("invoices", "ext:chat-7")):
        assert run(["packages", *arguments, *servers]) == 0
        assert "2.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("offer", "starter", "0", "1"),
        ("offer", "starter", "1.5", "1"),
        ("offer", "starter", "5", "1", "--lifetime-days", "0"),
        ("offer", "starter", "5", "1", "--priority", "101"),
        ("invoice", "ext:chat-7", "starter", "--expires-in-seconds", "0"),
        ("invoices",),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert run(["packages", *arguments, "--json"]) == 2
