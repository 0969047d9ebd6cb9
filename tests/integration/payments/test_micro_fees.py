"""Micro-fees over a whole `Deal`: accrued, held against the balance, settled by call and by loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from deal_localnet import Localnet, LocalnetConfig
from deal_sdk import Deal
from deal_sdk.chain import LocalnetTransport
from deal_sdk.client import GivenBackends
from deal_sdk.clock import SystemClock
from deal_sdk.errors import (
    ConfigurationError,
    InsufficientBalanceError,
    LimitExceededError,
    SafetyRailError,
    SignatureRequiredError,
    UnknownServiceTypeError,
)
from tests.integration.conftest import FAST_CHAIN, PAID, MakePerson, assert_books_agree

pytestmark = pytest.mark.slow


async def test_many_fees_are_one_payment(deal: Deal, make_person: MakePerson) -> None:
    user = (await make_person("2")).user
    fees = [
        await deal.tokens.accrue_service_fee(user.id, "search", idempotency_key=f"q{n}") for n in range(5)
    ]
    assert await deal.tokens.accrue_service_fee(user.id, "search", idempotency_key="q0") == fees[0]
    assert (await deal.balances.check_balance(user.id, "1.5")).sufficient
    assert not (await deal.balances.check_balance(user.id, "1.6")).sufficient
    with pytest.raises(InsufficientBalanceError) as caught:
        await deal.tokens.transfer(user.id, "treasury", "1.6")
    assert caught.value.available == "1.5"
    [total] = await deal.tokens.accrued_service_fees(user.id)
    assert total.to_dict()["amount"] == "0.5"
    reports = await asyncio.gather(*(deal.tokens.settle_service_fees(user.id) for _ in range(4)))
    payments = [payment for report in reports for payment in report.payments]
    assert [(payment.type, payment.amount) for payment in payments] == [("service_fee", 50_000_000)]
    assert payments[0].status in PAID
    assert await deal.tokens.balance_of(user.id) == Decimal("1.5")
    assert await deal.tokens.accrued_service_fees() == []
    settled = await deal.tokens.accrue_service_fee(user.id, "search", idempotency_key="q0")
    assert settled.payment_id == payments[0].id
    await assert_books_agree(deal)


async def test_what_a_fee_needs_is_asked_when_it_accrues(deal: Deal, make_person: MakePerson) -> None:
    gift = (await make_person("2", tier="Gift")).user
    accrue = deal.tokens.accrue_service_fee
    with pytest.raises(UnknownServiceTypeError):
        await accrue(gift.id, "astrology")
    results = await asyncio.gather(
        *(accrue(gift.id, "notification") for _ in range(20)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, LimitExceededError)]
    assert len(refused) >= 10, "its tier has ten a minute"
    [total] = await deal.tokens.accrued_service_fees(gift.id)
    assert total.fees == 20 - len(refused)
    report = await deal.tokens.settle_service_fees(gift.id)
    assert len(report.payments) == 1, "no user limit stands in the way of the settlement"
    poor = (await make_person("0.9")).user
    with pytest.raises(InsufficientBalanceError):
        await accrue(poor.id, "goal")
    stranger = await deal.users.create()
    await deal.wallets.connect_wallet(stranger.id, "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM")
    with pytest.raises(SignatureRequiredError):
        await accrue(stranger.id, "search")


async def test_fees_that_are_due_are_settled_by_the_loop() -> None:
    more: dict[str, Any] = {
        "service_fee_settlement_amount": "0.3",
        "service_fee_settlement_poll_seconds": 0.1,
    }
    async with Deal.open(**FAST_CHAIN, **more, history_poll_interval_seconds=0.05) as deal:
        user = await deal.users.create(tier="Business")
        await deal.wallets.create_custodial(user.id)
        await deal.tokens.transfer("treasury", user.id, "5")
        for _ in range(2):
            await deal.tokens.accrue_service_fee(user.id, "search")
        await asyncio.sleep(0.5)
        assert len(await deal.tokens.accrued_service_fees()) == 1, "too little and too young"
        await deal.settled()
        async with deal.events.listen("payment.finalized") as events, asyncio.timeout(20):
            await deal.tokens.accrue_service_fee(user.id, "search")
            while (await anext(events)).data["payment"]["type"] != "service_fee":
                pass
        assert await deal.tokens.accrued_service_fees() == []
        await assert_books_agree(deal)
        assert await deal.tokens.balance_of(user.id) == Decimal("4.7")


async def test_the_cap_on_payments_splits_a_settlement() -> None:
    async with Deal.open(**FAST_CHAIN, max_payment_amount="1") as deal:
        user = await deal.users.create(tier="Business")
        await deal.wallets.create_custodial(user.id)
        for _ in range(3):
            await deal.tokens.transfer("treasury", user.id, "1")
        for _ in range(3):
            await deal.tokens.accrue_service_fee(user.id, "analysis")
        await deal.pricing.set_price("goal", "1.5")
        with pytest.raises(SafetyRailError):
            await deal.tokens.accrue_service_fee(user.id, "goal")
        amounts = []
        while await deal.tokens.accrued_service_fees():
            [payment] = (await deal.tokens.settle_service_fees()).payments
            amounts.append(payment.amount)
        assert amounts == [100_000_000, 50_000_000]


async def test_what_cannot_be_settled_stays_owed_with_the_reason(deal: Deal, make_person: MakePerson) -> None:
    user = (await make_person("2")).user
    await deal.tokens.accrue_service_fee(user.id, "goal")
    await deal.pause.pause("audit")
    report = await deal.tokens.settle_service_fees()
    assert report.payments == ()
    [left] = report.unsettled
    assert left.to_dict()["error"]["code"] == "payments_paused"
    await deal.pause.release()
    assert len((await deal.tokens.settle_service_fees()).payments) == 1


@pytest.fixture
async def localnet() -> AsyncIterator[Localnet]:
    async with Localnet(LocalnetConfig(slot_seconds=0.02, finality_slots=8)) as running:
        yield running


async def test_a_settlement_outlives_its_process(localnet: Localnet, tmp_path: Path) -> None:
    def opening() -> dict[str, Any]:
        given = GivenBackends(transport=LocalnetTransport(localnet, clock=SystemClock()))
        database = f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}"
        return {"given": given, "database_url": database, "keystore_passphrase": "secret"}

    async with Deal.open(**opening()) as deal:
        user = await deal.users.create(tier="Business")
        await deal.wallets.create_custodial(user.id)
        await deal.tokens.transfer("treasury", user.id, "5")
        for _ in range(3):
            await deal.tokens.accrue_service_fee(user.id, "search")
        [payment] = (await deal.tokens.settle_service_fees(wait_for="recorded")).payments
    async with Deal.open(**opening()) as deal:
        await assert_books_agree(deal)
        assert (await deal.transactions.get(payment.id)).status == "finalized"
        assert await deal.tokens.accrued_service_fees() == []
        assert (await deal.tokens.settle_service_fees()).payments == ()
        assert await deal.tokens.balance_of(user.id) == Decimal("4.7")


async def test_a_threshold_that_is_no_amount_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="service_fee_settlement_amount"):
        await Deal.open(service_fee_settlement_amount="a lot")
