"""A process that is killed with -9 while it watches: after restarts everything is counted exactly once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from solders.keypair import Keypair

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer
from deal_sdk import Deal
from tests.integration.conftest import assert_books_agree
from tests.integration.killing import run_until_killed

pytestmark = pytest.mark.slow

WATCHER = Path(__file__).with_name("watcher.py")
ADDRESS = str(Keypair.from_seed(bytes([7]) * 32).pubkey())
PAYMENTS = 5
KILLS = 2


async def test_kill_9_neither_skips_nor_repeats(tmp_path: Path) -> None:
    moments = random.Random(7)
    database_url = f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}"
    async with (
        Localnet(LocalnetConfig(slot_seconds=0.02, finality_slots=8)) as localnet,
        LocalnetServer(localnet, rpc_port=0) as server,
    ):
        arguments = [server.rpc_url, database_url, ADDRESS, str(PAYMENTS)]
        for run in range(KILLS):
            # Ever later, so that it is cut while it adds, lists, reads and counts.
            if await run_until_killed(WATCHER, arguments, 2 + 4 * run, moments.uniform(0.0, 0.03)):
                break
        else:
            assert await run_until_killed(WATCHER, arguments, -1, 0.0)
        async with Deal.open(
            rpc_url=server.rpc_url,
            database_url=database_url,
            keystore_passphrase="correct horse battery staple",
            background_jobs=False,
        ) as deal:
            await assert_books_agree(deal)
            counted = await deal.monitor.transactions(ADDRESS, limit=1_000)
            assert [item.number for item in counted] == list(range(PAYMENTS, 0, -1))
            paid = {payment.signature for payment in (await deal.transactions.query(type="transfer")).items}
            assert {item.signature for item in counted} == paid
            events = await deal.monitor.events_after(0, limit=1_000)
            assert [event.id for event in events] == list(range(1, len(events) + 1))
