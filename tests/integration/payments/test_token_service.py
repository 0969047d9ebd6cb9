"""The paying methods on a real Token program: what moves, what is recorded, what is refused."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from uuid import uuid4

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_sdk import (
    Deal,
    IdempotencyConflictError,
    InsufficientBalanceError,
    InvalidAmountError,
    InvalidInputError,
    InvalidWalletAddressError,
    PurchaseLimit,
    PurchaseLimitExceededError,
    RateLimitExceededError,
    SignatureRequiredError,
    TokenError,
    UserNotFoundError,
    WalletNotFoundError,
)
from deal_sdk.errors import DelegateInUseError, DelegationError, UnknownServiceTypeError
from deal_sdk.limits import CalendarWindow
from tests.integration.conftest import MakePerson, token_account


async def recorded_count(deal: Deal) -> int:
    return await deal.transactions.count()


async def test_a_transfer_moves_tokens_and_is_recorded(deal: Deal, make_person: MakePerson) -> None:
    alice, bob = await make_person("10"), await make_person()
    payment = await deal.tokens.transfer(alice.user.id, bob.user.id, "2.5", "lunch")
    assert payment.status in ("confirmed", "finalized")
    assert payment.signature is not None
    assert await deal.tokens.balance_of(alice.user.id) == Decimal("7.5")
    assert await deal.tokens.get_balance(bob.user.id) == Decimal("2.5")
    stored = await deal.transactions.get(payment.id)
    assert (stored.type, stored.reason, stored.amount) == ("transfer", "lunch", 250_000_000)
    assert (stored.from_user_id, stored.to_user_id) == (alice.user.id, bob.user.id)


async def test_finalized_history_has_one_row_a_side(deal: Deal, make_person: MakePerson) -> None:
    alice, bob = await make_person("10"), await make_person()
    payment = await deal.tokens.transfer(alice.user.id, bob.user.id, "1", wait_for="finalized")
    await deal.reconcile()
    debit = (await deal.history.query(wallet=alice.address, newest_first=True)).items[0]
    credit = (await deal.history.query(wallet=bob.address)).items[0]
    assert payment.status == "finalized"
    assert (debit.signature, debit.type, debit.change) == (payment.signature, "transfer", -100_000_000)
    assert (credit.balance_before, credit.balance_after) == (0, 100_000_000)


async def test_each_service_has_its_fee(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person("10")
    before = await deal.tokens.balance_of("treasury")
    for service, fee in (("search", "0.1"), ("goal", "1"), ("analysis", "0.5"), ("notification", "0.05")):
        payment = await deal.tokens.deduct_service_fee(alice.user.id, service)
        assert payment.type == "service_fee"
        assert payment.to_dict()["amount"] == fee
    assert await deal.tokens.balance_of("treasury") - before == Decimal("1.65")


async def test_a_stored_price_wins_over_the_default(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person("10")
    await deal.pricing.set_price("search", "0.2")
    payment = await deal.tokens.deduct_service_fee(alice.user.id, "search")
    assert payment.amount == 20_000_000


async def test_a_fee_keeps_its_key_when_the_price_changes(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person("10")
    first = await deal.tokens.deduct_service_fee(alice.user.id, "search", idempotency_key="order-1")
    await deal.pricing.set_price("search", "3")
    again = await deal.tokens.deduct_service_fee(alice.user.id, "search", idempotency_key="order-1")
    assert again.id == first.id
    assert await deal.tokens.balance_of(alice.user.id) == Decimal("9.9")


async def test_an_unknown_service_is_never_free(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person("10")
    with pytest.raises(UnknownServiceTypeError):
        await deal.tokens.deduct_service_fee(alice.user.id, "teleport")


async def test_mint_and_burn_change_the_supply(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person()
    supply = await deal.tokens.total_supply()
    minted = await deal.tokens.mint(alice.user.id, "5", "launch")
    burned = await deal.tokens.burn(alice.user.id, "2")
    assert (minted.type, burned.type) == ("mint", "burn")
    assert await deal.tokens.total_supply() == supply + 3
    assert await deal.tokens.balance_of(alice.user.id) == 3


async def test_a_reward_is_recorded_as_one(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person()
    await deal.tokens.transfer("treasury", "reward", "100")
    reward = await deal.rewards.distribute_reward(alice.user.id, "referral", "7")
    assert (reward.type, reward.reason) == ("reward", "referral")
    assert await deal.tokens.balance_of("reward") == 93


async def test_the_same_key_pays_once(deal: Deal, make_person: MakePerson) -> None:
    alice, bob = await make_person("10"), await make_person()
    payments = await asyncio.gather(
        *(
            deal.tokens.transfer(alice.user.id, bob.user.id, "1", idempotency_key="invoice-7")
            for _ in range(20)
        )
    )
    assert len({payment.id for payment in payments}) == 1
    assert await deal.tokens.balance_of(bob.user.id) == 1


async def test_a_key_with_other_input_is_an_error(deal: Deal, make_person: MakePerson) -> None:
    alice, bob = await make_person("10"), await make_person()
    await deal.tokens.transfer(alice.user.id, bob.user.id, "1", idempotency_key="invoice-8")
    with pytest.raises(IdempotencyConflictError):
        await deal.tokens.transfer(alice.user.id, bob.user.id, "2", idempotency_key="invoice-8")


async def test_two_equal_payments_are_two(deal: Deal, make_person: MakePerson) -> None:
    alice, bob = await make_person("10"), await make_person()
    payments = await asyncio.gather(
        *(deal.tokens.transfer(alice.user.id, bob.user.id, "1") for _ in range(5))
    )
    assert len({payment.signature for payment in payments}) == 5
    assert await deal.tokens.balance_of(bob.user.id) == 5


async def test_an_overdraft_is_refused_with_its_figures(deal: Deal, make_person: MakePerson) -> None:
    alice, bob = await make_person("1"), await make_person()
    before = await recorded_count(deal)
    with pytest.raises(InsufficientBalanceError) as caught:
        await deal.tokens.transfer(alice.user.id, bob.user.id, "1.5")
    error = caught.value
    assert (error.required, error.available, error.deficit) == ("1.5", "1", "0.5")
    assert await recorded_count(deal) == before


async def test_concurrent_debits_never_overdraw(deal: Deal, make_person: MakePerson) -> None:
    alice, bob = await make_person("10"), await make_person()
    results = await asyncio.gather(
        *(deal.tokens.transfer(alice.user.id, bob.user.id, "1") for _ in range(18)),
        return_exceptions=True,
    )
    paid = [result for result in results if not isinstance(result, BaseException)]
    refused = [result for result in results if isinstance(result, InsufficientBalanceError)]
    assert (len(paid), len(refused)) == (10, 8)
    assert await deal.tokens.balance_of(bob.user.id) == 10


async def test_a_purchase_over_its_limit_is_refused(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person("10")
    limit = PurchaseLimit("TokenOfChoice", 2, "subscription-1")
    for _ in range(2):
        await deal.tokens.transfer(alice.user.id, "treasury", "1", purchase_limit=limit)
    before = await recorded_count(deal)
    with pytest.raises(PurchaseLimitExceededError):
        await deal.tokens.transfer(alice.user.id, "treasury", "1", purchase_limit=limit)
    assert await recorded_count(deal) == before


async def test_a_stored_policy_limits_every_transfer(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person("10")
    await deal.purchases.set_policy(alice.user.id, str(deal.mint.address), 1)
    await deal.tokens.transfer(alice.user.id, "treasury", "1")
    with pytest.raises(PurchaseLimitExceededError):
        await deal.tokens.transfer(alice.user.id, "treasury", "1")


async def test_a_policy_limits_what_is_spent_in_a_day_of_its_place(
    deal: Deal, make_person: MakePerson
) -> None:
    alice = await make_person("10")
    await deal.purchases.set_policy(
        alice.user.id,
        str(deal.mint.address),
        100,
        calendar=CalendarWindow("week", "Asia/Kolkata"),
        max_amount_base_units=300_000_000,
    )
    await deal.tokens.transfer(alice.user.id, "treasury", "2.5")
    with pytest.raises(PurchaseLimitExceededError) as raised:
        await deal.tokens.transfer(alice.user.id, "treasury", "0.50000001")
    assert raised.value.limits == (f"amount:{deal.mint.address}:week",)
    await deal.tokens.transfer(alice.user.id, "treasury", "0.5")


async def test_a_burst_over_the_tier_is_refused(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person("10", tier="Gift")
    results = await asyncio.gather(
        *(deal.tokens.transfer(alice.user.id, "treasury", "0.1") for _ in range(12)),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, RateLimitExceededError)]
    # Three at once, and three more for each second in which this machine stalls.
    assert 6 <= len(refused) <= 9
    assert all(error.retry_after_seconds > 0 for error in refused)


async def test_a_refused_balance_gives_the_limits_back(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person("1")
    limit = PurchaseLimit("TokenOfChoice", 1)
    with pytest.raises(InsufficientBalanceError):
        await deal.tokens.transfer(alice.user.id, "treasury", "5", purchase_limit=limit)
    await deal.tokens.transfer(alice.user.id, "treasury", "1", purchase_limit=limit)


async def test_bad_amounts_record_nothing(deal: Deal) -> None:
    for amount in (1.5, 1, True, "0", "-1", "1.123456789", "92233720368.54775808", "1e3", " 1", "NaN", None):
        with pytest.raises(InvalidAmountError):
            await deal.tokens.transfer("treasury", "reward", amount)  # type: ignore[arg-type]
    assert await recorded_count(deal) == 0


async def test_bad_addresses_are_refused(deal: Deal) -> None:
    cut_short = str(Keypair.from_seed(bytes(32)).pubkey())[:-3]
    # A key can own nothing at an address that is on no curve.
    off_curve = str(deal.token_account_of(Keypair().pubkey()))
    for address in ("not-base58-0OIl", "1" * 31, "5" * 44, "", "3" * 45, cut_short, off_curve):
        with pytest.raises(InvalidWalletAddressError):
            await deal.tokens.transfer("treasury", address, "1")
    assert await recorded_count(deal) == 0


async def test_parties_that_do_not_exist(deal: Deal) -> None:
    with pytest.raises(UserNotFoundError):
        await deal.tokens.transfer("treasury", uuid4(), "1")
    user = await deal.users.create()
    with pytest.raises(WalletNotFoundError):
        await deal.tokens.transfer("treasury", user.id, "1")
    with pytest.raises(InvalidInputError):
        await deal.tokens.transfer("treasury", "treasury", "1")


async def test_a_wallet_without_its_key_needs_its_owner(deal: Deal, make_person: MakePerson) -> None:
    user = await deal.users.create()
    own = Keypair()
    await deal.wallets.connect_wallet(user.id, str(own.pubkey()))
    await deal.tokens.transfer("treasury", user.id, "5")
    with pytest.raises(SignatureRequiredError):
        await deal.tokens.transfer(user.id, "treasury", "1")
    assert await deal.tokens.balance_of(user.id) == 5


async def test_a_delegate_spends_what_was_approved(deal: Deal, make_person: MakePerson) -> None:
    alice, bob, carol = await make_person("10"), await make_person(), await make_person()
    await deal.tokens.approve(alice.user.id, bob.user.id, "3")
    assert await deal.tokens.allowance(alice.user.id, bob.user.id) == 3
    payment = await deal.tokens.transfer_from(bob.user.id, alice.user.id, carol.user.id, "2")
    assert payment.status in ("confirmed", "finalized")
    assert await deal.tokens.balance_of(carol.user.id) == 2
    assert await deal.tokens.allowance(alice.user.id, bob.user.id) == 1
    with pytest.raises(DelegationError) as caught:
        await deal.tokens.transfer_from(bob.user.id, alice.user.id, carol.user.id, "2")
    assert caught.value.facts["problem"] == "exhausted"


async def test_a_live_delegate_is_not_replaced_by_accident(deal: Deal, make_person: MakePerson) -> None:
    alice, bob, carol = await make_person("10"), await make_person(), await make_person()
    await deal.tokens.approve(alice.user.id, bob.user.id, "3")
    with pytest.raises(DelegateInUseError):
        await deal.tokens.approve(alice.user.id, carol.user.id, "3")
    await deal.tokens.approve(alice.user.id, carol.user.id, "3", replace=True)
    with pytest.raises(DelegationError) as caught:
        await deal.tokens.transfer_from(bob.user.id, alice.user.id, carol.user.id, "1")
    assert caught.value.facts["problem"] == "replaced"
    await deal.tokens.revoke(alice.user.id)
    with pytest.raises(DelegationError) as caught:
        await deal.tokens.transfer_from(carol.user.id, alice.user.id, bob.user.id, "1")
    assert caught.value.facts["problem"] == "missing"


async def test_a_transfer_made_elsewhere_becomes_a_deposit(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person()
    signature = await transfer_outside(deal, alice.address, 123)
    verdict = await deal.transaction_monitor.monitor_transaction(signature)
    assert verdict.state == "finalized"
    row = await deal.history.latest(token_account(deal, alice.address))
    assert row is not None
    assert (row.type, row.change, row.signature) == ("deposit", 123, signature)
    found = await deal.transactions.get_by_signature(signature)
    assert {transfer.type for transfer in found} == {"deposit", "withdrawal"}


async def test_the_initial_supply_is_a_mint(deal: Deal) -> None:
    await deal.tokens.transfer("treasury", "reward", "1", wait_for="finalized")
    await deal.reconcile()
    page = await deal.transactions.query(type="mint")
    assert [payment.amount for payment in page.items] == [10**17]


async def transfer_outside(deal: Deal, to_address: str, amount_base_units: int) -> str:
    """Pay from the treasury as a stranger's program would, past the package's records."""
    from deal_sdk.chain import build_and_sign, instructions

    treasury = await deal.keystore.signer_by_name("treasury")
    owner = Pubkey.from_string(to_address)
    built = [
        instructions.create_associated_account(
            payer=treasury.address,
            owner=owner,
            mint=deal.mint.address,
            program_id=deal.mint.program_id,
        ),
        instructions.transfer_checked(
            source=deal.token_account_of(treasury.address),
            mint=deal.mint.address,
            destination=deal.token_account_of(owner),
            authority=treasury.address,
            amount_base_units=amount_base_units,
            decimals=deal.mint.decimals,
            program_id=deal.mint.program_id,
        ),
    ]
    blockhash = await deal.rpc.get_latest_blockhash()
    signed = await build_and_sign(built, payer=treasury, blockhash=blockhash)
    return await deal.rpc.send_transaction(signed.raw_bytes)


async def test_every_error_is_typed_and_tells_of_the_money(deal: Deal, make_person: MakePerson) -> None:
    alice = await make_person()
    with pytest.raises(TokenError) as caught:
        await deal.tokens.transfer(alice.user.id, "treasury", "1")
    assert caught.value.code == "insufficient_balance"
    assert caught.value.outcome == "not_sent"
