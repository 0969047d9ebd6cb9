"""What each instruction does when it is allowed."""

from __future__ import annotations

from uuid import UUID

import pytest
from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_sdk.chain import CLASSIC_TOKEN_PROGRAM, TOKEN_2022_PROGRAM
from deal_sdk.chain.allowance import AllowanceTerms
from tests.unit.program.program_world import START, TERMS, ProgramWorld, later

SYSTEM = Pubkey.default()


@pytest.fixture(scope="module", params=[CLASSIC_TOKEN_PROGRAM, TOKEN_2022_PROGRAM], ids=["classic", "2022"])
def world(request: pytest.FixtureRequest) -> ProgramWorld:
    return ProgramWorld.started(token_program=request.param)


def test_a_merchant_begins_with_its_creator_as_authority(world: ProgramWorld) -> None:
    merchant = world.merchant
    assert merchant.creator == merchant.authority == world.creator.pubkey()
    assert (merchant.mint, merchant.treasury, merchant.reward_vault) == (
        world.mint,
        world.treasury,
        world.vault,
    )
    assert merchant.token_program == world.token_program
    assert merchant.pending_authority is None
    assert merchant.decimals == 8
    assert not merchant.is_paused


def test_an_allowance_opens_with_its_approval_in_one_transaction(world: ProgramWorld) -> None:
    owner = world.owner()
    landed = world.send(owner.opening(), owner.keypair)
    assert landed.error is None
    state = owner.state
    assert (state.merchant, state.owner) == (world.merchant_address, owner.keypair.pubkey())
    assert (state.token_account, state.terms) == (owner.token_account, TERMS)
    assert (state.next_sequence, state.last_reference, state.is_open) == (0, None, True)
    assert (state.period_start, state.spent_in_period_base_units) == (START, 0)
    (event,) = world.events(landed)
    assert event.name == "AllowanceOpened"
    assert event.fields["cap_per_period"] == TERMS.cap_per_period_base_units
    assert event.fields["owner"] == owner.keypair.pubkey()


def test_a_charge_pays_the_treasury_and_takes_its_sequence(world: ProgramWorld) -> None:
    owner = world.opened()
    before = world.balance(world.treasury)
    reference = UUID(int=2**127 + 5)
    landed = owner.charge(250, 0, reference)
    assert landed.error is None
    assert world.balance(world.treasury) == before + 250
    assert world.balance(owner.token_account) == 9_750
    state = owner.state
    assert (state.next_sequence, state.last_reference) == (1, reference)
    assert (state.spent_in_period_base_units, state.charged_total_base_units) == (250, 250)
    (event,) = world.events(landed)
    assert event.name == "Charged"
    assert event.fields == {
        "merchant": world.merchant_address,
        "owner": owner.keypair.pubkey(),
        "amount": 250,
        "sequence": 0,
        "reference": reference,
        "spent_in_period": 250,
        "period_start": START,
    }


def test_two_transactions_with_one_sequence_charge_once(world: ProgramWorld) -> None:
    owner = world.opened()
    assert owner.charge(100, 0).error is None
    assert owner.charge(100, 0).error == "WrongSequence"
    assert owner.state.charged_total_base_units == 100


def test_several_users_are_charged_in_one_transaction_or_none(world: ProgramWorld) -> None:
    first, second = world.opened(), world.opened()
    landed = world.send([first.charging(10), second.charging(20)], world.creator)
    assert landed.error is None
    assert [event.fields["amount"] for event in world.events(landed)] == [10, 20]
    refused = world.send([first.charging(10, 1), second.charging(20, 0)], world.creator)
    assert refused.error == "WrongSequence"
    assert first.state.next_sequence == 1


