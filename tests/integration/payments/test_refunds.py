"""Refunds: never more than was paid, counted together, and recorded with what they refund."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from uuid import uuid4

import pytest
from solders.keypair import Keypair

from deal_sdk import Deal, InvalidInputError, PurchaseLimit, SignatureRequiredError
from deal_sdk.errors import InvalidAmountError, PaymentNotFoundError, RefundError
from tests.integration.conftest import PAID, MakePerson

pytestmark = pytest.mark.slow


async def test_a_fee_is_given_back_whole(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person("10")
    fee = await deal.tokens.deduct_service_fee(alice.user.id, "goal")
    refund = await deal.tokens.refund(fee.id)
    assert (refund.refund_of, refund.amount, refund.reason) == (fee.id, fee.amount, f"refund of {fee.id}")
    assert (refund.from_address, refund.to_user_id) == (fee.to_address, alice.user.id)
    assert (await deal.transactions.get(refund.id)).refund_of == fee.id
    assert await deal.tokens.balance_of(alice.user.id) == 10


async def test_a_confirmed_one_is_given_back_once_it_is_final(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person("10")
    fee = await deal.tokens.deduct_service_fee(alice.user.id, "goal")
    assert fee.status in PAID, "final at once only where this machine stalls"
    refund = await deal.tokens.refund(fee.id, wait_for="recorded")
    paid = await deal.transactions.get(fee.id)
    assert paid.status == "finalized"
    assert paid.finalized_at is not None
    assert refund.created_at >= paid.finalized_at


async def test_parts_add_up_to_the_payment_and_no_further(deal: Deal, make_person: MakePerson) -> None:
    alice, bob = await make_person("10"), await make_person("10")
    payment = await deal.tokens.transfer(alice.user.id, bob.user.id, "3")
    await deal.tokens.refund(payment.id, "1", "damaged")
    await deal.tokens.refund(str(payment.id), Decimal("1.5"))
    with pytest.raises(RefundError) as caught:
        await deal.tokens.refund(payment.id, "0.50000001")
    assert caught.value.facts["refundable"] == "0.5"
    with pytest.raises(RefundError):
        await deal.tokens.refund(payment.id)
    await deal.tokens.refund(payment.id, "0.5")
    assert await deal.tokens.balance_of(alice.user.id) == 10


async def test_two_refunds_at_once_give_back_once(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person("10")
    fee = await deal.tokens.deduct_service_fee(alice.user.id, "goal")
    results = await asyncio.gather(*(deal.tokens.refund(fee.id) for _ in range(5)), return_exceptions=True)
    assert len([result for result in results if isinstance(result, RefundError)]) == 4
    assert await deal.tokens.balance_of(alice.user.id) == 10


async def test_the_same_key_refunds_once(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person("10")
    fee = await deal.tokens.deduct_service_fee(alice.user.id, "goal")
    first = await deal.tokens.refund(fee.id, "0.4", idempotency_key="refund-1")
    again = await deal.tokens.refund(fee.id, "0.4", idempotency_key="refund-1")
    assert first.id == again.id
    assert await deal.tokens.balance_of(alice.user.id) == Decimal("9.4")


async def test_giving_back_is_bound_by_no_limit(deal: Deal, make_person: MakePerson) -> None:
    alice, bob = await make_person("10"), await make_person("10", tier="Gift")
    await deal.purchases.set_policy(bob.user.id, str(deal.mint.address), 1)
    payments = [await deal.tokens.transfer(alice.user.id, bob.user.id, "1") for _ in range(4)]
    await asyncio.gather(*(deal.tokens.refund(payment.id) for payment in payments))
    assert await deal.tokens.balance_of(alice.user.id) == 10
    check = await deal.purchases.can_user_purchase_token(bob.user.id, str(deal.mint.address), 1)
    assert check.can_purchase


async def test_a_refunded_purchase_stays_counted(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person("10")
    limit = PurchaseLimit("TokenOfChoice", 1)
    payment = await deal.tokens.transfer(alice.user.id, "treasury", "1", purchase_limit=limit)
    await deal.tokens.refund(payment.id)
    check = await deal.purchases.can_user_purchase_token(alice.user.id, "TokenOfChoice", 1)
    assert not check.can_purchase


async def test_what_was_not_paid_cannot_be_refunded(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person("10")
    minted = await deal.tokens.mint(alice.user.id, "1")
    fee = await deal.tokens.deduct_service_fee(alice.user.id, "goal")
    refund = await deal.tokens.refund(fee.id)
    for payment_id in (minted.id, refund.id):
        with pytest.raises(RefundError):
            await deal.tokens.refund(payment_id)
    with pytest.raises(PaymentNotFoundError):
        await deal.tokens.refund(uuid4())
    with pytest.raises(InvalidInputError):
        await deal.tokens.refund("fee-1")
    with pytest.raises(InvalidAmountError):
        await deal.tokens.refund(fee.id, "0")


async def test_only_the_recipient_can_give_back(deal: Deal, make_person: MakePerson) -> None:
    alice, own = await make_person("10"), str(Keypair().pubkey())
    payment = await deal.tokens.transfer(alice.user.id, own, "1")
    with pytest.raises(SignatureRequiredError):
        await deal.tokens.refund(payment.id)
