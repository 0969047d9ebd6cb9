"""The operator's safety rails: what they refuse leaves no trace, and a pause binds every worker at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer
from deal_sdk import ConfigurationError, Deal, InvalidInputError
from deal_sdk.errors import PaymentsPausedError, SafetyRailError
from tests.integration.conftest import FAST_CHAIN, assert_books_agree

pytestmark = pytest.mark.slow

STRANGER = str(Keypair.from_seed(bytes([7] * 32)).pubkey())
FRIEND = str(Keypair.from_seed(bytes([8] * 32)).pubkey())


def opened(**rails: Any) -> AbstractAsyncContextManager[Deal]:
    return Deal.open(**FAST_CHAIN, history_poll_interval_seconds=0.05, **rails)


async def transfers(deal: Deal) -> int:
    return await deal.transactions.count(type="transfer")


async def test_a_payment_over_the_cap_is_refused() -> None:
    async with opened(max_payment_amount="10") as deal:
        with pytest.raises(SafetyRailError) as caught:
            await deal.tokens.transfer("treasury", "reward", "10.00000001")
        assert caught.value.facts["rail"] == "max_payment_amount"
        assert await transfers(deal) == 0
        await deal.tokens.transfer("treasury", "reward", "10")
        await assert_books_agree(deal)


async def test_strangers_are_paid_only_when_they_are_on_the_list() -> None:
    async with opened(allowed_destinations=[FRIEND]) as deal:
        user = await deal.users.create()
        await deal.wallets.create_custodial(user.id)
        for known in (FRIEND, "reward", user.id):
            await deal.tokens.transfer("treasury", known, "1")
        with pytest.raises(SafetyRailError) as caught:
            await deal.tokens.transfer("treasury", STRANGER, "1")
        assert caught.value.facts["address"] == STRANGER
        assert await transfers(deal) == 3


async def test_the_daily_cap_holds_for_payments_at_once() -> None:
    async with opened(max_daily_amount_per_wallet="10") as deal:
        results = await asyncio.gather(
            *(deal.tokens.transfer("treasury", "reward", "3") for _ in range(5)), return_exceptions=True
        )
        refused = [result for result in results if isinstance(result, SafetyRailError)]
        assert len(refused) == 2
        assert refused[0].facts == {
            "rail": "max_daily_amount_per_wallet",
            "amount": "3",
            "allowed": "1",
        }
        await deal.tokens.transfer("treasury", "reward", "1")
        with pytest.raises(SafetyRailError):
            await deal.tokens.transfer("treasury", "reward", "0.00000001")
        await deal.tokens.transfer("reward", "treasury", "10")
        await assert_books_agree(deal)


async def test_a_refused_payment_gives_its_limits_back() -> None:
    async with opened(max_daily_amount_per_wallet="5") as deal:
        user = await deal.users.create(tier="Gift")
        await deal.wallets.create_custodial(user.id)
        await deal.tokens.mint(user.id, "20")
        before = await deal.rates.peek(user.id, "Gift", "transfer")
        with pytest.raises(SafetyRailError):
            await deal.tokens.transfer(user.id, "treasury", "5.1")
        assert (await deal.rates.peek(user.id, "Gift", "transfer")).remaining == before.remaining


async def test_an_unusual_pace_raises_the_alarm_once() -> None:
    async with (
        opened(alarm_payments_per_minute=3) as deal,
        deal.events.listen("suspicious_activity") as heard,
    ):
        for _ in range(5):
            await deal.tokens.transfer("treasury", "reward", "1", wait_for="recorded")
        alarm = await anext(heard)
        assert alarm.data["payments"] == 4
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(heard)


@pytest.mark.parametrize(
    "rail",
    [
        {"max_payment_amount": "1e3"},
        {"max_daily_amount_per_wallet": "0"},
        {"allowed_destinations": ["nobody"]},
    ],
)
async def test_a_rail_that_cannot_be_read_opens_nothing(rail: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="safety rail"):
        async with opened(**rail):
            pass


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    async with (
        Localnet(LocalnetConfig(slot_seconds=0.02, finality_slots=8)) as localnet,
        LocalnetServer(localnet, rpc_port=0) as server,
    ):
        yield {
            "rpc_url": server.rpc_url,
            "database_url": f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}",
            "keystore_passphrase": "correct horse battery staple",
            "create_mint": True,
        }


async def test_a_pause_stops_every_worker_and_its_release_lets_the_recorded_go_on(
    shared: dict[str, Any],
) -> None:
    async with Deal.open(**shared) as deal, Deal.open(**shared) as other:
        await other.pause.pause(" key rotation ")
        assert await deal.pause.reason() == "key rotation"
        with pytest.raises(PaymentsPausedError, match="key rotation") as caught:
            await deal.tokens.transfer("treasury", "reward", "1")
        assert (caught.value.retryable, caught.value.outcome) == (True, "not_sent")
        assert await transfers(deal) == 0
        await deal.pause.release()
        payment = await other.tokens.transfer("treasury", "reward", "1")
        assert payment.status in ("confirmed", "finalized")
        await assert_books_agree(other)


async def test_nothing_is_signed_while_paused(shared: dict[str, Any]) -> None:
    async with Deal.open(**shared) as deal:
        payment = await deal.tokens.transfer("treasury", "reward", "1", wait_for="recorded")
        await deal.pause.pause("audit")
        payments = [await deal.transactions.get(payment.id)]
        # It was signed before the pause and goes on, or it waits; in both cases it is paid once afterwards.
        assert payments[0].status in ("pending", "confirmed", "finalized")
        await deal.pause.release()
        assert await deal.settled(timeout_seconds=30)
        await assert_books_agree(deal)
        assert await deal.tokens.balance_of("reward") == 1


async def test_a_pause_needs_a_reason(shared: dict[str, Any]) -> None:
    async with Deal.open(**shared) as deal:
        for reason in ("", "  ", "x" * 501):
            with pytest.raises(InvalidInputError):
                await deal.pause.pause(reason)
        assert await deal.pause.reason() is None
