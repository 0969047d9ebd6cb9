"""Lost connections and stores: each a typed error, nothing lost, nothing half recorded."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from solders.account import Account
from solders.system_program import ID as SYSTEM_PROGRAM

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer
from deal_sdk import Deal, PaymentPendingError, PurchaseLimit, StoreUnavailableError, TokenError, User
from deal_sdk.errors import (
    ChainMismatchError,
    DatabaseBusyError,
    FeePayerError,
    RpcMalformedReplyError,
    RpcRateLimitedError,
    RpcTimeoutError,
    RpcUnavailableError,
)
from tests.integration.conftest import assert_books_agree
from tests.integration.fault_proxy import Fault, FaultProxy
from tests.servers import RedisServer

pytestmark = pytest.mark.slow

LIMIT = PurchaseLimit("TokenOfChoice", 1)


@pytest.fixture
async def localnet() -> AsyncIterator[Localnet]:
    async with Localnet(LocalnetConfig(slot_seconds=0.02, finality_slots=8)) as running:
        yield running


@pytest.fixture
async def proxy(localnet: Localnet) -> AsyncIterator[FaultProxy]:
    async with LocalnetServer(localnet, rpc_port=0) as server, FaultProxy(server.rpc_url) as opened:
        yield opened


def options(proxy: FaultProxy, **more: Any) -> dict[str, Any]:
    return {
        "rpc_url": proxy.url,
        "create_mint": True,
        "rpc_timeout_seconds": 0.5,
        "rebroadcast_interval_seconds": 0.2,
        "status_poll_interval_seconds": 0.05,
        "confirm_timeout_seconds": 10.0,
        "history_poll_interval_seconds": 0.05,
        **more,
    }


@pytest.fixture
async def deal(proxy: FaultProxy) -> AsyncIterator[Deal]:
    async with Deal.open(**options(proxy)) as opened:
        yield opened
        proxy.heal()
        await assert_books_agree(opened)


async def funded(deal: Deal) -> User:
    user = await deal.users.create(tier="Business")
    await deal.wallets.create_custodial(user.id)
    # However long a slow machine takes, and however short the test's own wait is.
    await deal.tokens.transfer("treasury", user.id, "10", wait_for="recorded")
    assert await deal.settled(timeout_seconds=30)
    return user


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("refuse", RpcUnavailableError),
        ("slow_down", RpcRateLimitedError),
        ("garbage", RpcMalformedReplyError),
        ("hang", RpcTimeoutError),
        ("lose_request", RpcUnavailableError),
        ("lose_reply", RpcUnavailableError),
    ],
)
async def test_a_broken_endpoint_refuses_before_anything_is_recorded(
    deal: Deal, proxy: FaultProxy, fault: Fault, error: type[TokenError]
) -> None:
    user = await funded(deal)
    recorded = await deal.transactions.count(type="transfer")
    proxy.break_methods(fault, "getMultipleAccounts")
    with pytest.raises(error):
        await deal.tokens.transfer(user.id, "treasury", "1", purchase_limit=LIMIT)
    assert await deal.transactions.count(type="transfer") == recorded
    proxy.heal()
    # The one purchase was given back, so it can be made now.
    await deal.tokens.transfer(user.id, "treasury", "1", purchase_limit=LIMIT)
    assert await deal.tokens.balance_of(user.id) == 9


async def test_the_time_to_wait_is_passed_on(deal: Deal, proxy: FaultProxy) -> None:
    user = await funded(deal)
    proxy.retry_after = "2"
    proxy.break_methods("slow_down", "getMultipleAccounts")
    with pytest.raises(RpcRateLimitedError) as caught:
        await deal.tokens.transfer(user.id, "treasury", "1")
    proxy.heal()
    assert caught.value.retry_after_seconds == 2
    assert caught.value.retryable


@pytest.mark.parametrize("fault", ["refuse", "garbage", "hang", "lose_request", "lose_reply", "slow_down"])
async def test_a_send_that_goes_wrong_still_pays_once(deal: Deal, proxy: FaultProxy, fault: Fault) -> None:
    user = await funded(deal)
    proxy.break_methods(fault, "sendTransaction")
    paying = asyncio.create_task(deal.tokens.transfer(user.id, "treasury", "1"))
    # A send whose reply alone is lost has landed, so it may never be repeated.
    await proxy.was_hit(1 if fault == "lose_reply" else 2)
    proxy.heal()
    payment = await paying
    assert payment.status in ("confirmed", "finalized")
    assert await deal.tokens.balance_of(user.id) == 9


async def test_an_endpoint_gone_after_the_send_leaves_the_payment_pending(proxy: FaultProxy) -> None:
    async with Deal.open(**options(proxy, confirm_timeout_seconds=1.0)) as deal:
        user = await funded(deal)
        proxy.break_methods("lose_reply", "sendTransaction", "getSignatureStatuses", "getBlockHeight")
        with pytest.raises(PaymentPendingError) as caught:
            await deal.tokens.transfer(user.id, "treasury", "1", idempotency_key="k")
        pending = await deal.transactions.get(caught.value.payment_id)
        assert pending.status == "pending"
        check = await deal.balances.check_balance(user.id, "9.5")
        assert not check.sufficient
        proxy.heal()
        payment = await deal.tokens.transfer(
            user.id, "treasury", "1", idempotency_key="k", wait_for="recorded"
        )
        assert payment.id == pending.id
        await assert_books_agree(deal)
        assert (await deal.transactions.get(payment.id)).status == "finalized"
        assert await deal.tokens.balance_of(user.id) == 9


async def test_a_fee_payer_without_lamports_is_named(
    deal: Deal, proxy: FaultProxy, localnet: Localnet
) -> None:
    treasury = await deal.keystore.signer_by_name("treasury")
    localnet.set_account(treasury.address, Account(1_000_000, b"", SYSTEM_PROGRAM))
    localnet.advance_slots(2)
    with pytest.raises(FeePayerError) as caught:
        await deal.tokens.transfer("treasury", "reward", "1")
    assert caught.value.facts["lamports"] == 1_000_000
    assert await deal.transactions.count(type="transfer") == 0


async def test_a_locked_database_records_nothing(proxy: FaultProxy, tmp_path: Path) -> None:
    file = tmp_path / "deal.db"
    more = {
        "database_url": f"sqlite+aiosqlite:///{file}",
        "database_busy_timeout_seconds": 0.3,
        "keystore_passphrase": "correct horse",
    }
    async with Deal.open(**options(proxy, **more)) as deal:
        user = await funded(deal)
        await deal.settled()
        recorded = await deal.transactions.count(type="transfer")
        rival = sqlite3.connect(file, isolation_level=None)
        rival.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusyError) as caught:
            await deal.tokens.transfer(user.id, "treasury", "1")
        assert caught.value.retryable
        assert "payment_id" in caught.value.facts
        rival.execute("ROLLBACK")
        rival.close()
        assert await deal.transactions.count(type="transfer") == recorded
        await deal.tokens.transfer(user.id, "treasury", "1")
        assert await deal.tokens.balance_of(user.id) == 9
        await assert_books_agree(deal)


async def test_another_chains_database_is_refused(proxy: FaultProxy, tmp_path: Path) -> None:
    more = {
        "database_url": f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}",
        "keystore_passphrase": "correct horse",
    }
    async with Deal.open(**options(proxy, **more)):
        pass
    with pytest.raises(ChainMismatchError):
        async with Deal.open(**{**options(proxy, **more), "rpc_url": "localnet://"}):
            pass


async def test_redis_gone_closes_purchases_and_leaves_rates_open(
    proxy: FaultProxy, redis_server: RedisServer
) -> None:
    more = {"redis_url": redis_server.url, "limit_store_timeout_seconds": 0.5}
    async with Deal.open(**options(proxy, **more)) as deal:
        user = await funded(deal)
        recorded = await deal.transactions.count(type="transfer")
        redis_server.kill()
        with pytest.raises(StoreUnavailableError):
            await deal.tokens.transfer(user.id, "treasury", "1", purchase_limit=LIMIT)
        assert await deal.transactions.count(type="transfer") == recorded
        check = await deal.purchases.can_user_purchase_token(user.id, "TokenOfChoice", 1)
        assert (check.can_purchase, check.current_count, check.remaining_purchases) == (True, 0, 1)
        result = await deal.purchases.increment_and_validate_purchase(user.id, "TokenOfChoice", 1, "s")
        assert (result.success, result.new_count, result.was_at_limit) == (False, 0, False)
        await deal.tokens.transfer(user.id, "treasury", "1")
        assert await deal.tokens.get_balance(user.id) == Decimal(9)
        await assert_books_agree(deal)


async def test_rates_are_refused_without_redis_when_the_operator_wants_it(
    proxy: FaultProxy, redis_server: RedisServer
) -> None:
    more = {
        "redis_url": redis_server.url,
        "limit_store_timeout_seconds": 0.5,
        "rate_limit_store_policy": "refuse",
    }
    async with Deal.open(**options(proxy, **more)) as deal:
        user = await funded(deal)
        redis_server.kill()
        with pytest.raises(StoreUnavailableError):
            await deal.tokens.transfer(user.id, "treasury", "1")
        assert await deal.tokens.balance_of(user.id) == 10
