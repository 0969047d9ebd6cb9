"""How each kind of wish is asked of a `Deal`: one call for most, several for some."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final
from uuid import UUID

from solders.message import to_bytes_versioned
from solders.transaction import VersionedTransaction

from deal_sdk import Deal
from deal_sdk.amounts import format_amount
from deal_sdk.errors import Outcome, PaymentPendingError, TokenError
from deal_sdk.payments import Charge, PurchaseLimit
from deal_sdk.payments.batches import BatchReport, RewardLine
from deal_sdk.records import Transaction
from tests.simulation.charges import CHARGED_USERS
from tests.simulation.prepared import (
    CROWD,
    DELEGATING_USER,
    USER_COUNT,
    crowd_address,
    keypair_of,
    user_id,
)

if TYPE_CHECKING:
    from tests.simulation.story import Wish

MAX_PURCHASES: Final = 2
PURCHASED_MINT: Final = "purchased"
LINES_OF_KIND: Final = {"batch": 3, "airdrop": CROWD}
"""How many recipients a wish has that pays several; an airdrop's are enough for a lookup table."""
BATCH_SECONDS: Final = 15.0
ORDER: Final = ("failed", "expired", "pending", "confirmed", "finalized")
"""From the payment that speaks first for several to the last."""


async def ask(deal: Deal, wish: Wish) -> Transaction | BatchReport:
    """Make one call of a wish's caller and return what it was told."""
    if wish.kind in LINES_OF_KIND:
        return await _pay_many(deal, wish)
    special = {
        "prepared": _pay_from_own_wallet,
        "accrued": _accrue_and_settle,
        "refund": _pay_and_refund,
        "charges": _charge_many,
    }
    if wish.kind in special:
        return await special[wish.kind](deal, wish)
    return await _pay(deal, wish)


async def _pay(deal: Deal, wish: Wish) -> Transaction:
    amount = format_amount(wish.amount_base_units)
    key, wait_for, name = wish.key, wish.wait_for, wish.name
    tokens = deal.tokens
    if wish.kind == "fee":
        return await tokens.deduct_service_fee(wish.payer, "goal", idempotency_key=key, wait_for=wait_for)
    if wish.kind == "reward":
        return await deal.rewards.distribute_reward(
            wish.payee, name, amount, idempotency_key=key, wait_for=wait_for
        )
    if wish.kind == "mint":
        return await tokens.mint(wish.payee, amount, name, idempotency_key=key, wait_for=wait_for)
    if wish.kind == "burn":
        return await tokens.burn(wish.payer, amount, name, idempotency_key=key, wait_for=wait_for)
    if wish.kind == "pay_in":
        stranger = str(keypair_of(f"stranger {wish.index}").pubkey())
        return await tokens.transfer(
            "treasury", stranger, amount, name, idempotency_key=key, wait_for=wait_for
        )
    if wish.kind == "delegated":
        owner = user_id(DELEGATING_USER)
        return await tokens.transfer_from(
            "treasury", owner, wish.payee, amount, name, idempotency_key=key, wait_for=wait_for
        )
    if wish.kind == "charge":
        owner = user_id(wish.index % CHARGED_USERS)
        return await deal.allowances.charge(owner, amount, name, idempotency_key=key, wait_for=wait_for)
    limit = PurchaseLimit(PURCHASED_MINT, MAX_PURCHASES) if wish.kind == "purchase" else None
    return await tokens.transfer(
        wish.payer,
        wish.payee,
        amount,
        name,
        purchase_limit=limit,
        idempotency_key=key,
        wait_for=wait_for,
    )


async def _pay_and_refund(deal: Deal, wish: Wish) -> Transaction:
    amount = format_amount(wish.amount_base_units)
    paid = await deal.tokens.transfer(wish.payer, wish.payee, amount, idempotency_key=f"{wish.name}-paid")
    half = format_amount(wish.amount_base_units // 2)
    return await deal.tokens.refund(
        paid.id, half, wish.name, idempotency_key=wish.key, wait_for=wish.wait_for
    )


async def _charge_many(deal: Deal, wish: Wish) -> Transaction:
    """Charge every owner at once; whoever was refused speaks for all, or who is behind the others."""
    charges = [
        Charge(
            user_id(line),
            format_amount(wish.amount_base_units + line),
            wish.name,
            idempotency_key=f"{wish.name}-line-{line}",
        )
        for line in range(CHARGED_USERS)
    ]
    results = await deal.allowances.charge_many(charges, wait_for=wish.wait_for)
    errors = [result for result in results if isinstance(result, TokenError)]
    # An error that tells nothing certain has them all charged again under their keys.
    if errors:
        raise min(errors, key=lambda error: error.outcome is not Outcome.UNKNOWN)
    payments = [result for result in results if isinstance(result, Transaction)]
    return min(payments, key=lambda payment: ORDER.index(payment.status))


async def _pay_many(deal: Deal, wish: Wish) -> BatchReport:
    lines = [
        RewardLine(
            _payee_of_line(wish, line),
            format_amount(wish.amount_base_units + line),
            wish.kind,
            key=f"{wish.name}-line-{line}",
        )
        for line in range(LINES_OF_KIND[wish.kind])
    ]
    return await deal.rewards.distribute_batch(
        lines, batch_key=wish.name, wait_for=wish.wait_for, timeout_seconds=BATCH_SECONDS
    )


def _payee_of_line(wish: Wish, line: int) -> UUID | str:
    if wish.kind == "airdrop":
        return crowd_address(line)
    return wish.payee if line == 0 else str(keypair_of(f"stranger {wish.index}-{line}").pubkey())


async def _pay_from_own_wallet(deal: Deal, wish: Wish) -> Transaction:
    prepared = await deal.tokens.prepare_transfer(
        wish.payer,
        wish.payee,
        format_amount(wish.amount_base_units),
        wish.name,
        idempotency_key=wish.key,
    )
    signed = _signed_by_its_owner(prepared.transaction, wish.payer)
    return await deal.tokens.submit_signed(prepared.id, signed, wait_for=wish.wait_for)


def _signed_by_its_owner(transaction: str, owner: UUID) -> bytes:
    index = next(index for index in range(USER_COUNT) if user_id(index) == owner)
    key = keypair_of(f"wallet {index}")
    given = VersionedTransaction.from_bytes(base64.b64decode(transaction))
    signatures = list(given.signatures)
    place = list(given.message.account_keys).index(key.pubkey())
    signatures[place] = key.sign_message(to_bytes_versioned(given.message))
    return bytes(VersionedTransaction.populate(given.message, signatures))


async def _accrue_and_settle(deal: Deal, wish: Wish) -> Transaction:
    fee = await deal.tokens.accrue_service_fee(wish.payer, "goal", idempotency_key=wish.key)
    report = await deal.tokens.settle_service_fees(wish.payer, wait_for=wish.wait_for)
    fee = await deal.tokens.accrue_service_fee(wish.payer, "goal", idempotency_key=wish.key)
    if fee.payment_id is None:
        # Its settlement failed, or another's came between and failed.
        raise report.unsettled[0].error if report.unsettled else TokenError("the fee is still owed")
    payment = await deal.transactions.get(fee.payment_id)
    if wish.wait_for == "finalized" and payment.status in ("pending", "confirmed"):
        # Another call, or a process that is gone, began it: nothing here waited for its end.
        raise PaymentPendingError(str(payment.id))
    return payment
