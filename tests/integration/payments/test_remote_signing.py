"""Operator wallets whose keys another service holds: payments through it, and through its outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from solders.keypair import Keypair

from deal_sdk import Deal, PaymentPendingError
from deal_sdk.chain import KeypairSigner
from deal_sdk.errors import ConfigurationError, WalletAlreadyConnectedError
from tests.integration.conftest import FAST_CHAIN, assert_books_agree
from tests.unit.chain.signing_server import HMAC_SECRET, TOKEN, SigningHost
from tests.unit.chain.test_remote_signer import wrong_signature

pytestmark = pytest.mark.slow

RECIPIENTS = [str(Keypair.from_seed(bytes([9, number]) * 16).pubkey()) for number in range(40)]


@pytest.fixture
async def host() -> AsyncIterator[SigningHost]:
    async with SigningHost(KeypairSigner(Keypair()), KeypairSigner(Keypair())) as running:
        yield running


@pytest.fixture
async def deal(host: SigningHost) -> AsyncIterator[Deal]:
    treasury, reward = host.addresses
    async with Deal.open(
        **FAST_CHAIN,
        history_poll_interval_seconds=0.05,
        remote_signers={
            "treasury": {"url": host.url, "address": treasury},
            "reward": {"url": host.url, "address": reward},
        },
        remote_signer_token=TOKEN,
        remote_signer_hmac_secret=HMAC_SECRET,
    ) as opened:
        yield opened
        host.fault = None
        await assert_books_agree(opened)


async def test_the_backend_pays_without_its_keys(deal: Deal, host: SigningHost) -> None:
    treasury, reward = host.addresses
    assert await deal.keystore.names() | {"mint": ""} == {"treasury": treasury, "reward": reward, "mint": ""}
    await deal.tokens.transfer("treasury", "reward", "100")
    host.asked.clear()
    await asyncio.gather(*(deal.rewards.distribute_reward(address, "launch", "1") for address in RECIPIENTS))
    assert await deal.tokens.balance_of("reward") == 60
    # Each payment needs two signatures, and those of one moment share a request.
    assert sum(host.asked) == 2 * len(RECIPIENTS)
    assert len(host.asked) < len(RECIPIENTS)


async def test_a_user_cannot_claim_the_treasury(deal: Deal, host: SigningHost) -> None:
    user = await deal.users.create()
    with pytest.raises(WalletAlreadyConnectedError):
        await deal.wallets.connect_wallet(user.id, host.addresses[0])


async def down(request: web.Request) -> web.Response:
    return web.Response(status=503)


@pytest.mark.parametrize("fault", [down, wrong_signature])
async def test_a_payment_waits_for_its_signature(deal: Deal, host: SigningHost, fault: object) -> None:
    await deal.tokens.transfer("treasury", RECIPIENTS[0], "1")
    host.fault = fault
    payment = await deal.tokens.transfer("treasury", RECIPIENTS[0], "2", wait_for="recorded")
    with pytest.raises(PaymentPendingError):
        await deal._pipeline.wait(payment, "confirmed", timeout_seconds=0.5)
    waiting = await deal.transactions.get(payment.id)
    assert (waiting.status, waiting.signature) == ("pending", None)
    host.fault = None
    paid = await deal._pipeline.wait(payment, "confirmed", timeout_seconds=30)
    assert paid.signature is not None
    assert await deal.tokens.balance_of(RECIPIENTS[0]) == 3


async def test_an_address_that_is_none_is_refused(host: SigningHost) -> None:
    with pytest.raises(ConfigurationError, match="treasury"):
        await Deal.open(remote_signers={"treasury": {"url": host.url, "address": "nobody"}})
