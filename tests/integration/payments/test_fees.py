"""Who pays the SOL of a payment, how much, and what happens when there is too little."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from solders.account import Account
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM
from solders.transaction import VersionedTransaction

from deal_localnet import Localnet, LocalnetConfig
from deal_sdk import Deal
from deal_sdk.chain import LocalnetTransport, TransactionShape
from deal_sdk.client import GivenBackends
from deal_sdk.clock import SystemClock
from deal_sdk.errors import ConfigurationError, FeePayerError, SignatureRequiredError, TransactionFailedError
from deal_sdk.payments import PaymentSigner, Plan
from tests.integration.conftest import PAID, assert_books_agree

pytestmark = pytest.mark.slow

SOL = 1_000_000_000
RENT = 2_039_280


@pytest.fixture
async def localnet() -> AsyncIterator[Localnet]:
    async with Localnet(LocalnetConfig(slot_seconds=0.02, finality_slots=8)) as running:
        yield running


def settings(localnet: Localnet, **more: object) -> dict[str, object]:
    given = GivenBackends(transport=LocalnetTransport(localnet, clock=SystemClock()))
    return {"given": given, "history_poll_interval_seconds": 0.05, **more}


def fund(localnet: Localnet, address: str, lamports: int) -> None:
    localnet.set_account(Pubkey.from_string(address), Account(lamports, b"", SYSTEM_PROGRAM))
    localnet.advance_slots(2)


async def test_a_fee_payer_of_its_own_pays_fees_and_rent_of_everything(localnet: Localnet, tmp_path) -> None:
    lasting = {"database_url": f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}", "keystore_passphrase": "secret"}
    async with Deal.open(**settings(localnet, **lasting)) as deal:
        payer = await deal.keystore.create("fee_payer")
        user = await deal.users.create()
        wallet = await deal.wallets.create_custodial(user.id)
    fund(localnet, payer, SOL)
    async with Deal.open(**settings(localnet, **lasting)) as deal:
        treasury = (await deal.keystore.signer_by_name("treasury")).address
        treasury_before = await deal.rpc.get_balance(treasury)
        paid = await deal.tokens.transfer("treasury", user.id, "5")
        await deal.tokens.deduct_service_fee(user.id, "goal")
        approved = await deal.tokens.approve(user.id, "reward", "1")
        left = await deal.rpc.get_balance(Pubkey.from_string(payer))
        assert left == SOL - RENT - 3 * 2 * 5_000
        assert await deal.rpc.get_balance(Pubkey.from_string(wallet.address)) == 0
        for signature in (paid.signature, approved):
            assert signature is not None
            landed = await deal.rpc.get_transaction(signature, "confirmed")
            assert landed is not None
            assert landed.fee_lamports == 2 * 5_000
        await assert_books_agree(deal)
        assert await deal.rpc.get_balance(treasury) == treasury_before


async def test_the_setting_names_a_wallet_or_an_address_whose_key_is_kept(localnet: Localnet) -> None:
    with pytest.raises(ConfigurationError, match="fee_payer"):
        await Deal.open(**settings(localnet, fee_payer="nobody"))
    stranger = str(Pubkey.from_string("9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM"))
    async with (
        Localnet(LocalnetConfig(slot_seconds=0.02)) as other,
        Deal.open(**settings(other, fee_payer=stranger)) as deal,
    ):
        with pytest.raises(SignatureRequiredError):
            await deal.tokens.transfer("treasury", "reward", "1")
        assert await deal.transactions.count(type="transfer") == 0


async def test_payments_of_one_shape_are_simulated_once(
    localnet: Localnet,
) -> None:
    async with Deal.open(**settings(localnet)) as deal:
        await deal.tokens.transfer("treasury", "reward", "1")
        paid = [deal.tokens.transfer("treasury", "reward", "1", reason=str(number)) for number in range(8)]
        payments = await asyncio.gather(*paid)
        assert simulations(deal) == 2, "one creates the token account, and the others do not"
        for payment in payments:
            limit, price = await budget_of(deal, payment.signature)
            assert 5_000 < limit < 15_000
            assert price is None
        await assert_books_agree(deal)


async def test_a_fixed_priority_fee_is_paid_within_its_cap(localnet: Localnet) -> None:
    more = {"priority_fee_micro_lamports": 10_000_000, "max_priority_fee_lamports": 123}
    async with Deal.open(**settings(localnet, **more)) as deal:
        payment = await deal.tokens.transfer("treasury", "reward", "1")
        landed = await deal.rpc.get_transaction(str(payment.signature), "confirmed")
        assert landed is not None
        assert 5_000 < landed.fee_lamports <= 5_123
        await assert_books_agree(deal)


async def test_a_payment_that_ran_out_of_units_failed_and_the_next_one_has_more(
    localnet: Localnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Deal.open(**settings(localnet, rebroadcast_interval_seconds=0.1)) as deal:
        await deal.tokens.transfer("treasury", "reward", "1")
        units = deal._fees._units
        shapes: list[TransactionShape] = []
        measure = units._simulate

        async def too_little(*arguments):
            measured = await measure(*arguments)
            return type(measured)(1_000, measured.variable_units) if len(shapes) == 0 else measured

        monkeypatch.setattr(units, "_simulate", too_little)
        with pytest.raises(TransactionFailedError) as caught:
            await deal.tokens.transfer("treasury", "reward", "1")
        assert caught.value.evidence["error"]["InstructionError"][1] == "ProgramFailedToComplete"
        assert await deal.settled()
        shapes.extend(units._widening)
        payment = await deal.tokens.transfer("treasury", "reward", "1")
        assert payment.status in PAID
        assert (await budget_of(deal, payment.signature))[0] > 12_000
        await assert_books_agree(deal)


async def test_too_little_is_refused_unrecorded_and_a_recorded_payment_waits_unsigned(
    localnet: Localnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Deal.open(**settings(localnet, fee_payer_poll_interval_seconds=0.01)) as deal:
        told = []

        async def note(event):
            told.append(event.data)

        deal.events.subscribe("low_fee_payer", note)
        await deal.tokens.transfer("treasury", "reward", "1")
        address = str((await deal.keystore.signer_by_name("treasury")).address)
        fund(localnet, address, 1_000_000)
        await asyncio.sleep(0.1)
        with suppress(FeePayerError):
            # Whatever is known is as old as the last look; this one has the chain asked again.
            await deal._fees.require(new_accounts=9)
        user = await deal.users.create()
        await deal.wallets.create_custodial(user.id)
        with pytest.raises(FeePayerError) as caught:
            await deal.tokens.transfer("treasury", user.id, "1")
        assert caught.value.facts["lamports"] == 1_000_000
        assert caught.value.facts["required_lamports"] > RENT
        assert await deal.transactions.count(type="transfer") == 1
        # What the fee payer could pay for when it was recorded, and cannot when it is signed.
        monkeypatch.setattr(PaymentSigner, "check", _passes)
        waiting = await deal.tokens.transfer("treasury", user.id, "1", wait_for="recorded")
        await asyncio.sleep(0.3)
        assert (await deal.transactions.get(waiting.id)).signature is None
        fund(localnet, address, SOL)
        await assert_books_agree(deal)
        assert (await deal.transactions.get(waiting.id)).status == "finalized"
        await deal.events.drain()
        assert [(event["address"], event["lamports"]) for event in told] == [(address, 1_000_000)]


async def _passes(self: PaymentSigner, plan: Plan) -> None:
    """Stand for a check that was made while there was enough."""


def simulations(deal: Deal) -> int:
    return sum(
        int(sample.value)
        for metric in deal.metrics.rpc_requests.collect()
        for sample in metric.samples
        if sample.labels.get("method") == "simulateTransaction" and sample.name.endswith("_total")
    )


async def budget_of(deal: Deal, signature: str | None) -> tuple[int, int | None]:
    """Return the compute limit and the price that a payment was signed with."""
    assert signature is not None
    signed = await deal._attempts.find_transaction(signature)
    assert signed is not None
    message = VersionedTransaction.from_bytes(signed.raw_bytes).message
    values = {}
    for step in message.instructions:
        if str(message.account_keys[step.program_id_index]).startswith("ComputeBudget"):
            values[step.data[0]] = int.from_bytes(step.data[1:], "little")
    return values[2], values.get(3)
