"""Allowances on the embedded chain: opened by owners' wallets, charged by the backend, exactly once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_sdk import Deal, InsufficientBalanceError, SignatureRequiredError, Transaction
from deal_sdk.chain import KeypairSigner, build_and_sign
from deal_sdk.chain.allowance import EMBEDDED_PROGRAM_ID
from deal_sdk.errors import (
    AllowanceError,
    ChargeRefusedError,
    ConfigurationError,
    DelegateInUseError,
    DelegationError,
    IdempotencyConflictError,
    InvalidInputError,
    InvalidWalletAddressError,
    PaymentNotFoundError,
    PreparedTransactionChangedError,
    PreparedTransactionNotFoundError,
    RpcUnavailableError,
    WalletNotFoundError,
)
from deal_sdk.payments import AllowanceRequest, Charge
from deal_sdk.payments.allowances.turns import ChargeTurns
from deal_sdk.records.tables import token_wallets
from tests.integration.conftest import FAST_CHAIN, PAID, MakePerson, assert_books_agree
from tests.integration.payments.wallet_application import WalletApplication, own_wallet

pytestmark = pytest.mark.slow

REQUEST = AllowanceRequest("6", timedelta(days=1), "4", "9")


async def proven_wallet(deal: Deal, tokens: str) -> WalletApplication:
    wallet = await own_wallet(deal, tokens)
    of_user = token_wallets.update().where(token_wallets.c.user_id == wallet.user.id)
    proven = of_user.values(verified_at=deal.clock.now())
    await deal._database.run(lambda connection: connection.execute(proven))
    return wallet


async def allowed(deal: Deal, tokens: str = "10", request: AllowanceRequest = REQUEST) -> WalletApplication:
    """Return a user's own wallet that signed an opening, as a page in a browser would have it sign."""
    await deal.allowances.initialize()
    wallet = await proven_wallet(deal, tokens)
    prepared = await deal.allowances.prepare_open(wallet.user.id, request)
    await deal.allowances.submit_signed(prepared.id, wallet.sign(prepared.transaction))
    return wallet


async def problem_of(deal: Deal, wallet: WalletApplication, amount: str) -> str:
    with pytest.raises(AllowanceError) as refused:
        await deal.allowances.charge(wallet.user.id, amount)
    return str(refused.value.facts["problem"])


async def sequence_of(deal: Deal, payment: Transaction) -> int | None:
    return await ChargeTurns(deal._database, deal.clock).sequence_of(payment.id)


async def test_the_embedded_chain_has_the_program_and_one_merchant(deal: Deal) -> None:
    account = await deal.rpc.get_account(EMBEDDED_PROGRAM_ID)
    assert account is not None
    assert account.executable
    with pytest.raises(AllowanceError):
        await deal.allowances.merchant()
    merchant = await deal.allowances.initialize()
    assert await deal.allowances.initialize() == merchant
    assert merchant.treasury == deal.token_account_of(merchant.creator)
    assert merchant.authority == merchant.creator


async def test_a_wallet_opens_and_the_backend_charges_it_without_its_key(deal: Deal) -> None:
    wallet = await allowed(deal)
    payment = await deal.allowances.charge(wallet.user.id, "2.5", "search")
    assert (payment.status, payment.type, payment.amount) == ("confirmed", "service_fee", 250_000_000)
    assert await deal.tokens.balance_of(wallet.user.id) == Decimal("7.5")
    state = await deal.allowances.fetch(wallet.user.id)
    assert state is not None
    assert (state.next_sequence, state.last_reference) == (1, payment.id)
    (event,) = await deal.allowances.events(str(payment.signature))
    assert (event.name, event.fields["reference"], event.fields["amount"]) == (
        "Charged",
        payment.id,
        250_000_000,
    )


