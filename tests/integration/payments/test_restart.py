"""A process that is killed with -9 while it pays: after a restart everybody was paid exactly once."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer
from deal_sdk import Deal
from tests.integration.conftest import assert_books_agree
from tests.integration.killing import run_until_killed

pytestmark = pytest.mark.slow

PAYER = Path(__file__).with_name("payer.py")
BATCH_PAYER = Path(__file__).with_name("batch_payer.py")
ADDRESSES = [str(Keypair.from_seed(bytes([number + 1]) * 32).pubkey()) for number in range(24)]
MAX_RUNS = 12


@pytest.fixture
async def server() -> AsyncIterator[LocalnetServer]:
    async with (
        Localnet(LocalnetConfig(slot_seconds=0.02, finality_slots=8)) as localnet,
        LocalnetServer(localnet, rpc_port=0) as running,
    ):
        yield running


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_kill_9_pays_everybody_once(server: LocalnetServer, tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    database_url = f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}"
    for run in range(MAX_RUNS):
        # Ever later, so that every phase from the first intent to the last settlement is cut somewhere.
        lines = moments.randint(1, 2 + run)
        if await run_until_killed(
            PAYER, [server.rpc_url, database_url, *ADDRESSES], lines, moments.uniform(0.0, 0.15)
        ):
            break
    else:
        assert await run_until_killed(PAYER, [server.rpc_url, database_url, *ADDRESSES], -1, 0.0)
    async with Deal.open(
        rpc_url=server.rpc_url,
        database_url=database_url,
        keystore_passphrase="correct horse battery staple",
    ) as deal:
        await assert_books_agree(deal)
        for address in ADDRESSES:
            assert await deal.tokens.balance_of(address) == 1
        assert await deal.transactions.count(type="transfer") == len(ADDRESSES)


async def test_kill_9_pays_everybody_in_a_batch_once(server: LocalnetServer, tmp_path: Path) -> None:
    moments = random.Random(9)
    wallets = [str(Keypair.from_seed(bytes([number]) * 32).pubkey()) for number in range(100, 160)]
    file = tmp_path / "batch.csv"
    file.write_text("\n".join(["recipient,amount,type", *(f"{wallet},1,airdrop" for wallet in wallets)]))
    database_url = f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}"
    arguments = [server.rpc_url, database_url, str(file)]
    for run in range(MAX_RUNS):
        # Ever later, so that it is cut while it records, signs, sends and settles.
        lines, delay_seconds = moments.randint(1, 2 + 2 * run), moments.uniform(0.0, 0.1)
        if await run_until_killed(BATCH_PAYER, arguments, lines, delay_seconds):
            break
    else:
        assert await run_until_killed(BATCH_PAYER, arguments, -1, 0.0)
    async with Deal.open(
        rpc_url=server.rpc_url,
        database_url=database_url,
        keystore_passphrase="correct horse battery staple",
    ) as deal:
        await assert_books_agree(deal)
        for wallet in wallets:
            assert await deal.tokens.balance_of(wallet) == 1
        assert await deal.transactions.count(type="reward", status="finalized") == len(wallets)


async def test_what_was_only_recorded_is_carried_on(server: LocalnetServer, tmp_path: Path) -> None:
    """An intent without a signature is paid after a restart, because its record was its promise."""
    database_url = f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}"
    options = {
        "rpc_url": server.rpc_url,
        "database_url": database_url,
        "keystore_passphrase": "correct horse battery staple",
    }
    async with Deal.open(**options, create_mint=True) as deal:
        payment = await deal.tokens.transfer("treasury", ADDRESSES[0], "1", wait_for="recorded")
    async with Deal.open(**options) as deal:
        stored = await deal.transactions.get(payment.id)
        assert stored.status in ("pending", "confirmed", "finalized")
        await assert_books_agree(deal)
        assert (await deal.transactions.get(payment.id)).status == "finalized"
        assert await deal.tokens.balance_of(ADDRESSES[0]) == 1
