"""Watching real transactions of the embedded chain, through a whole `Deal`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from solders.keypair import Keypair

from deal_sdk import Deal
from deal_sdk.payments import AllowanceRequest
from tests.integration.conftest import FAST_CHAIN

pytestmark = pytest.mark.slow


@pytest.fixture
async def watching(request: pytest.FixtureRequest) -> AsyncIterator[Deal]:
    """A `Deal` that polls only when it is told to; its parameter is the token's program."""
    async with Deal.open(
        **FAST_CHAIN,
        token_program=getattr(request, "param", "classic"),
        background_jobs=False,
        watch_poll_interval_seconds=0.001,
        history_poll_interval_seconds=0.05,
    ) as deal:
        yield deal


@pytest.mark.parametrize("watching", ["classic", "token-2022"], indirect=True)
async def test_transfers_are_counted_decoded_and_in_the_history(watching: Deal) -> None:
    user = await watching.users.create()
    wallet = (await watching.wallets.create_custodial(user.id)).address
    other = str(Keypair().pubkey())
    await watching.monitor.add(wallet, label="payer")
    got = await watching.tokens.transfer("treasury", user.id, "5.5", wait_for="finalized")
    given = await watching.tokens.transfer(user.id, other, "2", wait_for="finalized")
    await watching.monitor.poll()

    newest, oldest = await watching.monitor.transactions(wallet)
    assert (oldest.signature, oldest.direction, oldest.amount) == (got.signature, "incoming", "5.5")
    assert (newest.signature, newest.direction, newest.amount) == (given.signature, "outgoing", "2")
    assert (newest.counterparty, newest.memo) == (other, f"deal:{given.id}")
    assert (await watching.monitor.get(wallet)).badge == "2/200"
    await watching.reconcile()
    assert [row.change for row in (await watching.history.query(wallet=wallet)).items] == [
        550_000_000,
        -200_000_000,
    ]
    report = await watching.verify()
    assert report.ok, [check for check in report.checks if not check.ok]


async def test_a_wallet_that_never_connected_is_watched_by_what_reaches_its_token_account(
    watching: Deal,
) -> None:
    stranger = str(Keypair().pubkey())
    await watching.monitor.add(stranger)
    payment = await watching.tokens.transfer("treasury", stranger, "1", wait_for="finalized")
    await watching.monitor.poll()
    (only,) = await watching.monitor.transactions(stranger)
    assert (only.signature, only.direction) == (payment.signature, "incoming")


async def test_a_transfer_that_a_program_makes_within_its_instruction_is_decoded(watching: Deal) -> None:
    user = await watching.users.create()
    wallet = (await watching.wallets.create_custodial(user.id)).address
    await watching.tokens.transfer("treasury", user.id, "10", wait_for="finalized")
    await watching.allowances.initialize()
    await watching.allowances.open(user.id, AllowanceRequest("6", timedelta(days=1), "4", "9"))
    await watching.monitor.add(wallet)
    charge = await watching.allowances.charge(user.id, "2.5", "search", wait_for="finalized")
    await watching.monitor.poll()
    newest, *_ = await watching.monitor.transactions(wallet)
    assert (newest.signature, newest.direction, newest.amount) == (charge.signature, "outgoing", "2.5")


async def test_what_happens_to_a_wallet_is_told_to_webhooks_in_its_own_commit(watching: Deal) -> None:
    await watching.webhooks.add("log:info", ["wallet:*"])
    wallet = str(Keypair().pubkey())
    await watching.monitor.add(wallet)
    await watching.monitor.stop(wallet)
    found = (await watching.webhooks.deliveries()).items
    assert [(item.event_type, item.subject) for item in found] == [
        ("wallet:stopped", wallet),
        ("wallet:added", wallet),
    ], "each once, though the bus tells of them as well"


async def test_a_transfer_is_counted_at_once_because_the_chain_tells_of_it() -> None:
    async with Deal.open(
        **FAST_CHAIN, watch_poll_interval_seconds=3_600, watch_hint_interval_seconds=0.05
    ) as deal:
        stranger = str(Keypair().pubkey())
        await deal.monitor.add(stranger)
        async with deal.monitor.subscribe() as events:
            await deal.monitor.poll()
            payment = await deal.tokens.transfer("treasury", stranger, "1", wait_for="finalized")
            async with asyncio.timeout(30):
                event = await anext(events)
        assert (event.type, event.data["signature"]) == ("wallet:transaction", payment.signature)
