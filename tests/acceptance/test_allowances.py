"""The on-chain program on solana-test-validator: deployed in two calls, upgraded, charged, rewarded."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from deal_sdk import Deal
from deal_sdk.chain.allowance import program_bytes
from deal_sdk.errors import ChargeRefusedError, ConfigurationError
from deal_sdk.payments import AllowanceRequest
from deal_sdk.payments.allowances import publishing

pytestmark = pytest.mark.slow

OTHER_VERSION = program_bytes() + b"\x01" * 8
PARTS_BEFORE_THE_CRASH = 10


async def test_the_program_on_a_real_validator(
    validator_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {
        "rpc_url": validator_url,
        "database_url": f"sqlite:///{tmp_path / 'deal.db'}",
        "keystore_passphrase": "of the test",
        "create_mint": True,
    }
    async with Deal.open(**options) as deal:
        publisher = deal.allowances.publisher
        with pytest.raises(ConfigurationError):
            await deal.allowances.initialize()
        with pytest.raises(ConfigurationError):
            await publisher.upgrade()
        monkeypatch.setattr(publishing, "program_bytes", lambda: OTHER_VERSION)
        await _stop_in_the_middle(deal)
    async with Deal.open(**options) as deal:
        counts: list[int] = []
        await deal.allowances.publisher.deploy(lambda done, total: counts.append(done))
        assert counts[0] > PARTS_BEFORE_THE_CRASH
        monkeypatch.undo()
        assert not (await deal.allowances.publisher.status()).is_current
        with pytest.raises(ConfigurationError, match="upgrade"):
            await deal.allowances.publisher.deploy()
        upgraded = await deal.allowances.publisher.upgrade()
        assert upgraded.is_current
        assert await deal.allowances.publisher.deploy() == upgraded
        await _charge_and_reward(deal)


async def _stop_in_the_middle(deal: Deal) -> None:
    def stop(done: int, total: int) -> None:
        if done == PARTS_BEFORE_THE_CRASH:
            task.cancel()

    task = asyncio.create_task(deal.allowances.publisher.deploy(stop))
    with pytest.raises(asyncio.CancelledError):
        await task


async def _charge_and_reward(deal: Deal) -> None:
    await deal.allowances.initialize()
    user = await deal.users.create(tier="Business")
    await deal.wallets.create_custodial(user.id)
    await deal.tokens.transfer("treasury", user.id, "10")
    request = AllowanceRequest("3", timedelta(days=1), "2", "5")
    await deal.allowances.open(user.id, request)
    first = await deal.allowances.charge(user.id, "2")
    second = await deal.allowances.charge(user.id, "1")
    (event,) = await deal.allowances.events(str(second.signature))
    assert (event.fields["sequence"], event.fields["reference"]) == (1, second.id)
    assert first.id != second.id
    assert await deal.tokens.balance_of(user.id) == Decimal(7)
    with pytest.raises(ChargeRefusedError) as refused:
        await deal.allowances.open(user.id, request)
    assert refused.value.facts["refusal"] == "AllowanceOpen"
    await deal.allowances.fund_vault("5")
    batch_id = await deal.allowances.create_reward_batch(8)
    await deal.allowances.pay_reward(batch_id, 7, user.id, "1")
    assert (await deal.allowances.reward_batch(batch_id)).is_paid(7)
    assert not (await deal.allowances.close(user.id)).is_open