async def test_what_a_wallet_is_asked_to_sign_is_kept_and_compared(deal: Deal) -> None:
    await deal.allowances.initialize()
    wallet, other = await own_wallet(deal, "5"), await own_wallet(deal, "5")
    prepared = await deal.allowances.prepare_open(wallet.user.id, REQUEST)
    assert "up to 4 DEAL each and 6 DEAL per day, 9 DEAL in all" in prepared.description
    assert prepared.to_dict()["prepared_id"] == str(prepared.id)
    foreign = await deal.allowances.prepare_open(other.user.id, REQUEST)
    with pytest.raises(PreparedTransactionChangedError):
        await deal.allowances.submit_signed(prepared.id, other.sign(foreign.transaction))
    with pytest.raises(PreparedTransactionNotFoundError):
        await deal.allowances.submit_signed(uuid4(), wallet.sign(prepared.transaction))
    assert await deal.allowances.fetch(wallet.user.id) is None
    signed = wallet.sign(prepared.transaction)
    first = await deal.allowances.submit_signed(prepared.id, signed)
    assert await deal.allowances.submit_signed(prepared.id, signed) == first


async def test_what_cannot_be_opened_is_refused_before_anything_is_signed(
    deal: Deal, make_person: MakePerson
) -> None:
    await deal.allowances.initialize()
    poor = await make_person()
    with pytest.raises(WalletNotFoundError):
        await deal.allowances.open(poor.user.id, REQUEST)
    rich = await make_person("5")
    day = timedelta(days=1)
    for request in (
        AllowanceRequest("1", day, "2", "5"),
        AllowanceRequest("2", timedelta(seconds=1), "1", "5"),
        AllowanceRequest("2", timedelta(minutes=1, microseconds=1), "1", "5"),
        AllowanceRequest("2", day, "2", "1"),
        AllowanceRequest("2", day, "1", "5", expires_at=deal.clock.now().replace(tzinfo=None)),
    ):
        with pytest.raises(InvalidInputError):
            await deal.allowances.open(rich.user.id, request)
    await deal.tokens.approve(rich.user.id, "treasury", "1")
    with pytest.raises(DelegateInUseError):
        await deal.allowances.open(rich.user.id, REQUEST)
    opened = await deal.allowances.open(rich.user.id, REQUEST, replace=True)
    assert opened.is_open
    with pytest.raises(ChargeRefusedError) as refused:
        await deal.allowances.open(rich.user.id, REQUEST)
    assert refused.value.facts["refusal"] == "AllowanceOpen"
    wallet = await own_wallet(deal, "5")
    with pytest.raises(SignatureRequiredError):
        await deal.allowances.open(wallet.user.id, REQUEST)


async def test_charges_stay_within_what_the_owner_allowed(deal: Deal) -> None:
    wallet = await allowed(deal, tokens="7")
    assert await problem_of(deal, wallet, "4.00000001") == "over_charge_limit"
    await deal.allowances.charge(wallet.user.id, "4")
    assert await problem_of(deal, wallet, "2.00000001") == "over_period_cap"
    assert await problem_of(deal, await proven_wallet(deal, "5"), "1") == "missing"
    stranger = await own_wallet(deal, "5")
    with pytest.raises(DelegationError):
        await deal.allowances.charge(stranger.user.id, "1")
    later = AllowanceRequest("60", timedelta(days=1), "4", "4")
    prepared = await deal.allowances.prepare_change(wallet.user.id, later)
    await deal.allowances.submit_signed(prepared.id, wallet.sign(prepared.transaction))
    await deal.allowances.charge(wallet.user.id, "2.5")
    with pytest.raises(DelegationError):
        await deal.allowances.charge(wallet.user.id, "2")
    poor = await allowed(deal, tokens="1")
    with pytest.raises(InsufficientBalanceError):
        await deal.allowances.charge(poor.user.id, "1.5")


async def test_a_closed_allowance_charges_nothing_and_reopens_with_its_sequence(deal: Deal) -> None:
    wallet = await allowed(deal)
    await deal.allowances.charge(wallet.user.id, "1")
    prepared = await deal.allowances.prepare_close(wallet.user.id)
    await deal.allowances.submit_signed(prepared.id, wallet.sign(prepared.transaction))
    assert await problem_of(deal, wallet, "1") == "closed"
    again = await deal.allowances.prepare_open(wallet.user.id, REQUEST)
    await deal.allowances.submit_signed(again.id, wallet.sign(again.transaction))
    payment = await deal.allowances.charge(wallet.user.id, "1")
    assert await sequence_of(deal, payment) == 1


