"""Payments that a user's own wallet signs: prepared, signed elsewhere, submitted, or proven dead."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from solders.keypair import Keypair
from solders.signature import Signature

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer
from deal_sdk import Deal, InsufficientBalanceError, PurchaseLimit, Transaction
from deal_sdk.chain import ensure_lamports, instructions
from deal_sdk.errors import (
    IdempotencyConflictError,
    InvalidInputError,
    InvalidSignatureError,
    PaymentsPausedError,
    PreparedTransactionChangedError,
    PreparedTransactionNotFoundError,
    PurchaseLimitExceededError,
    TransactionExpiredError,
    WalletNotFoundError,
)
from deal_sdk.events import Event
from deal_sdk.payments import PreparedTransaction
from deal_sdk.payments.orders import Plan
from tests.integration.conftest import FAST_CHAIN, assert_books_agree, localnet_of
from tests.integration.payments.wallet_application import WalletApplication, own_wallet

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 30
INDEX_SLOTS = 50
"""More than what nodes are given to write their indexes, and the slots to finality."""


@pytest.fixture
async def deal() -> AsyncIterator[Deal]:
    async with Deal.open(
        **FAST_CHAIN, history_poll_interval_seconds=0.05, rebroadcast_interval_seconds=0.1
    ) as opened:
        yield opened
        await assert_books_agree(opened)


@pytest.fixture
async def wallet(deal: Deal) -> WalletApplication:
    return await own_wallet(deal, "10")


async def ended(deal: Deal, payment_id: UUID, localnet: Localnet | None = None) -> Transaction:
    """Let its blockhash die, and wait until a payment is no longer pending."""
    chain = localnet or localnet_of(deal)
    chain.advance_slots(chain.config.blockhash_lifetime_blocks + INDEX_SLOTS)
    # The one at hand is seconds old, and dead by these slots made by hand.
    deal.tokens._signer.blockhashes._read_at_seconds = float("-inf")
    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in range(10_000):
            payment = await deal.transactions.get(payment_id)
            if payment.status != "pending":
                return payment
            await asyncio.sleep(0.05)
    raise AssertionError("still pending")


async def test_a_wallet_signs_and_the_payment_is_made(deal: Deal, wallet: WalletApplication) -> None:
    prepared = await deal.tokens.prepare_transfer(wallet.user.id, "treasury", "2", "lunch")
    treasury = (await deal.find_party("treasury")).address
    assert prepared.description == (
        f"Transfer 2 DEAL from {wallet.address} to {treasury} for lunch. "
        f"The network fee is paid by {treasury}."
    )
    assert (prepared.status, prepared.signer, prepared.number) == ("open", wallet.address, 1)
    assert prepared.payment.status == "pending"
    assert prepared.to_dict()["payment_id"] == str(prepared.payment.id)
    signed = wallet.sign(prepared.transaction)
    payments = await asyncio.gather(*(deal.tokens.submit_signed(prepared.id, signed) for _ in range(5)))
    assert {payment.id for payment in payments} == {prepared.payment.id}
    assert len({payment.signature for payment in payments}) == 1
    again = await deal.tokens.submit_signed(str(prepared.id), signed, wait_for="finalized")
    assert again.status == "finalized"
    assert await deal.tokens.balance_of(wallet.user.id) == 8
    row = await deal.history.latest(str(deal.token_account_of(wallet.key.pubkey())))
    assert row is not None


async def test_a_service_fee_keeps_its_price(deal: Deal, wallet: WalletApplication) -> None:
    first = await deal.tokens.prepare_service_fee(wallet.user.id, "goal", idempotency_key="fee")
    await deal.pricing.set_price("goal", "3")
    again = await deal.tokens.prepare_service_fee(wallet.user.id, "goal", idempotency_key="fee")
    assert (again.id, again.transaction) == (first.id, first.transaction)
    paid = await deal.tokens.submit_signed(first.id, wallet.sign(first.transaction))
    assert (paid.type, paid.amount, paid.reason) == ("service_fee", 100_000_000, "goal")
    after = await deal.tokens.prepare_service_fee(wallet.user.id, "goal", idempotency_key="fee")
    assert (after.status, after.payment.status) == ("signed", paid.status)
    with pytest.raises(IdempotencyConflictError):
        await deal.tokens.deduct_service_fee(wallet.user.id, "goal", idempotency_key="fee")


async def test_what_is_prepared_is_reserved(deal: Deal, wallet: WalletApplication) -> None:
    await deal.tokens.prepare_transfer(wallet.user.id, "treasury", "6")
    with pytest.raises(InsufficientBalanceError) as refused:
        await deal.tokens.prepare_transfer(wallet.user.id, "treasury", "5")
    assert refused.value.available == "4"


async def test_a_wallet_may_not_add_a_priority_fee(deal: Deal, wallet: WalletApplication) -> None:
    prepared = await deal.tokens.prepare_transfer(wallet.user.id, "treasury", "1")
    changed = wallet.sign_with(instructions.compute_unit_price(1_000), prepared.transaction)
    with pytest.raises(PreparedTransactionChangedError) as refused:
        await deal.tokens.submit_signed(prepared.id, changed)
    assert "compute budget or priority fee instruction was added" in refused.value.message
    other = WalletApplication(wallet.user, Keypair())
    for transaction in (prepared.transaction, sign_as(other, wallet, prepared.transaction)):
        with pytest.raises(InvalidSignatureError):
            await deal.tokens.submit_signed(prepared.id, transaction)
    for nonsense in ("???", base64.b64encode(b"nonsense").decode()):
        with pytest.raises(InvalidInputError):
            await deal.tokens.submit_signed(prepared.id, nonsense)
    with pytest.raises(PreparedTransactionNotFoundError):
        await deal.tokens.submit_signed(uuid4(), prepared.transaction)
    # Nothing of that was taken, so the true one still counts.
    paid = await deal.tokens.submit_signed(prepared.id, wallet.sign(prepared.transaction))
    assert paid.status in ("confirmed", "finalized")


def sign_as(stranger: WalletApplication, owner: WalletApplication, transaction: str) -> str:
    """Put a stranger's signature where the owner's belongs."""
    signed = bytearray(base64.b64decode(owner.sign(transaction)))
    message = bytes(signed[1 + 64 * signed[0] :])
    signed[65:129] = bytes(stranger.key.sign_message(message))
    return base64.b64encode(bytes(signed)).decode()


@pytest.mark.parametrize("owner_pays_fee", [False, True])
async def test_what_nobody_signs_expires_and_is_prepared_again(
    deal: Deal, wallet: WalletApplication, owner_pays_fee: bool
) -> None:
    limit = PurchaseLimit("TokenOfChoice", 1)

    async def prepare(key: str) -> PreparedTransaction:
        return await deal.tokens.prepare_transfer(
            wallet.user.id,
            "treasury",
            "7",
            purchase_limit=limit,
            idempotency_key=key,
            owner_pays_fee=owner_pays_fee,
        )

    await ensure_lamports(deal.rpc, wallet.key.pubkey(), 10**9)
    events: list[str] = []

    async def note(event: Event) -> None:
        events.append(event.type)

    deal.events.subscribe("payment.expired", note)
    first = await prepare("one")
    with pytest.raises(PurchaseLimitExceededError):
        await prepare("two")
    expired = await ended(deal, first.payment.id)
    assert expired.status == "expired"
    assert expired.evidence is not None
    assert expired.evidence["finalized_height"] > first.last_valid_block_height
    assert ("reference" in expired.evidence) == owner_pays_fee
    with pytest.raises(TransactionExpiredError):
        await deal.tokens.submit_signed(first.id, wallet.sign(first.transaction))
    second, same = await asyncio.gather(prepare("one"), prepare("one"))
    assert second == same
    assert (second.number, second.status) == (2, "open")
    assert second.payment.id == first.payment.id
    paid = await deal.tokens.submit_signed(second.id, wallet.sign(second.transaction))
    assert paid.status in ("confirmed", "finalized")
    assert await deal.tokens.balance_of(wallet.user.id) == 3
    assert events == ["payment.expired"]


async def test_an_owner_may_send_it_without_us(deal: Deal, wallet: WalletApplication) -> None:
    """Nobody submits it; after its blockhash died the proof finds it on the chain instead of an expiry."""
    await ensure_lamports(deal.rpc, wallet.key.pubkey(), 10**9)
    prepared = await deal.tokens.prepare_transfer(
        wallet.user.id, "treasury", "4", owner_pays_fee=True, idempotency_key="alone"
    )
    assert prepared.fee_payer == wallet.address
    assert prepared.description.endswith("The network fee is paid by you.")
    signed = base64.b64decode(wallet.sign(prepared.transaction))
    signature = await deal.rpc.send_transaction(signed)
    await deal.transaction_monitor.monitor_transaction(signature)
    found = await ended(deal, prepared.payment.id)
    assert (found.status, found.signature) == ("finalized", signature)
    assert await deal.tokens.balance_of(wallet.user.id) == 6
    again = await deal.tokens.prepare_transfer(
        wallet.user.id, "treasury", "4", owner_pays_fee=True, idempotency_key="alone"
    )
    assert (again.payment.status, again.status) == ("finalized", "signed")


async def test_a_signature_made_anew_is_no_second_payment(deal: Deal, wallet: WalletApplication) -> None:
    """An owner sends the message under another signature than the one submitted, which never lands."""
    await ensure_lamports(deal.rpc, wallet.key.pubkey(), 10**9)
    prepared = await deal.tokens.prepare_transfer(wallet.user.id, "treasury", "4", owner_pays_fee=True)
    signed = wallet.sign(prepared.transaction)
    sent = await deal.rpc.send_transaction(base64.b64decode(signed))
    await deal.transaction_monitor.monitor_transaction(sent)
    # What was committed carries a signature that no node knows, as if it had been made with another nonce.
    row = await deal._prepared.store.get(prepared.id)
    ours = await deal.tokens._owner_signing._messages.complete(
        row.transaction,
        Plan.from_json(prepared.payment.instruction or {}),
        base64.b64decode(signed),
    )
    other = replace(ours, signature=str(Signature.new_unique()), raw_bytes=b"\x01" + bytes(64))
    assert await deal._prepared.store.commit(row, other)
    await deal.reconcile()
    found = await ended(deal, prepared.payment.id)
    assert found.status == "finalized"
    assert found.signature != other.signature
    assert await deal.tokens.balance_of(wallet.user.id) == 6


async def test_a_pause_binds_wallets_too(deal: Deal, wallet: WalletApplication) -> None:
    prepared = await deal.tokens.prepare_transfer(wallet.user.id, "treasury", "1")
    await deal.pause.pause("audit")
    with pytest.raises(PaymentsPausedError):
        await deal.tokens.submit_signed(prepared.id, wallet.sign(prepared.transaction))
    assert (await deal.transactions.get(prepared.payment.id)).signature is None
    await deal.pause.release()
    paid = await deal.tokens.submit_signed(prepared.id, wallet.sign(prepared.transaction))
    assert paid.status in ("confirmed", "finalized")


async def test_a_disconnected_wallet_is_not_prepared_again(deal: Deal, wallet: WalletApplication) -> None:
    prepared = await deal.tokens.prepare_transfer(wallet.user.id, "treasury", "1", idempotency_key="one")
    await ended(deal, prepared.payment.id)
    await deal.wallets.disconnect_wallet(wallet.user.id, wallet.address)
    with pytest.raises(WalletNotFoundError):
        await deal.tokens.prepare_transfer(wallet.user.id, "treasury", "1", idempotency_key="one")
    assert (await deal.transactions.get(prepared.payment.id)).status == "expired"


async def test_a_restart_ends_what_nobody_signed_and_takes_what_was(tmp_path: Path) -> None:
    async with (
        Localnet(LocalnetConfig(slot_seconds=0.02, finality_slots=8)) as localnet,
        LocalnetServer(localnet, rpc_port=0) as server,
    ):
        options = {
            "rpc_url": server.rpc_url,
            "database_url": f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}",
            "keystore_passphrase": "correct horse battery staple",
        }
        async with Deal.open(**options, create_mint=True) as deal:
            wallet = await own_wallet(deal, "10")
            unsigned = await deal.tokens.prepare_transfer(wallet.user.id, "treasury", "6")
        async with Deal.open(**options) as deal:
            with pytest.raises(InsufficientBalanceError):
                await deal.tokens.prepare_transfer(wallet.user.id, "treasury", "5")
            assert (await ended(deal, unsigned.payment.id, localnet)).status == "expired"
            taken = await deal.tokens.prepare_transfer(wallet.user.id, "treasury", "5")
            await deal.tokens.submit_signed(taken.id, wallet.sign(taken.transaction), wait_for="recorded")
        async with Deal.open(**options) as deal:
            await assert_books_agree(deal)
            assert (await deal.transactions.get(taken.payment.id)).status == "finalized"
            assert await deal.tokens.balance_of(wallet.user.id) == Decimal(5)
