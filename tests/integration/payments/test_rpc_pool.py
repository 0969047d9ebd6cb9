"""A `Deal` over several endpoints, each behind a proxy of its own: one that misbehaves stops nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer
from deal_sdk import Deal, User
from deal_sdk.errors import ChainMismatchError, RpcAllEndpointsFailedError
from tests.integration.conftest import assert_books_agree
from tests.integration.fault_proxy import Fault, FaultProxy

pytestmark = pytest.mark.slow

SECRET = "0123456789abcdef"
CHAIN = LocalnetConfig(slot_seconds=0.02, finality_slots=8)
OPTIONS = {
    "create_mint": True,
    "rpc_timeout_seconds": 0.5,
    "rpc_max_slot_lag": 30,
    "rpc_probe_interval_seconds": 0.2,
    "rpc_breaker_open_seconds": 0.3,
    "rebroadcast_interval_seconds": 0.2,
    "status_poll_interval_seconds": 0.05,
    "confirm_timeout_seconds": 10.0,
    "history_poll_interval_seconds": 0.05,
    "max_signature_subscriptions": 0,
}


@pytest.fixture
async def proxies() -> AsyncIterator[list[FaultProxy]]:
    async with AsyncExitStack() as stack:
        localnet = await stack.enter_async_context(Localnet(CHAIN))
        server = await stack.enter_async_context(LocalnetServer(localnet, rpc_port=0))
        yield [await stack.enter_async_context(FaultProxy(server.rpc_url)) for _ in range(3)]


def urls_of(proxies: list[FaultProxy]) -> list[str]:
    """Name the first two; put a key into every URL, as providers do."""
    names = ["main=", "spare=", ""]
    return [f"{name}{proxy.url}/?api-key={SECRET}" for name, proxy in zip(names, proxies, strict=True)]


@pytest.fixture
async def deal(proxies: list[FaultProxy]) -> AsyncIterator[Deal]:
    async with Deal.open(rpc_urls=urls_of(proxies), **OPTIONS) as opened:
        yield opened
        for proxy in proxies:
            proxy.heal()
        await assert_books_agree(opened)
        assert SECRET not in opened.metrics.render().decode()


async def funded(deal: Deal) -> User:
    user = await deal.users.create(tier="Business")
    await deal.wallets.create_custodial(user.id)
    await deal.tokens.transfer("treasury", user.id, "10")
    return user


@pytest.mark.parametrize(
    "fault",
    ["refuse", "slow_down", "garbage", "null", "hang", "lose_request", "lose_reply", "lag"],
)
async def test_payments_go_on_past_a_broken_endpoint_and_each_pays_once(
    deal: Deal, proxies: list[FaultProxy], fault: Fault
) -> None:
    user = await funded(deal)
    proxies[0].break_methods(fault)
    for _ in range(3):
        payment = await deal.tokens.transfer(user.id, "treasury", "1")
        assert payment.status in ("confirmed", "finalized")
    if fault == "lag":
        lag = deal.metrics.registry.get_sample_value("rpc_endpoint_slot_lag", {"endpoint": "main"})
        assert lag is not None
        assert lag > OPTIONS["rpc_max_slot_lag"]
    assert await deal.tokens.balance_of(user.id) == 7


async def test_all_down_is_one_typed_error_without_secrets_and_records_nothing(
    deal: Deal, proxies: list[FaultProxy], caplog: pytest.LogCaptureFixture
) -> None:
    user = await funded(deal)
    await deal.settled()
    recorded = await deal.transactions.count(type="transfer")
    for proxy in proxies:
        proxy.break_methods("refuse")
    with pytest.raises(RpcAllEndpointsFailedError) as caught:
        await deal.tokens.transfer(user.id, "treasury", "1")
    unnamed = proxies[2].url
    assert set(caught.value.facts["endpoints"]) == {"main", "spare", unnamed}
    assert SECRET not in str(caught.value.to_dict()) + caplog.text
    assert await deal.transactions.count(type="transfer") == recorded
    for proxy in proxies:
        proxy.heal()
    for _ in range(400):
        try:
            await deal.tokens.transfer(user.id, "treasury", "1")
            break
        except RpcAllEndpointsFailedError:
            await asyncio.sleep(0.05)
    assert await deal.tokens.balance_of(user.id) == 9


async def test_an_endpoint_that_was_away_at_first_joins_later(proxies: list[FaultProxy]) -> None:
    proxies[0].break_methods("refuse")
    async with Deal.open(rpc_urls=urls_of(proxies), **OPTIONS) as deal:
        assert deal.rpc.endpoint_count == 2
        await funded(deal)
        proxies[0].heal()
        for _ in range(500):
            if deal.rpc.endpoint_count == 3:
                break
            await asyncio.sleep(0.02)
        proxies[1].break_methods("refuse")
        proxies[2].break_methods("refuse")
        await funded(deal)
        await assert_books_agree(deal)


async def test_an_endpoint_of_another_cluster_is_refused(proxies: list[FaultProxy]) -> None:
    async with Localnet(CHAIN) as other, LocalnetServer(other, rpc_port=0) as server:
        with pytest.raises(ChainMismatchError):
            await Deal.open(rpc_urls=[proxies[0].url, server.rpc_url], **OPTIONS)