async def test_a_pause_on_the_chain_refuses_charges(deal: Deal) -> None:
    wallet = await allowed(deal)
    await deal.allowances.set_paused(True)
    assert await problem_of(deal, wallet, "1") == "paused"
    await deal.allowances.set_paused(False)
    assert (await deal.allowances.charge(wallet.user.id, "1")).status in PAID


async def test_the_merchant_is_handed_over_in_two_steps(deal: Deal) -> None:
    wallet = await allowed(deal)
    old = (await deal.allowances.merchant()).authority
    with pytest.raises(AllowanceError) as refused:
        await deal.allowances.accept_authority()
    assert refused.value.facts["problem"] == "not_proposed"
    with pytest.raises(InvalidWalletAddressError):
        await deal.allowances.propose_authority("nobody")
    await deal.allowances.propose_authority(str(Pubkey.new_unique()))
    with pytest.raises(SignatureRequiredError):
        await deal.allowances.accept_authority()
    await deal.allowances.propose_authority(None)
    assert (await deal.allowances.merchant()).pending_authority is None
    new = await deal.keystore.create("charges")
    await deal.allowances.propose_authority(new)
    merchant = await deal.allowances.merchant()
    assert (str(merchant.pending_authority), merchant.authority) == (new, old)
    assert (await deal.allowances.charge(wallet.user.id, "1")).status in PAID
    await deal.allowances.accept_authority()
    merchant = await deal.allowances.merchant()
    assert (str(merchant.authority), merchant.pending_authority) == (new, None)
    payment = await deal.allowances.charge(wallet.user.id, "1")
    assert payment.instruction is not None
    assert payment.instruction["authority"] == new


async def test_a_charge_that_was_recorded_before_a_handover_is_signed_by_the_new_authority(
    deal: Deal,
) -> None:
    wallet = await allowed(deal)
    await deal.allowances.propose_authority(await deal.keystore.create("charges"))
    charges = deal._program.charges
    build = charges.movement

    async def hand_over(payment_id: UUID, *rest: object) -> object:
        charges.movement = build  # type: ignore[method-assign]
        await deal.allowances.accept_authority()
        return await build(payment_id, *rest)  # type: ignore[arg-type]

    charges.movement = hand_over  # type: ignore[method-assign, assignment]
    payment = await deal.allowances.charge(wallet.user.id, "2")
    assert payment.instruction is not None
    merchant = await deal.allowances.merchant()
    assert payment.instruction["authority"] == str(merchant.creator) != str(merchant.authority)
    assert await deal.tokens.balance_of(wallet.user.id) == Decimal(8)


@pytest.mark.parametrize("is_key_here", [True, False])
async def test_what_the_old_authority_signed_is_signed_again_by_the_new_one_if_its_key_is_here(
    deal: Deal, is_key_here: bool
) -> None:
    wallet = await allowed(deal)
    old = (await deal.allowances.merchant()).authority
    elsewhere = Keypair()
    new = await deal.keystore.create("charges") if is_key_here else str(elsewhere.pubkey())
    await deal.allowances.propose_authority(new)
    charges, client = deal._program.charges, await deal._program.deployment.client()
    build, merchant = charges.movement, await deal.allowances.merchant()

    async def hand_over_elsewhere(payment_id: UUID, *rest: object) -> object:
        charges.movement = build  # type: ignore[method-assign]
        built = await build(payment_id, *rest)  # type: ignore[arg-type]
        accept = client.accept_authority(merchant=merchant.address, new_authority=Pubkey.from_string(new))
        signer = await deal.keystore.signer(new) if is_key_here else KeypairSigner(elsewhere)
        payer = await deal.keystore.signer(str(deal._fees.payer))
        blockhash = await deal.rpc.get_latest_blockhash()
        signed = await build_and_sign([accept], payer=payer, signers=[signer], blockhash=blockhash)
        await deal.allowances._owners._confirmations.confirm("their takeover", signed)
        return built

    charges.movement = hand_over_elsewhere  # type: ignore[method-assign, assignment]
    charging = deal.allowances.charge(wallet.user.id, "2", wait_for="finalized")
    if is_key_here:
        payment = await charging
        assert await sequence_of(deal, payment) == 0
        assert await deal.tokens.balance_of(wallet.user.id) == Decimal(8)
    else:
        with pytest.raises(ChargeRefusedError) as refused:
            await charging
        assert refused.value.facts["refusal"] == "WrongAuthority"
        assert await deal.tokens.balance_of(wallet.user.id) == Decimal(10)
    assert old != (await deal.allowances.merchant()).authority


