"""Watching real transactions of solana-test-validator: told of by its WebSocket, counted once, decoded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from solders.keypair import Keypair

from deal_sdk import Deal

pytestmark = pytest.mark.slow


async def test_a_transfer_is_told_of_counted_and_decoded(validator_url: str, tmp_path: Path) -> None:
    async with Deal.open(
        rpc_url=validator_url,
        database_url=f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}",
        keystore_passphrase="correct horse battery staple",
        create_mint=True,
        # Only what the validator tells can bring about a poll in this time.
        watch_poll_interval_seconds=3_600,
        watch_hint_interval_seconds=0.1,
    ) as deal:
        stranger = str(Keypair().pubkey())
        await deal.monitor.add(stranger)
        await deal.monitor.poll()
        async with deal.monitor.subscribe() as events:
            payment = await deal.tokens.transfer("treasury", stranger, "1.5")
            async with asyncio.timeout(60):
                event = await anext(events)
        assert (event.type, event.data["signature"]) == ("wallet:transaction", payment.signature)
        (only,) = await deal.monitor.transactions(stranger)
        assert (only.direction, only.amount, only.memo) == ("incoming", "1.5", f"deal:{payment.id}")
