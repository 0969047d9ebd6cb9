"""Delegates on a real Token program: fees by approval, and approvals that end while a payment is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from solders.keypair import Keypair

from deal_sdk import Deal, SignatureRequiredError
from deal_sdk.chain import KeypairSigner, build_and_sign, instructions
from deal_sdk.errors import DelegationError, DelegationFailedError, PurchaseLimitExceededError
from deal_sdk.payments.orders import Funds, PurchaseLimit
from deal_sdk.records.tables import token_wallets
from tests.integration.conftest import FAST_CHAIN, MakePerson, Person, assert_books_agree

pytestmark = pytest.mark.slow


@pytest.fixture
async def deal() -> AsyncIterator[Deal]:
    async with Deal.open(
        **FAST_CHAIN, history_poll_interval_seconds=0.05, rebroadcast_interval_seconds=0.1
    ) as opened:
        yield opened
        await assert_books_agree(opened)


class OwnWallet:
    """A user whose key is not the backend's, and the wallet application that holds it."""

    def __init__(self, deal: Deal, person: Person, key: KeypairSigner) -> None:
        self.deal, self.person, self._key = deal, person, key

    async def approve(self, amount_base_units: int) -> None:
        """Approve the treasury, by a transaction that the backend does not make."""
        treasury = await self.deal.keystore.signer_by_name("treasury")
        instruction = instructions.approve_checked(
            source=self.deal.token_account_of(self._key.address),
            mint=self.deal.mint.address,
            delegate=treasury.address,
            owner=self._key.address,
            amount_base_units=amount_base_units,
            decimals=self.deal.mint.decimals,
            program_id=self.deal.mint.program_id,
        )
        blockhash = await self.deal.rpc.get_latest_blockhash()
        signed = await build_and_sign([instruction], payer=treasury, signers=[self._key], blockhash=blockhash)
        await self.deal.rpc.send_transaction(signed.raw_bytes)
        await self.deal.transaction_monitor.monitor_transaction(signed.signature, wait_for="confirmed")


async def own_wallet(deal: Deal, tokens: str, *, is_verified: bool = True) -> OwnWallet:
    user = await deal.users.create(tier="Business")
    key = KeypairSigner(Keypair())
    await deal.wallets.connect_wallet(user.id, str(key.address))
    if is_verified:
        of_user = token_wallets.update().where(token_wallets.c.user_id == user.id)
        proven = of_user.values(verified_at=deal.clock.now())
        await deal._database.run(lambda connection: connection.execute(proven))
    await deal.tokens.transfer("treasury", user.id, tokens)
    return OwnWallet(deal, Person(user, str(key.address)), key)


async def test_a_fee_is_taken_by_approval_where_the_key_is_the_users(deal: Deal) -> None:
    wallet = await own_wallet(deal, "10")
    user_id = wallet.person.user.id
    with pytest.raises(SignatureRequiredError) as refused:
        await deal.tokens.deduct_service_fee(user_id, "goal")
    assert refused.value.facts["problem"] == "missing"
    await wallet.approve(150_000_000)
    fee = await deal.tokens.deduct_service_fee(user_id, "goal", idempotency_key="fee-1", wait_for="finalized")
    assert (fee.type, fee.from_address, fee.from_user_id) == ("service_fee", wallet.person.address, user_id)
    assert await deal.tokens.balance_of(user_id) == 9
    assert await deal.tokens.allowance(user_id, "treasury") == Decimal("0.5")
    again = await deal.tokens.deduct_service_fee(user_id, "goal", idempotency_key="fee-1")
    assert again.id == fee.id
    with pytest.raises(DelegationError) as exhausted:
        await deal.tokens.deduct_service_fee(user_id, "goal")
    assert exhausted.value.facts["problem"] == "exhausted"
    assert exhausted.value.facts["available"] == "0.5"