async def test_the_vault_gives_back_to_the_treasury(deal: Deal, make_person: MakePerson) -> None:
    await deal.allowances.initialize()
    await deal.allowances.fund_vault("10")
    before = await deal.tokens.balance_of("treasury")
    payment = await deal.allowances.withdraw_vault("4", "too much", idempotency_key="back")
    assert (payment.type, payment.status, payment.amount) == ("transfer", "confirmed", 400_000_000)
    assert await deal.tokens.balance_of("treasury") == before + 4
    assert (await deal.allowances.withdraw_vault("4", "too much", idempotency_key="back")).id == payment.id
    with pytest.raises(IdempotencyConflictError):
        await deal.allowances.withdraw_vault("5", "too much", idempotency_key="back")
    with pytest.raises(InsufficientBalanceError):
        await deal.allowances.withdraw_vault("6.00000001")
    (event,) = await deal.allowances.events(str(payment.signature))
    assert (event.name, event.fields["amount"]) == ("VaultWithdrawn", 400_000_000)
    batch_id, ann = await deal.allowances.create_reward_batch(1), await make_person()
    await deal.allowances.pay_reward(batch_id, 0, ann.user.id, "6")
    with pytest.raises(InsufficientBalanceError):
        await deal.allowances.withdraw_vault("0.00000001")


async def test_many_charges_of_one_wallet_take_their_turns(deal: Deal) -> None:
    wallet, second = await allowed(deal), await allowed(deal)
    charges = [Charge(wallet.user.id, "1", idempotency_key=f"turn {n}") for n in range(5)]
    results = await deal.allowances.charge_many([*charges, Charge(second.user.id, "2"), charges[0]])
    payments = [result for result in results if isinstance(result, Transaction)]
    assert len(payments) == 7, results
    assert payments[0].id == payments[6].id
    sequences = [await sequence_of(deal, payment) for payment in payments[:5]]
    assert sorted(sequence for sequence in sequences if sequence is not None) == [0, 1, 2, 3, 4]
    refused = await deal.allowances.charge_many([Charge(wallet.user.id, "2"), Charge(second.user.id, "1")])
    assert isinstance(refused[0], AllowanceError)
    assert isinstance(refused[1], Transaction)
    with pytest.raises(IdempotencyConflictError):
        await deal.allowances.charge(wallet.user.id, "0.5", idempotency_key="turn 1")


async def test_a_service_fee_uses_the_allowance_of_a_wallet_that_has_one(deal: Deal) -> None:
    wallet = await allowed(deal)
    fee = await deal.tokens.deduct_service_fee(wallet.user.id, "search")
    assert fee.instruction is not None
    assert fee.instruction["kind"] == "charge"
    plain = await own_wallet(deal, "5")
    with pytest.raises(SignatureRequiredError):
        await deal.tokens.deduct_service_fee(plain.user.id, "search")


