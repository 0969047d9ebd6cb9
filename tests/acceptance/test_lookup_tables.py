"""Lookup tables on a real validator: what the program takes, and from when on its tables can be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_sdk import Deal
from deal_sdk.chain.lookup_tables import decode_table
from deal_sdk.payments import RewardLine
from tests.integration.conftest import assert_books_agree

FINALITY_SECONDS = 120
WALLETS = [str(Keypair().pubkey()) for _ in range(40)]


@pytest.mark.validator
@pytest.mark.slow
async def test_a_batch_is_paid_by_a_table_that_is_then_used_again_and_deactivated(
    tmp_path: Path, validator_url: str
) -> None:
    lines = [RewardLine(wallet, "1", "airdrop") for wallet in WALLETS]
    async with Deal.open(
        rpc_url=validator_url,
        database_url=f"sqlite+aiosqlite:///{tmp_path}/deal.db",
        keystore_passphrase="correct horse battery staple",
        create_mint=True,
        lookup_table_uses=30,
    ) as deal:
        await deal.tokens.transfer("treasury", "reward", "1000")
        await deal.rewards.distribute_batch(lines, batch_key="first")
        cost = await deal.rewards.estimate_batch(lines, batch_key="second")
        assert (cost.lookup_tables, cost.transactions) == (1, 3)
        second = await deal.rewards.distribute_batch(lines, batch_key="second")
        third = await deal.rewards.distribute_batch(lines, batch_key="third")
        for report in (second, third):
            assert {line.status for line in report.recipients} <= {"confirmed", "finalized"}
            assert len({line.signature for line in report.recipients}) == 1
        (table,) = await deal.rewards.lookup_tables()
        assert (table.state, table.addresses) == ("ready", 42)
        assert table.locked_lamports == cost.locked_lamports
        (closing,) = await deal.rewards.close_lookup_tables()
        assert closing.slots_to_close is not None
        found = decode_table(await deal.rpc.get_account(Pubkey.from_string(table.address)))
        assert found is not None
        assert found.deactivation_slot is not None
        # The cooldown is minutes long; until it is over nothing more is sent.
        assert [one.state for one in await deal.rewards.close_lookup_tables()] == ["closing"]
        # Finality takes a validator 15 seconds when it has a core to itself, and longer beside others.
        assert await deal.settled(timeout_seconds=FINALITY_SECONDS)
        await assert_books_agree(deal)
