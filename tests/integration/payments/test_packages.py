"""Credits bought with DEAL: they arrive once, when the payment is final, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from deal_sdk import Deal, PurchaseLimit
from deal_sdk.clock import SystemClock
from deal_sdk.errors import (
    DatabaseUnavailableError,
    IdempotencyConflictError,
    InsufficientBalanceError,
    InvalidAmountError,
    InvalidInputError,
    PackageNotFoundError,
    PurchaseLimitExceededError,
)
from deal_sdk.payments import PackageGrants
from tests.integration.conftest import MakePerson
from tests.integration.outside import pay_outside

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 30


async def credits_of(deal: Deal, user_id: Any) -> int:
    return (await deal.credits.get_balance(user_id)).tokens_balance


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what follows a payment's end, which nobody has to wait for."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in range(10_000):
            if await condition():
                return
            await asyncio.sleep(0.01)


async def test_credits_arrive_with_finality(deal: Deal, make_person: MakePerson) -> None:
    person = await make_person("10")
    package = await deal.packages.offer("starter", 500, "2.5")
    assert package.to_dict()["price"] == "2.5"
    payment = await deal.packages.buy(person.user.id, "starter", idempotency_key="order-1")
    assert (payment.type, payment.amount) == ("purchase", 250_000_000)
    again = await deal.packages.buy(
        person.user.id, "starter", idempotency_key="order-1", wait_for="finalized"
    )
    assert again.id == payment.id
    assert await credits_of(deal, person.user.id) == 500
    [entry] = await deal.ledger.get_user_entries(person.user.id)
    assert entry.operation_type == "purchase"
    assert entry.metadata == {
        "package": "starter",
        "package_id": str(package.id),
        "payment_id": str(payment.id),
    }
    assert await deal.tokens.balance_of(person.user.id) == pytest.approx(7.5)
    assert await deal.packages.grant_missing() == 0


async def test_credits_of_a_package_may_expire(deal: Deal, make_person: MakePerson) -> None:
    person = await make_person("10")
    package = await deal.packages.offer("trial", 500, "2.5", lifetime_days=30, priority=20)
    assert (package.to_dict()["lifetime_days"], package.priority) == (30, 20)
    assert [one.lifetime_days for one in await deal.packages.list()] == [30]
    await deal.packages.buy(person.user.id, "trial", wait_for="finalized")
    [lot] = await deal.credits.get_lots(person.user.id)
    assert lot.created_at is not None
    assert (lot.remaining, lot.priority) == (500, 20)
    assert lot.expires_at == lot.created_at + timedelta(days=30)
    for wrong in ({"lifetime_days": 0}, {"lifetime_days": 1.5}, {"priority": 101}, {"priority": True}):
        with pytest.raises(InvalidInputError):
            await deal.packages.offer("trial", 500, "2.5", **wrong)  # type: ignore[arg-type]


async def test_a_payment_that_nobody_waits_for_has_its_credits_too(
    deal: Deal, make_person: MakePerson
) -> None:
    person = await make_person("10")
    await deal.packages.offer("starter", 500, "2.5")
    for _ in range(3):
        await deal.packages.buy(person.user.id, "starter", wait_for="recorded")
    assert await deal.settled(timeout_seconds=30)

    async def all_are_there() -> bool:
        return await credits_of(deal, person.user.id) == 1_500

    await until(all_are_there)


async def test_credits_missed_in_an_outage_are_granted_later_and_once(
    deal: Deal, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    person = await make_person("10")
    await deal.packages.offer("starter", 500, "2.5")

    async def fail(*_: Any, **__: Any) -> None:
        raise DatabaseUnavailableError("gone")

    with monkeypatch.context() as outage:
        outage.setattr(deal.packages, "_note", fail)
        await deal.packages.buy(person.user.id, "starter", wait_for="recorded")
        assert await deal.settled(timeout_seconds=30)

        async def it_failed() -> bool:
            return "are granted later" in caplog.text

        await until(it_failed)
    grants = PackageGrants(deal.packages, SystemClock())
    await asyncio.gather(*(grants.run_once() for _ in range(4)))
    await grants.run_once()
    assert await credits_of(deal, person.user.id) == 500
    assert len(await deal.ledger.get_user_entries(person.user.id)) == 1
    assert await deal.packages.grant_missing() == 0


async def test_a_key_keeps_its_price(deal: Deal, make_person: MakePerson) -> None:
    person = await make_person("10")
    await deal.packages.offer("starter", 500, "2")
    first = await deal.packages.buy(person.user.id, "starter", idempotency_key="order-1")
    await deal.packages.offer("starter", 400, "3")
    again = await deal.packages.buy(person.user.id, "starter", idempotency_key="order-1")
    assert again.id == first.id
    await deal.packages.withdraw("starter")
    again = await deal.packages.buy(
        person.user.id, "starter", idempotency_key="order-1", wait_for="finalized"
    )
    assert again.id == first.id
    assert await credits_of(deal, person.user.id) == 500
    await deal.packages.offer("other", 1, "1")
    with pytest.raises(IdempotencyConflictError):
        await deal.packages.buy(person.user.id, "other", idempotency_key="order-1")


async def test_purchase_limits_bind(deal: Deal, make_person: MakePerson) -> None:
    person = await make_person("10")
    await deal.packages.offer("starter", 500, "2")
    limit = PurchaseLimit("credits", 1)
    await deal.packages.buy(person.user.id, "starter", purchase_limit=limit)
    with pytest.raises(PurchaseLimitExceededError):
        await deal.packages.buy(person.user.id, "starter", purchase_limit=limit)


async def test_what_cannot_be_bought(deal: Deal, make_person: MakePerson) -> None:
    person = await make_person("1")
    await deal.packages.offer("starter", 500, "2")
    with pytest.raises(InsufficientBalanceError):
        await deal.packages.buy(person.user.id, "starter")
    with pytest.raises(PackageNotFoundError):
        await deal.packages.buy(person.user.id, "unheard of")
    with pytest.raises(PackageNotFoundError):
        await deal.packages.withdraw("unheard of")
    for name, credits, price, error in (
        ("", 1, "1", InvalidInputError),
        ("x" * 65, 1, "1", InvalidInputError),
        ("a", 0, "1", InvalidInputError),
        ("a", 1.5, "1", InvalidInputError),
        ("a", 10**13, "1", InvalidInputError),
        ("a", 1, "0", InvalidAmountError),
        ("a", 1, 1.5, InvalidAmountError),
    ):
        with pytest.raises(error):
            await deal.packages.offer(name, credits, price)  # type: ignore[arg-type]
    await deal.packages.offer("small", 100, "1")
    assert [package.name for package in await deal.packages.list()] == ["small", "starter"]
    await deal.packages.withdraw("small")
    assert [package.name for package in await deal.packages.list()] == ["starter"]
    assert await credits_of(deal, person.user.id) == 0


@pytest.mark.parametrize("way", ["reference", "memo"])
async def test_a_strangers_payment_is_recognised_and_granted(
    deal: Deal, make_person: MakePerson, way: str
) -> None:
    person = await make_person("10")
    await deal.packages.offer("starter", 500, "2.5")
    invoice = await deal.packages.invoice(person.user.id, "starter")
    stranger = await deal.keystore.signer_by_name("reward")
    await deal.tokens.transfer("treasury", "reward", "5", wait_for="finalized")
    await pay_outside(deal, stranger, invoice.recipient, invoice.amount, **{way: invoice.reference})

    async def is_granted() -> bool:
        # Nobody asks for it: the reward wallet is tracked, and so is the treasury.
        return (await deal.packages.invoices.get(invoice.id)).granted_at is not None

    await deal.reconcile()
    await until(is_granted)
    assert await credits_of(deal, person.user.id) == 500
    [settled] = await deal.packages.invoices.payments(invoice.id)
    assert settled.outcome == "exact"
