"""A `Deal` that tells a real receiver of its payments, and goes on telling after a kill -9."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from solders.keypair import Keypair

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer
from deal_sdk import Deal
from deal_sdk.webhooks import SIGNATURE_HEADER, verify_webhook
from tests.integration.conftest import FAST_CHAIN
from tests.integration.killing import run_until_killed
from tests.integration.webhooks.teller import SECRET

TELLER = Path(__file__).with_name("teller.py")
ADDRESSES = [str(Keypair.from_seed(bytes([number + 1]) * 32).pubkey()) for number in range(12)]
MAX_RUNS = 8
OPTIONS: dict[str, Any] = {
    "webhook_allow_private_networks": True,
    "webhook_first_retry_seconds": 0.2,
    "webhook_poll_interval_seconds": 0.1,
}


class Receiver:
    """Proves what it receives, and now and then answers as receivers do."""

    def __init__(self, *, troubles: int = 0) -> None:
        self.events: list[dict[str, Any]] = []
        self._random = random.Random(troubles)
        self._troubles = troubles

    async def receive(self, request: web.Request) -> web.Response:
        event = verify_webhook(await request.read(), request.headers[SIGNATURE_HEADER], SECRET)
        trouble = self._random.randrange(6) if self._troubles else -1
        if trouble == 0:
            return web.Response(status=500)
        self.events.append(event)
        # It has it, and says so too late or not at all: the event will come twice.
        if trouble == 1:
            return web.Response(status=503, headers={"Retry-After": "1"})
        if trouble == 2:
            await asyncio.sleep(0.3)
        return web.Response()

    def ids_of(self, subject: str) -> dict[str, set[str]]:
        """Return the ids of a payment's events by their type."""
        found: dict[str, set[str]] = {}
        for event in self.events:
            if event["subject"] == subject:
                found.setdefault(event["type"], set()).add(event["id"])
        return found


@pytest.fixture
async def serve() -> AsyncIterator[Any]:
    servers: list[TestServer] = []

    async def start(receiver: Receiver) -> str:
        application = web.Application()
        application.router.add_post("/hook", receiver.receive)
        server = TestServer(application)
        await server.start_server()
        servers.append(server)
        return str(server.make_url("/hook"))

    yield start
    for server in servers:
        await server.close()


async def all_told(deal: Deal) -> None:
    async with asyncio.timeout(60):
        for _ in range(3_000):
            if not (await deal.webhooks.deliveries(state="pending", limit=1)).items:
                return
            await asyncio.sleep(0.02)


async def test_a_receiver_hears_of_every_payment_and_alarm(serve: Any) -> None:
    receiver = Receiver()
    async with Deal.open(**FAST_CHAIN, **OPTIONS, alarm_payments_per_minute=1) as deal:
        await deal.webhooks.add(await serve(receiver), secret=SECRET)
        payment = await deal.tokens.transfer("treasury", ADDRESSES[0], "1", wait_for="finalized")
        await deal.tokens.transfer("treasury", ADDRESSES[1], "1")
        await deal.settled()
        await deal.events.drain()
        await all_told(deal)
    told = [event for event in receiver.events if event["subject"] == str(payment.id)]
    by_sequence = sorted(told, key=lambda event: int(event["sequence"]))
    assert [event["type"] for event in by_sequence] == [
        "payment.recorded",
        "payment.confirmed",
        "payment.finalized",
    ]
    assert by_sequence[2]["data"]["payment"]["amount"] == "1"
    assert "suspicious_activity" in Counter(event["type"] for event in receiver.events)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_kill_9_loses_no_event(serve: Any, tmp_path: Path, seed: int) -> None:
    receiver = Receiver(troubles=seed)
    moments = random.Random(seed)
    database_url = f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}"
    async with (
        Localnet(LocalnetConfig(slot_seconds=0.02, finality_slots=8)) as localnet,
        LocalnetServer(localnet, rpc_port=0) as chain,
    ):
        url = await serve(receiver)
        for run in range(MAX_RUNS):
            lines = moments.randint(1, 2 + 2 * run)
            arguments = [chain.rpc_url, database_url, url, *ADDRESSES]
            if await run_until_killed(TELLER, arguments, lines, moments.uniform(0.0, 0.3)):
                break
        async with Deal.open(
            rpc_url=chain.rpc_url,
            database_url=database_url,
            keystore_passphrase="correct horse battery staple",
            **OPTIONS,
        ) as deal:
            for address in ADDRESSES:
                await deal.tokens.transfer("treasury", address, "1", idempotency_key=f"pay-{address}")
            assert await deal.settled()
            # What a killed process held comes back when its lease ends; the test does not wait that long.
            await deal.webhooks._database.run(_end_leases)
            await all_told(deal)
            dead = (await deal.webhooks.deliveries(state="dead")).items
            assert not dead
            payments = [item async for item in deal.transactions.iterate(type="transfer")]
    assert len(payments) == len(ADDRESSES)
    for payment in payments:
        ids = receiver.ids_of(str(payment.id))
        assert {"payment.recorded", "payment.finalized"} <= set(ids)
        assert all(len(found) == 1 for found in ids.values()), "each thing that happened has one id"


async def _end_leases(connection: Any) -> None:
    await connection.exec_driver_sql(
        "UPDATE webhook_deliveries SET next_attempt_at = created_at WHERE state = 'pending'"
    )
