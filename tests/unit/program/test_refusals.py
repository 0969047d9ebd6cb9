"""What each instruction refuses: whoever may not, whatever is not what it must be, and every limit."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from uuid import UUID

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_sdk.chain import TOKEN_2022_PROGRAM
from deal_sdk.chain.allowance import AllowanceTerms
from tests.unit.program.program_world import (
    PROGRAM_ID,
    START,
    TERMS,
    ProgramWorld,
    later,
    swapped,
    unsigned,
)

STRANGER = Keypair()
BATCH = UUID(int=77)
OTHER_BATCH = UUID(int=78)


@pytest.fixture(scope="module")
def world() -> ProgramWorld:
    """A merchant with a funded vault and a batch of ten rewards; no test leaves a change behind."""
    world = ProgramWorld.started()
    world.svm.airdrop(STRANGER.pubkey(), 10**10)
    funder = world.person()
    source = world.token_account(funder.pubkey(), 10_000)
    fund = world.client.fund_vault(
        world.merchant, funder=funder.pubkey(), source=source, amount_base_units=10_000
    )
    create = world.client.create_reward_batch(
        world.merchant, payer=world.payer.pubkey(), batch_id=BATCH, capacity=10
    )
    assert world.send([fund, create], funder, world.creator).error is None
    return world


@pytest.fixture(scope="module")
def other(world: ProgramWorld) -> ProgramWorld:
    """A second merchant of the same program, mint and chain, with its own creator."""
    second = ProgramWorld.__new__(ProgramWorld)
    second.__dict__.update(world.__dict__)
    second.creator = world.person()
    second.merchant_address = world.client.merchant_address(second.creator.pubkey(), world.mint)
    second.vault = second.token_account(second.merchant_address, 1_000)
    second.treasury = second.token_account(Keypair().pubkey(), 0)
    assert second.send([second.initialize()], second.creator).error is None
    create = second.client.create_reward_batch(
        second.merchant, payer=second.payer.pubkey(), batch_id=BATCH, capacity=10
    )
    assert second.send([create], second.creator).error is None
    return second


# Merchant


def fresh(**options: object) -> ProgramWorld:
    return ProgramWorld(**options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def uninitialized() -> ProgramWorld:
    return fresh()


def token_accounts(world: ProgramWorld) -> dict[str, tuple[str, Pubkey, str]]:
    """Return what may stand at the wrong place of the beginning, and what is said of it."""
    merchant, anybody = world.merchant_address, Keypair().pubkey()
    second_mint = world.new_mint()
    of_2022 = TOKEN_2022_PROGRAM
    account = world.token_account
    return {
        "treasury of another mint": ("treasury", account(anybody, 0, mint=second_mint), "WrongTreasury"),
        "treasury of the merchant": ("treasury", account(merchant, 0), "WrongTreasury"),
        "treasury is the vault": ("treasury", world.vault, "WrongTreasury"),
        "treasury of another program": (
            "treasury",
            account(anybody, 0, token_program=of_2022),
            "WrongTreasury",
        ),
        "treasury is a wallet": ("treasury", world.payer.pubkey(), "WrongTreasury"),
        "treasury is a mint": ("treasury", world.mint, "WrongTokenAccount"),
        "frozen treasury": ("treasury", account(anybody, 0, is_frozen=True), "WrongTokenAccount"),
        "vault of somebody": ("reward_vault", account(anybody, 0), "WrongVault"),
        "vault of another mint": ("reward_vault", account(merchant, 0, mint=second_mint), "WrongVault"),
        "vault with a delegate": ("reward_vault", account(merchant, 9, delegate=anybody), "WrongVault"),
        "vault that can be closed": (
            "reward_vault",
            account(merchant, 0, close_authority=anybody),
            "WrongVault",
        ),
        "vault of another program": (
            "reward_vault",
            account(merchant, 0, token_program=of_2022),
            "WrongVault",
        ),
        "frozen vault": ("reward_vault", account(merchant, 0, is_frozen=True), "WrongTokenAccount"),
        "mint of another program": ("mint", world.new_mint(owner=of_2022), "WrongMint"),
        "mint that is a token account": ("mint", world.treasury, "WrongMint"),
        "uninitialized mint": ("mint", world.new_mint(initialized=False), "WrongMint"),
        "a program that is no token program": ("token_program", Pubkey.default(), "WrongTokenProgram"),
        "the other token program": ("token_program", of_2022, "WrongMint"),
        "merchant at another address": ("merchant", anybody, "WrongAddress"),
    }


@pytest.mark.parametrize("case", sorted(token_accounts(fresh())))
def test_a_merchant_does_not_begin_with(uninitialized: ProgramWorld, case: str) -> None:
    name, address, error = token_accounts(uninitialized)[case]
    accounts = {name: address}
    if name == "mint":
        accounts["merchant"] = uninitialized.client.merchant_address(uninitialized.creator.pubkey(), address)
    built = uninitialized.initialize(**accounts)
    assert uninitialized.send([built], uninitialized.creator).error == error


def test_a_merchant_begins_once_and_only_by_its_creator(
    world: ProgramWorld, uninitialized: ProgramWorld
) -> None:
    assert world.send([world.initialize()], world.creator).error == "AlreadyInitialized"
    assert uninitialized.send([unsigned(uninitialized.initialize(), 1)]).error == "MissingSignature"
    stolen = uninitialized.initialize(creator=STRANGER.pubkey())
    assert uninitialized.send([stolen], STRANGER).error == "WrongAddress"


@pytest.mark.parametrize("kind", [1, 3, 4, 9, 10, 14, 16, 24, 25, 27, 500])
def test_a_mint_whose_amounts_could_change_is_refused(kind: int) -> None:
    world = fresh(token_program=TOKEN_2022_PROGRAM)
    extension = kind.to_bytes(2, "little") + (8).to_bytes(2, "little") + bytes(8)
    mint = world.new_mint(extensions=extension)
    built = world.initialize(mint=mint, merchant=world.client.merchant_address(world.creator.pubkey(), mint))
    assert world.send([built], world.creator).error == "UnsupportedMint"


def test_only_the_authority_governs(world: ProgramWorld) -> None:
    client, merchant, stranger = world.client, world.merchant_address, STRANGER.pubkey()
    steps = [
        client.propose_authority(merchant=merchant, authority=stranger, new_authority=stranger),
        client.set_paused(merchant=merchant, authority=stranger, paused=True),
    ]
    for step in steps:
        assert world.send([step], STRANGER).error == "WrongAuthority"
    right = client.set_paused(merchant=merchant, authority=world.creator.pubkey(), paused=True)
    assert world.send([unsigned(right, 0)]).error == "MissingSignature"
    assert not world.merchant.is_paused


def test_only_the_proposed_one_takes_over(world: ProgramWorld) -> None:
    client, merchant, creator = world.client, world.merchant_address, world.creator.pubkey()
    taking = client.accept_authority(merchant=merchant, new_authority=STRANGER.pubkey())
    assert world.send([taking], STRANGER).error == "NotProposed"
    heir = world.person()
    proposal = client.propose_authority(merchant=merchant, authority=creator, new_authority=heir.pubkey())
    assert world.send([proposal], world.creator).error is None
    assert world.send([taking], STRANGER).error == "NotProposed"
    right = client.accept_authority(merchant=merchant, new_authority=heir.pubkey())
    assert world.send([unsigned(right, 0)]).error == "MissingSignature"
    withdrawn = client.propose_authority(merchant=merchant, authority=creator, new_authority=None)
    assert world.send([withdrawn], world.creator).error is None
    assert world.send([right], heir).error == "NotProposed"
    assert world.merchant.authority == creator


# Opening, changing, closing


def test_an_allowance_does_not_open_without_its_approval(world: ProgramWorld) -> None:
    owner = world.owner()
    opening = owner.opening()[1]
    assert world.send([opening], owner.keypair).error == "NotDelegate"
    elsewhere = owner.approving(delegate=STRANGER.pubkey())
    assert world.send([elsewhere, opening], owner.keypair).error == "NotDelegate"
    assert world.svm.get_account(owner.allowance) is None


def test_nobody_opens_for_another(world: ProgramWorld) -> None:
    owner = world.owner()
    approval, opening = owner.opening()
    # A signature counts for the whole transaction, so the approval goes before.
    assert world.send([approval], owner.keypair).error is None
    assert world.send([unsigned(opening, 1)]).error == "MissingSignature"
    stolen = swapped(opening, world.positions("open_allowance"), {"owner": STRANGER.pubkey()})
    assert world.send([approval, stolen], owner.keypair, STRANGER).error == "WrongTokenAccount"
    unpaid = swapped(opening, world.positions("open_allowance"), {"payer": STRANGER.pubkey()})
    assert world.send([approval, unsigned(unpaid, 0)], owner.keypair).error == "MissingSignature"


def test_an_allowance_opens_only_at_its_address_and_for_real_accounts(
    world: ProgramWorld, other: ProgramWorld
) -> None:
    owner = world.owner()
    elsewhere = Keypair().pubkey()
    frozen = world.token_account(owner.keypair.pubkey(), 5, delegate=owner.allowance, is_frozen=True)
    foreign = world.token_account(owner.keypair.pubkey(), 5, delegate=owner.allowance, mint=world.new_mint())
    of_2022 = world.token_account(
        owner.keypair.pubkey(), 5, delegate=owner.allowance, token_program=TOKEN_2022_PROGRAM
    )
    cases = [
        ({"allowance": elsewhere}, "NotDelegate"),
        ({"merchant": owner.allowance}, "WrongAccountOwner"),
        ({"merchant": world.client.reward_batch_address(world.merchant_address, BATCH)}, "WrongAccountKind"),
        ({"merchant": other.merchant_address}, "WrongAddress"),
        ({"token_account": frozen}, "WrongTokenAccount"),
        ({"token_account": foreign}, "WrongTokenAccount"),
        ({"token_account": of_2022}, "WrongTokenAccount"),
        ({"token_account": world.mint}, "WrongTokenAccount"),
        ({"token_account": world.treasury}, "AccountsAliased"),
    ]
    for accounts, error in cases:
        assert world.send(owner.opening(**accounts), owner.keypair).error == error, accounts
    approval = owner.approving(delegate=elsewhere)
    opening = owner.opening(allowance=elsewhere)[1]
    assert world.send([approval, opening], owner.keypair).error == "WrongAddress"


def other_bump(*seeds: bytes) -> Pubkey:
    """Return the next address of some seeds after the canonical one."""
    _, bump = Pubkey.find_program_address(list(seeds), PROGRAM_ID)
    for lower in range(bump - 1, -1, -1):
        ingredients = (*seeds, bytes([lower]), bytes(PROGRAM_ID), b"ProgramDerivedAddress")
        address = Pubkey(sha256(b"".join(ingredients)).digest())
        if not address.is_on_curve():
            assert address == Pubkey.create_program_address([*seeds, bytes([lower])], PROGRAM_ID)
            return address
    raise AssertionError("no other bump gives an address")


def test_an_address_of_another_bump_is_nobodys(world: ProgramWorld, uninitialized: ProgramWorld) -> None:
    """The seeds give many addresses; were each accepted, an owner had as many sequences."""
    owner = world.owner()
    second = other_bump(b"allowance", bytes(world.merchant_address), bytes(owner.keypair.pubkey()))
    opening = [owner.approving(delegate=second), owner.opening(allowance=second)[1]]
    assert world.send(opening, owner.keypair).error == "WrongAddress"
    creator, mint = uninitialized.creator.pubkey(), uninitialized.mint
    merchant = other_bump(b"merchant", bytes(creator), bytes(mint))
    beginning = uninitialized.initialize(merchant=merchant)
    assert uninitialized.send([beginning], uninitialized.creator).error == "WrongAddress"


@pytest.mark.parametrize(
    "terms",
    [
        later(TERMS, cap_per_period_base_units=0, max_per_charge_base_units=0),
        later(TERMS, max_per_charge_base_units=0),
        later(TERMS, max_per_charge_base_units=1_001),
        later(TERMS, period_seconds=0),
        later(TERMS, period_seconds=59),
        later(TERMS, period_seconds=10 * 366 * 86_400 + 1),
        later(TERMS, expires_at=START),
        later(TERMS, expires_at=1),
    ],
)
def test_impossible_terms_are_neither_opened_nor_changed_to(
    world: ProgramWorld, terms: AllowanceTerms
) -> None:
    new, opened = world.owner(), world.opened()
    assert world.send(new.opening(terms), new.keypair).error == "InvalidTerms"
    change = world.client.change_allowance(
        owner=opened.keypair.pubkey(), merchant=world.merchant_address, terms=terms
    )
    assert world.send([change], opened.keypair).error == "InvalidTerms"
    assert opened.state.terms == TERMS


def test_an_open_allowance_is_not_opened_again(world: ProgramWorld) -> None:
    owner = world.opened()
    assert owner.charge(600).error is None
    assert world.send(owner.opening(), owner.keypair).error == "AllowanceOpen"


def test_another_merchants_allowance_is_not_reopened_here(world: ProgramWorld, other: ProgramWorld) -> None:
    owner = world.opened()
    close = world.client.close_allowance(owner=owner.keypair.pubkey(), merchant=world.merchant_address)
    assert world.send([close], owner.keypair).error is None
    crossed = owner.opening(merchant=other.merchant_address)
    assert world.send(crossed, owner.keypair).error == "WrongMerchant"


@pytest.mark.parametrize("name", ["change_allowance", "close_allowance"])
def test_only_the_owner_changes_and_closes(world: ProgramWorld, name: str) -> None:
    owner = world.opened()
    terms = {"terms": TERMS} if name == "change_allowance" else {}
    build: Callable[..., Instruction] = getattr(world.client, name)
    right = build(owner=owner.keypair.pubkey(), merchant=world.merchant_address, **terms)
    positions = world.positions(name)
    assert world.send([unsigned(right, 0)]).error == "MissingSignature"
    stolen = swapped(right, positions, {"owner": world.creator.pubkey()})
    assert world.send([stolen], world.creator).error == "WrongOwner"
    wrong_kind = swapped(right, positions, {"allowance": world.merchant_address})
    assert world.send([wrong_kind], owner.keypair).error == "WrongAccountKind"
    foreign = swapped(right, positions, {"allowance": owner.token_account})
    assert world.send([foreign], owner.keypair).error == "WrongAccountOwner"
    assert owner.state.is_open


def test_a_closed_allowance_is_not_changed(world: ProgramWorld) -> None:
    owner = world.opened()
    key, merchant = owner.keypair.pubkey(), world.merchant_address
    assert (
        world.send([world.client.close_allowance(owner=key, merchant=merchant)], owner.keypair).error is None
    )
    change = world.client.change_allowance(owner=key, merchant=merchant, terms=TERMS)
    assert world.send([change], owner.keypair).error == "AllowanceClosed"


# Charging


def test_a_charge_takes_no_wrong_account(world: ProgramWorld, other: ProgramWorld) -> None:
    owner, second = world.opened(), world.opened()
    elsewhere = other.opened()
    key = owner.keypair.pubkey()
    mine_too = world.token_account(key, 500, delegate=owner.allowance)
    cases = [
        ({"authority": STRANGER.pubkey()}, "WrongAuthority"),
        ({"merchant": other.merchant_address}, "WrongAuthority"),
        ({"merchant": owner.allowance}, "WrongAccountKind"),
        ({"merchant": world.mint}, "WrongAccountOwner"),
        ({"allowance": elsewhere.allowance}, "WrongMerchant"),
        ({"allowance": second.allowance}, "WrongTokenAccount"),
        ({"allowance": world.merchant_address}, "WrongAccountKind"),
        ({"allowance": owner.token_account}, "WrongAccountOwner"),
        ({"token_account": mine_too}, "WrongTokenAccount"),
        ({"token_account": world.treasury}, "WrongTokenAccount"),
        ({"token_account": world.vault}, "WrongTokenAccount"),
        ({"mint": world.new_mint()}, "WrongMint"),
        ({"treasury": world.token_account(world.creator.pubkey(), 0)}, "WrongTreasury"),
        ({"treasury": owner.token_account}, "WrongTreasury"),
        ({"treasury": world.vault}, "WrongTreasury"),
        ({"token_program": TOKEN_2022_PROGRAM}, "WrongTokenProgram"),
        ({"token_program": PROGRAM_ID}, "WrongTokenProgram"),
    ]
    for accounts, error in cases:
        landed = world.send([owner.charging(1, **accounts)], world.creator, STRANGER)
        assert landed.error == error, accounts
    assert world.send([unsigned(owner.charging(1), 0)]).error == "MissingSignature"
    assert owner.state.next_sequence == 0


def test_a_charge_stays_within_every_limit(world: ProgramWorld) -> None:
    owner = world.opened()
    assert owner.charge(0).error == "ZeroAmount"
    assert owner.charge(601).error == "OverChargeLimit"
    assert owner.charge(2**64 - 1).error == "OverChargeLimit"
    assert owner.charge(600, 1).error == "WrongSequence"
    assert owner.charge(600, 2**64 - 1).error == "WrongSequence"
    assert owner.charge(600, 0).error is None
    assert owner.charge(401, 1).error == "OverPeriodCap"
    assert owner.charge(400, 1).error is None
    assert owner.charge(1, 2).error == "OverPeriodCap"
    assert owner.state.charged_total_base_units == 1_000


def test_a_refused_transfer_leaves_the_sequence(world: ProgramWorld) -> None:
    poor = world.opened(amount=10)
    assert poor.charge(11).error == "token error 1"
    assert poor.state.next_sequence == 0
    owner = world.opened()
    assert world.send([owner.approving(5)], owner.keypair).error is None
    assert owner.charge(6).error == "token error 1"
    assert owner.charge(5).error is None
    assert owner.state.next_sequence == 1


def test_a_token_account_that_changed_hands_is_not_charged(world: ProgramWorld) -> None:
    owner = world.opened()
    account = world.svm.get_account(owner.token_account)
    assert account is not None
    data = bytearray(account.data)
    data[32:64] = bytes(STRANGER.pubkey())
    world.svm.set_account(owner.token_account, type(account)(account.lamports, bytes(data), account.owner))
    assert owner.charge(1).error == "WrongTokenAccount"


# Vault and rewards


def test_the_vault_takes_and_gives_only_as_it_should(world: ProgramWorld, other: ProgramWorld) -> None:
    funder = world.person()
    source = world.token_account(funder.pubkey(), 100)
    fund = world.client.fund_vault(world.merchant, funder=funder.pubkey(), source=source, amount_base_units=5)
    positions = world.positions("fund_vault")
    for accounts, error in [
        ({"source": world.vault}, "AccountsAliased"),
        ({"reward_vault": source}, "AccountsAliased"),
        ({"reward_vault": other.vault}, "WrongVault"),
        ({"mint": world.new_mint()}, "WrongMint"),
        ({"token_program": TOKEN_2022_PROGRAM}, "WrongTokenProgram"),
        ({"merchant": world.mint}, "WrongAccountOwner"),
    ]:
        assert world.send([swapped(fund, positions, accounts)], funder).error == error, accounts
    assert world.send([unsigned(fund, 0)]).error == "MissingSignature"
    nothing = world.client.fund_vault(
        world.merchant, funder=funder.pubkey(), source=source, amount_base_units=0
    )
    assert world.send([nothing], funder).error == "ZeroAmount"

    withdraw = world.client.withdraw_vault(world.merchant, amount_base_units=5)
    positions = world.positions("withdraw_vault")
    for accounts, error in [
        ({"authority": STRANGER.pubkey()}, "WrongAuthority"),
        ({"treasury": world.token_account(world.creator.pubkey(), 0)}, "WrongTreasury"),
        ({"reward_vault": other.vault}, "WrongVault"),
        ({"mint": world.new_mint()}, "WrongMint"),
        ({"token_program": TOKEN_2022_PROGRAM}, "WrongTokenProgram"),
    ]:
        landed = world.send([swapped(withdraw, positions, accounts)], world.creator, STRANGER)
        assert landed.error == error, accounts
    assert world.send([unsigned(withdraw, 0)]).error == "MissingSignature"
    nothing = world.client.withdraw_vault(world.merchant, amount_base_units=0)
    assert world.send([nothing], world.creator).error == "ZeroAmount"


def test_a_batch_begins_once_at_its_address_by_the_authority(world: ProgramWorld) -> None:
    def creating(batch_id: UUID = OTHER_BATCH, capacity: int = 10) -> Instruction:
        return world.client.create_reward_batch(
            world.merchant, payer=world.payer.pubkey(), batch_id=batch_id, capacity=capacity
        )

    positions = world.positions("create_reward_batch")
    assert world.send([creating(BATCH)], world.creator).error == "AlreadyInitialized"
    for capacity in (0, 65_537, 2**32 - 1):
        assert world.send([creating(capacity=capacity)], world.creator).error == "InvalidCapacity"
    elsewhere = swapped(creating(), positions, {"batch": Keypair().pubkey()})
    assert world.send([elsewhere], world.creator).error == "WrongAddress"
    stolen = swapped(creating(), positions, {"authority": STRANGER.pubkey()})
    assert world.send([stolen], STRANGER).error == "WrongAuthority"
    assert world.send([unsigned(creating(), 1)]).error == "MissingSignature"
    unpaid = swapped(creating(), positions, {"payer": STRANGER.pubkey()})
    assert world.send([unsigned(unpaid, 0)], world.creator).error == "MissingSignature"


def test_a_reward_takes_no_wrong_account(world: ProgramWorld, other: ProgramWorld) -> None:
    recipient = world.token_account(Keypair().pubkey(), 0)
    pay = world.client.pay_reward(
        world.merchant, batch_id=BATCH, index=3, destination=recipient, amount_base_units=5
    )
    positions = world.positions("pay_reward")
    cases = [
        ({"authority": STRANGER.pubkey()}, "WrongAuthority"),
        ({"batch": other.client.reward_batch_address(other.merchant_address, BATCH)}, "WrongMerchant"),
        ({"batch": world.merchant_address}, "WrongAccountKind"),
        ({"batch": recipient}, "WrongAccountOwner"),
        ({"reward_vault": other.vault}, "WrongVault"),
        ({"destination": world.vault}, "AccountsAliased"),
        ({"mint": world.new_mint()}, "WrongMint"),
        ({"token_program": TOKEN_2022_PROGRAM}, "WrongTokenProgram"),
    ]
    for accounts, error in cases:
        landed = world.send([swapped(pay, positions, accounts)], world.creator, STRANGER)
        assert landed.error == error, accounts
    assert world.send([unsigned(pay, 0)]).error == "MissingSignature"
    foreign = world.token_account(Keypair().pubkey(), 0, mint=world.new_mint())
    elsewhere = swapped(pay, positions, {"destination": foreign})
    assert world.send([elsewhere], world.creator).error == "token error 3"
    assert not world.reward_batch(BATCH).is_paid(3)


def test_a_paused_merchant_pays_no_reward() -> None:
    world = ProgramWorld.started()
    create = world.client.create_reward_batch(
        world.merchant, payer=world.payer.pubkey(), batch_id=BATCH, capacity=1
    )
    pause = world.client.set_paused(
        merchant=world.merchant_address, authority=world.creator.pubkey(), paused=True
    )
    assert world.send([create, pause], world.creator).error is None
    pay = world.client.pay_reward(
        world.merchant,
        batch_id=BATCH,
        index=0,
        destination=world.token_account(Keypair().pubkey(), 0),
        amount_base_units=5,
    )
    assert world.send([pay], world.creator).error == "MerchantPaused"


# Every instruction


def every_instruction(world: ProgramWorld) -> dict[str, Instruction]:
    owner = world.opened()
    key, merchant = owner.keypair.pubkey(), world.merchant_address
    client, creator = world.client, world.creator.pubkey()
    recipient = world.token_account(Keypair().pubkey(), 0)
    return {
        "initialize_merchant": world.initialize(),
        "propose_authority": client.propose_authority(
            merchant=merchant, authority=creator, new_authority=None
        ),
        "accept_authority": client.accept_authority(merchant=merchant, new_authority=creator),
        "set_paused": client.set_paused(merchant=merchant, authority=creator, paused=False),
        "open_allowance": owner.opening()[1],
        "change_allowance": client.change_allowance(owner=key, merchant=merchant, terms=TERMS),
        "charge": owner.charging(1),
        "close_allowance": client.close_allowance(owner=key, merchant=merchant),
        "fund_vault": client.fund_vault(
            world.merchant, funder=creator, source=owner.token_account, amount_base_units=1
        ),
        "withdraw_vault": client.withdraw_vault(world.merchant, amount_base_units=1),
        "create_reward_batch": client.create_reward_batch(
            world.merchant, payer=world.payer.pubkey(), batch_id=UUID(int=5), capacity=1
        ),
        "pay_reward": client.pay_reward(
            world.merchant, batch_id=BATCH, index=0, destination=recipient, amount_base_units=1
        ),
    }


def everybody(instruction: Instruction) -> Instruction:
    """Return it with no signature asked for, so that only its form is judged."""
    metas = [AccountMeta(meta.pubkey, False, meta.is_writable) for meta in instruction.accounts]
    return Instruction(instruction.program_id, bytes(instruction.data), metas)


def test_data_of_another_length_is_refused_by_every_instruction(world: ProgramWorld) -> None:
    for name, built in every_instruction(world).items():
        for data in (bytes(built.data)[:-1], bytes(built.data) + b"\x00"):
            changed = everybody(Instruction(built.program_id, data, list(built.accounts)))
            assert world.send([changed]).error == "InvalidInstruction", name


def test_missing_accounts_are_refused_by_every_instruction(world: ProgramWorld) -> None:
    for name, built in every_instruction(world).items():
        short = everybody(Instruction(built.program_id, bytes(built.data), list(built.accounts)[:-1]))
        assert world.send([short]).error == "NotEnoughAccounts", name


def test_unknown_instructions_and_values_are_refused(world: ProgramWorld) -> None:
    for data in (b"", b"1234567", b"12345678"):
        assert world.send([Instruction(PROGRAM_ID, data, [])]).error == "InvalidInstruction"
    built = every_instruction(world)["set_paused"]
    neither = Instruction(PROGRAM_ID, bytes(built.data)[:-1] + b"\x02", list(built.accounts))
    assert world.send([neither], world.creator).error == "InvalidInstruction"