def test_a_new_period_begins_where_the_last_one_ended(world: ProgramWorld) -> None:
    owner = world.opened()
    try:
        assert owner.charge(600, 0).error is None
        assert owner.charge(401, 1).error == "OverPeriodCap"
        world.set_time(START + 3_599)
        assert owner.charge(401, 1).error == "OverPeriodCap"
        world.set_time(START + 2 * 3_600 + 100)
        assert owner.charge(401, 1).error is None
        assert owner.state.period_start == START + 2 * 3_600
        assert owner.state.spent_in_period_base_units == 401
        world.set_time(TERMS.expires_at)
        assert owner.charge(1, 2).error == "AllowanceExpired"
    finally:
        world.set_time(START)


def test_an_owner_changes_terms_and_what_was_spent_stays_spent(world: ProgramWorld) -> None:
    owner = world.opened()
    assert owner.charge(600, 0).error is None
    lower = AllowanceTerms(300, 7_200, 300)
    change = world.client.change_allowance(
        owner=owner.keypair.pubkey(), merchant=world.merchant_address, terms=lower
    )
    landed = world.send([change], owner.keypair)
    assert landed.error is None
    assert [event.name for event in world.events(landed)] == ["AllowanceChanged"]
    assert owner.state.terms == lower
    assert owner.charge(1, 1).error == "OverPeriodCap"
    raised = world.client.change_allowance(
        owner=owner.keypair.pubkey(), merchant=world.merchant_address, terms=later(TERMS, expires_at=0)
    )
    assert world.send([raised], owner.keypair).error is None
    assert owner.charge(400, 1).error is None


def test_a_change_first_ends_the_period_that_is_over(world: ProgramWorld) -> None:
    owner = world.opened()
    try:
        assert owner.charge(600, 0).error is None
        world.set_time(START + 3_600)
        longer = later(TERMS, period_seconds=36_000)
        change = world.client.change_allowance(
            owner=owner.keypair.pubkey(), merchant=world.merchant_address, terms=longer
        )
        assert world.send([change], owner.keypair).error is None
        assert owner.state.spent_in_period_base_units == 0
        assert owner.state.period_start == START + 3_600
    finally:
        world.set_time(START)


def test_closing_leaves_a_tombstone_and_reopening_keeps_the_sequence(world: ProgramWorld) -> None:
    owner = world.opened()
    assert owner.charge(600, 0).error is None
    close = world.client.close_allowance(owner=owner.keypair.pubkey(), merchant=world.merchant_address)
    landed = world.send([close], owner.keypair)
    assert landed.error is None
    assert world.events(landed)[0].fields["next_sequence"] == 1
    assert not owner.state.is_open
    assert owner.charge(1, 1).error == "AllowanceClosed"
    assert world.send([close], owner.keypair).error == "AllowanceClosed"

    reopened = world.send(owner.opening(), owner.keypair)
    assert reopened.error is None
    assert world.events(reopened)[0].fields["next_sequence"] == 1
    state = owner.state
    assert (state.is_open, state.next_sequence, state.spent_in_period_base_units) == (True, 1, 0)
    assert owner.charge(600, 0).error == "WrongSequence"
    assert owner.charge(600, 1).error is None


def test_lamports_sent_ahead_keep_nobody_from_opening(world: ProgramWorld) -> None:
    for lamports in (1, 10**8):
        owner = world.owner()
        world.svm.set_account(owner.allowance, Account(lamports, b"", SYSTEM))
        assert world.send(owner.opening(), owner.keypair).error is None
        assert owner.charge(5).error is None


def test_the_authority_changes_hands_in_two_steps() -> None:
    world = ProgramWorld.started()
    owner, heir = world.opened(), world.person()
    client, merchant = world.client, world.merchant_address
    proposal = client.propose_authority(
        merchant=merchant, authority=world.creator.pubkey(), new_authority=heir.pubkey()
    )
    landed = world.send([proposal], world.creator)
    assert world.events(landed)[0].fields["new_authority"] == heir.pubkey()
    assert world.merchant.pending_authority == heir.pubkey()
    assert owner.charge(1).error is None
    acceptance = client.accept_authority(merchant=merchant, new_authority=heir.pubkey())
    landed = world.send([acceptance], heir)
    assert [event.name for event in world.events(landed)] == ["AuthorityAccepted"]
    assert (world.merchant.authority, world.merchant.pending_authority) == (heir.pubkey(), None)
    assert owner.charge(1, 1, authority=world.creator.pubkey()).error == "WrongAuthority"
    assert world.send([owner.charging(1, 1)], heir).error is None