async def test_accrued_fees_are_settled_by_the_allowance_as_far_as_one_charge_goes(deal: Deal) -> None:
    wallet = await allowed(deal, request=AllowanceRequest("2", timedelta(days=1), "1.5", "9"))
    for number in range(3):
        await deal.tokens.accrue_service_fee(wallet.user.id, "goal", idempotency_key=f"goal {number}")
    for left in (2, 1):
        report = await deal.tokens.settle_service_fees(wallet.user.id)
        (payment,) = report.payments
        assert payment.instruction is not None
        assert (payment.instruction["kind"], payment.amount) == ("charge", 100_000_000)
        (total,) = await deal.tokens.accrued_service_fees(wallet.user.id)
        assert total.fees == left
    (waiting,) = (await deal.tokens.settle_service_fees(wallet.user.id)).unsettled
    assert waiting.error.facts["problem"] == "over_period_cap"
    assert await deal.tokens.balance_of(wallet.user.id) == Decimal(8)
    tight = await allowed(deal, request=AllowanceRequest("2", timedelta(days=1), "0.5", "9"))
    with pytest.raises(AllowanceError):
        await deal.tokens.accrue_service_fee(tight.user.id, "goal")


async def test_a_strangers_allowance_is_never_charged_for_a_user(deal: Deal) -> None:
    wallet = await allowed(deal)
    await deal.wallets.disconnect_wallet(wallet.user.id, wallet.address)
    thief = await deal.users.create(tier="Business")
    await deal.wallets.connect_wallet(thief.id, wallet.address)
    for charging in (
        deal.allowances.charge(thief.id, "1"),
        deal.tokens.deduct_service_fee(thief.id, "search"),
    ):
        with pytest.raises((DelegationError, SignatureRequiredError)):
            await charging


async def let_another_backend_be_faster(deal: Deal, wallet: WalletApplication) -> None:
    """Have a charge of somebody else's land with the sequence that our next one was just built with."""
    charges, client = deal._program.charges, await deal._program.deployment.client()
    merchant, owner = await deal.allowances.merchant(), Pubkey.from_string(wallet.address)
    stolen = client.charge(
        merchant,
        allowance=client.allowance_address(merchant.address, owner),
        token_account=deal.token_account_of(owner),
        amount_base_units=100_000_000,
        sequence=0,
        reference=uuid4(),
    )
    build = charges.movement

    async def lose(payment_id: UUID, *rest: object) -> object:
        charges.movement = build  # type: ignore[method-assign]
        built = await build(payment_id, *rest)  # type: ignore[arg-type]
        await deal.allowances._owners.sign("theirs", [stolen], merchant.authority)
        return built

    charges.movement = lose  # type: ignore[method-assign, assignment]


async def test_a_charge_that_lost_its_sequence_takes_the_next_once_that_is_proven(deal: Deal) -> None:
    wallet = await allowed(deal)
    await let_another_backend_be_faster(deal, wallet)
    payment = await deal.allowances.charge(wallet.user.id, "2", wait_for="finalized")
    assert await sequence_of(deal, payment) == 1
    state = await deal.allowances.fetch(wallet.user.id)
    assert state is not None
    assert state.charged_total_base_units == 300_000_000
    assert await deal.tokens.balance_of(wallet.user.id) == Decimal(7)


async def test_a_charge_that_lost_its_sequence_at_its_last_attempt_has_failed() -> None:
    async with Deal.open(**FAST_CHAIN, max_payment_attempts=1) as deal:
        wallet = await allowed(deal)
        await let_another_backend_be_faster(deal, wallet)
        with pytest.raises(ChargeRefusedError) as refused:
            await deal.allowances.charge(wallet.user.id, "2", wait_for="finalized")
        assert refused.value.facts["refusal"] == "WrongSequence"
        assert await deal.tokens.balance_of(wallet.user.id) == Decimal(9)
        again = await deal.allowances.charge(wallet.user.id, "2")
        assert await sequence_of(deal, again) == 1
        await assert_books_agree(deal)


