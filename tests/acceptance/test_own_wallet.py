"""Wallets that sign elsewhere, delegates and a signing service, against solana-test-validator."""

from __future__ import annotations

import asyncio
import base64
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair

from deal_sdk import Deal
from deal_sdk.chain import KeypairSigner, ensure_lamports, instructions
from deal_sdk.cli.application import run
from deal_sdk.errors import DelegationError, PreparedTransactionChangedError
from tests.integration.payments.wallet_application import WalletApplication, own_wallet
from tests.unit.chain.signing_server import HMAC_SECRET, TOKEN, SigningHost

pytestmark = pytest.mark.validator


async def test_other_keys_sign(
    validator_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One pass over all three, because each wait for the validator takes its time."""
    async with SigningHost(KeypairSigner(Keypair())) as host:
        options = {
            "rpc_url": validator_url,
            "database_url": f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}",
            "keystore_passphrase": "a passphrase for this test alone",
            "remote_signers": {"treasury": {"url": host.url, "address": host.addresses[0]}},
            "remote_signer_token": TOKEN,
            "remote_signer_hmac_secret": HMAC_SECRET,
        }
        async with Deal.open(**options, create_mint=True) as deal:
            wallet = await own_wallet(deal, "10")
            assert host.asked != []
            await pay_from_the_wallet(deal, wallet)
            await pay_by_approval(deal)
        await pay_on_the_command_line(wallet, options, monkeypatch, capsys)


async def pay_from_the_wallet(deal: Deal, wallet: WalletApplication) -> None:
    prepared = await deal.tokens.prepare_transfer(wallet.user.id, "treasury", "2")
    changed = wallet.sign_with(instructions.compute_unit_price(1), prepared.transaction)
    with pytest.raises(PreparedTransactionChangedError):
        await deal.tokens.submit_signed(prepared.id, changed)
    paid = await deal.tokens.submit_signed(prepared.id, wallet.sign(prepared.transaction))
    assert paid.status in ("confirmed", "finalized")
    await ensure_lamports(deal.rpc, wallet.key.pubkey(), 10**9)
    alone = await deal.tokens.prepare_transfer(wallet.user.id, "treasury", "3", owner_pays_fee=True)
    assert base64.b64decode(alone.transaction)[0] == 1, "its owner's signature is the only one"
    await deal.tokens.submit_signed(alone.id, wallet.sign(alone.transaction))
    assert await deal.tokens.balance_of(wallet.user.id) == 5


async def pay_by_approval(deal: Deal) -> None:
    owner, delegate = await deal.users.create(tier="Business"), await deal.users.create(tier="Business")
    for user in (owner, delegate):
        await deal.wallets.create_custodial(user.id)
    await deal.tokens.transfer("treasury", owner.id, "5")
    await deal.tokens.approve(owner.id, delegate.id, "3")
    await deal.tokens.transfer_from(delegate.id, owner.id, "treasury", "2")
    assert await deal.tokens.allowance(owner.id, delegate.id) == Decimal(1)
    with pytest.raises(DelegationError):
        await deal.tokens.transfer_from(delegate.id, owner.id, "treasury", "2")


async def pay_on_the_command_line(
    wallet: WalletApplication,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in options.items():
        text = value if isinstance(value, str) else json.dumps(value)
        monkeypatch.setenv(f"DEAL_{name.upper()}", text)

    async def dealctl(*arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        assert await asyncio.to_thread(run, [*arguments, "--json"]) == 0
        return dict(json.loads(capsys.readouterr().out))

    user = str(wallet.user.id)
    prepared = await dealctl("prepare", "transfer", user, "treasury", "1.5", "--key", "once")
    assert (await dealctl("prepare", "transfer", user, "treasury", "1.5", "--key", "once")) == prepared
    paid = await dealctl("submit", prepared["prepared_id"], wallet.sign(prepared["transaction"]))
    assert (paid["id"], paid["amount"]) == (prepared["payment_id"], "1.5")
    fee = await dealctl("prepare", "charge", user, "search")
    paid = await dealctl("submit", fee["prepared_id"], wallet.sign(fee["transaction"]))
    assert (paid["type"], paid["amount"]) == ("service_fee", "0.1")