def test_a_pause_stops_charges_and_no_owner() -> None:
    world = ProgramWorld.started()
    owner, late = world.opened(), world.owner()
    authority, merchant = world.creator.pubkey(), world.merchant_address
    pause = world.client.set_paused(merchant=merchant, authority=authority, paused=True)
    landed = world.send([pause], world.creator)
    assert world.events(landed)[0].fields["paused"] is True
    assert world.merchant.is_paused
    assert owner.charge(1).error == "MerchantPaused"
    assert world.send(late.opening(), late.keypair).error == "MerchantPaused"
    change = world.client.change_allowance(
        owner=owner.keypair.pubkey(), merchant=merchant, terms=later(TERMS, max_per_charge_base_units=1)
    )
    assert world.send([change], owner.keypair).error is None
    release = world.client.set_paused(merchant=merchant, authority=authority, paused=False)
    assert world.send([release], world.creator).error is None
    assert owner.charge(1).error is None


def test_the_vault_pays_each_reward_once_and_gives_back_to_the_treasury_alone(world: ProgramWorld) -> None:
    funder = world.person()
    source = world.token_account(funder.pubkey(), 1_000)
    vault_before, treasury_before = world.balance(world.vault), world.balance(world.treasury)
    fund = world.client.fund_vault(
        world.merchant, funder=funder.pubkey(), source=source, amount_base_units=900
    )
    landed = world.send([fund], funder)
    assert world.events(landed)[0].fields["amount"] == 900

    batch_id = UUID(int=world.svm.latest_blockhash().__hash__() & (2**64 - 1))
    create = world.client.create_reward_batch(
        world.merchant, payer=world.payer.pubkey(), batch_id=batch_id, capacity=20
    )
    landed = world.send([create], world.creator)
    assert landed.error is None
    assert world.events(landed)[0].fields["batch_id"] == batch_id
    recipient = world.token_account(Keypair().pubkey(), 0)

    def paying(index: int, amount: int = 30) -> str | None:
        pay = world.client.pay_reward(
            world.merchant, batch_id=batch_id, index=index, destination=recipient, amount_base_units=amount
        )
        return world.send([pay], world.creator).error

    assert [paying(index) for index in (0, 7, 8, 19)] == [None] * 4
    assert paying(7, 31) == "AlreadyPaid"
    assert paying(20) == "IndexOutOfRange"
    assert paying(1, 0) == "ZeroAmount"
    assert world.balance(recipient) == 120
    batch = world.reward_batch(batch_id)
    assert (batch.paid_count, batch.paid_total_base_units, batch.capacity) == (4, 120, 20)
    assert [index for index in range(20) if batch.is_paid(index)] == [0, 7, 8, 19]

    withdraw = world.client.withdraw_vault(world.merchant, amount_base_units=780)
    landed = world.send([withdraw], world.creator)
    assert landed.error is None
    assert [event.name for event in world.events(landed)] == ["VaultWithdrawn"]
    assert world.balance(world.vault) == vault_before
    assert world.balance(world.treasury) == treasury_before + 780


def test_the_largest_batch_fits_one_account() -> None:
    world = ProgramWorld.started()
    batch_id = UUID(int=1)
    create = world.client.create_reward_batch(
        world.merchant, payer=world.payer.pubkey(), batch_id=batch_id, capacity=65_536
    )
    assert world.send([create], world.creator).error is None
    assert len(world.reward_batch(batch_id).bitmap) == 8_192