async def test_a_used_sequence_is_no_verdict_while_nobody_shows_who_took_it(deal: Deal) -> None:
    wallet = await allowed(deal)
    payment = await deal.allowances.charge(wallet.user.id, "1", wait_for="finalized")
    charges = deal._program.charges
    evidence = {"failure": {"name": "WrongSequence"}}
    with pytest.raises(RpcUnavailableError):
        await charges.may_sign_again(payment, evidence)
    assert not await charges.may_sign_again(payment, {"failure": {"name": "OverPeriodCap"}})
    assert not await charges.may_sign_again(payment, {})
    assert await sequence_of(deal, payment) == 0


async def test_a_refusal_of_the_program_ends_the_payment_with_its_name(deal: Deal) -> None:
    """The terms change between the record and the landing, which only the program can see."""
    wallet = await allowed(deal)
    tighter = AllowanceRequest("1", timedelta(days=1), "1", "9")
    prepared = await deal.allowances.prepare_change(wallet.user.id, tighter)
    charges = deal._program.charges
    build = charges.movement

    async def tighten(payment_id: UUID, *rest: object) -> object:
        built = await build(payment_id, *rest)  # type: ignore[arg-type]
        charges.movement = build  # type: ignore[method-assign]
        await deal.allowances.submit_signed(prepared.id, wallet.sign(prepared.transaction))
        return built

    charges.movement = tighten  # type: ignore[method-assign, assignment]
    with pytest.raises(ChargeRefusedError) as refused:
        await deal.allowances.charge(wallet.user.id, "2", wait_for="finalized")
    assert refused.value.facts["refusal"] == "OverChargeLimit"
    assert "most that one charge may take" in refused.value.message
    assert await deal.tokens.balance_of(wallet.user.id) == Decimal(10)


async def test_rewards_out_of_the_vault_are_paid_once_each(deal: Deal, make_person: MakePerson) -> None:
    await deal.allowances.initialize()
    ann, bob = await make_person(), await make_person()
    await deal.allowances.fund_vault("10")
    batch_id = await deal.allowances.create_reward_batch(20)
    assert await deal.allowances.create_reward_batch(20, batch_id=batch_id) == batch_id
    paid = await asyncio.gather(
        *(deal.allowances.pay_reward(batch_id, index, ann.user.id, "1.5") for index in range(3))
    )
    assert {payment.type for payment in paid} == {"reward"}
    replay = await deal.allowances.pay_reward(batch_id, 1, ann.user.id, "1.5")
    assert replay.id == paid[1].id
    with pytest.raises(IdempotencyConflictError):
        await deal.allowances.pay_reward(batch_id, 1, bob.user.id, "1.5")
    with pytest.raises(InsufficientBalanceError):
        await deal.allowances.pay_reward(batch_id, 3, bob.user.id, "5.6")
    with pytest.raises(ChargeRefusedError) as refused:
        await deal.allowances.pay_reward(batch_id, 20, bob.user.id, "1", wait_for="finalized")
    assert refused.value.facts["refusal"] == "IndexOutOfRange"
    state = await deal.allowances.reward_batch(batch_id)
    assert [index for index in range(20) if state.is_paid(index)] == [0, 1, 2]
    assert await deal.tokens.balance_of(ann.user.id) == Decimal("4.5")
    with pytest.raises(PaymentNotFoundError):
        await deal.allowances.reward_batch(uuid4())
    with pytest.raises(PaymentNotFoundError):
        await deal.allowances.events(str(Keypair().sign_message(b"of nobody")))


async def test_a_program_that_is_not_there_is_named() -> None:
    async with Deal.open(**FAST_CHAIN, allowance_program=str(Pubkey.new_unique())) as deal:
        with pytest.raises(ConfigurationError, match="dealctl program deploy"):
            await deal.allowances.initialize()
        await assert_books_agree(deal)


async def test_the_embedded_chains_program_is_this_versions_and_needs_no_deployment(deal: Deal) -> None:
    status = await deal.allowances.publisher.status()
    assert (status.is_deployed, status.is_current) == (True, True)
    assert status.to_dict()["chain_sha256"] == status.shipped_sha256
    assert await deal.allowances.publisher.deploy() == status
    assert await deal.allowances.publisher.upgrade() == status
    assert "allowance_program" not in await deal.keystore.names()