async def test_nobody_pays_for_one_who_only_claims_the_address(deal: Deal) -> None:
    victim = await own_wallet(deal, "10", is_verified=False)
    await victim.approve(10**9)
    with pytest.raises(SignatureRequiredError) as refused:
        await deal.tokens.deduct_service_fee(victim.person.user.id, "goal")
    assert refused.value.facts["problem"] == "unverified"
    for source in (victim.person.user.id, victim.person.address):
        with pytest.raises(DelegationError):
            await deal.tokens.transfer_from("treasury", source, "reward", "1")
    assert await deal.tokens.balance_of(victim.person.user.id) == 10


async def test_many_at_once_never_overdraw_an_approval(deal: Deal, make_person: MakePerson) -> None:
    alice, bob = await make_person("100"), await make_person()
    await deal.tokens.approve(alice.user.id, bob.user.id, "5")
    results = await asyncio.gather(
        *(deal.tokens.transfer_from(bob.user.id, alice.user.id, bob.user.id, "1") for _ in range(9)),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, DelegationError)]
    assert len(refused) == 4
    # The program forgets a delegate that has nothing left.
    assert {error.facts["problem"] for error in refused} <= {"exhausted", "missing"}
    assert await deal.tokens.balance_of(bob.user.id) == 5


async def test_a_delegated_transfer_counts_as_its_owners_purchase(
    deal: Deal, make_person: MakePerson
) -> None:
    alice, bob = await make_person("10"), await make_person()
    await deal.tokens.approve(alice.user.id, bob.user.id, "5")
    limit = PurchaseLimit("TokenOfChoice", 1)
    await deal.tokens.transfer_from(bob.user.id, alice.user.id, "treasury", "1", purchase_limit=limit)
    with pytest.raises(PurchaseLimitExceededError):
        await deal.tokens.transfer_from(bob.user.id, alice.user.id, "treasury", "1", purchase_limit=limit)


@pytest.mark.parametrize("problem", ["replaced", "exhausted"])
async def test_an_approval_that_ends_before_the_payment_lands(
    deal: Deal, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    """The owner changes the approval after the balance was read: the chain refuses, with proof."""
    alice, bob = await make_person("10"), await make_person()
    await deal.tokens.approve(alice.user.id, bob.user.id, "5")
    read = deal._balance_reads.funds

    async def read_then_change(token_account: str) -> Funds:
        funds = await read(token_account)
        if problem == "replaced":
            await deal.tokens.revoke(alice.user.id)
        else:
            await deal.tokens.approve(alice.user.id, bob.user.id, "1")
        return funds

    monkeypatch.setattr(deal.tokens._admission, "_read_balance", read_then_change)
    with pytest.raises(DelegationFailedError) as failed:
        await deal.tokens.transfer_from(
            bob.user.id, alice.user.id, bob.user.id, "2", wait_for="finalized", idempotency_key="draw"
        )
    error = failed.value
    assert (error.facts["problem"], error.outcome) == (problem, "failed_on_chain")
    assert error.evidence["failure"]["name"] in ("owner_mismatch", "insufficient_funds")
    assert error.evidence["slot"] > 0
    monkeypatch.undo()
    # Proven not to have happened, so balance and approval are free again.
    await deal.tokens.approve(alice.user.id, bob.user.id, "10")
    await deal.tokens.transfer_from(bob.user.id, alice.user.id, bob.user.id, "10")
    assert await deal.tokens.balance_of(bob.user.id) == 10


async def test_the_same_approval_again_after_a_revocation_is_one_of_its_own(
    deal: Deal, make_person: MakePerson
) -> None:
    """On one blockhash the two would be the same bytes, and the second would count as landed before."""
    owner = await make_person("1")
    for _ in range(2):
        await deal.tokens.approve(owner.user.id, "treasury", "1")
        assert await deal.tokens.allowance(owner.user.id, "treasury") == Decimal(1)
        await deal.tokens.revoke(owner.user.id)
        assert await deal.tokens.allowance(owner.user.id, "treasury") == Decimal(0)
