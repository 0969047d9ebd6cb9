"""Packing: never over a bound, everybody exactly once, and the size counted is the size sent."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from deal_sdk.chain import (
    CLASSIC_TOKEN_PROGRAM,
    TOKEN_2022_PROGRAM,
    KeypairSigner,
    LatestBlockhash,
    MintFacts,
    associated_token_address,
)
from deal_sdk.chain.instructions import compute_unit_limit, compute_unit_price
from deal_sdk.chain.transactions import MAX_TRANSACTION_BYTES, build_and_sign
from deal_sdk.payments.batches.building import Group, build
from deal_sdk.payments.batches.packing import (
    MAX_ACCOUNT_LOCKS,
    MAX_COMPUTE_UNITS,
    MAX_INSTRUCTIONS,
    Frame,
    pack,
    size_bytes,
)
from deal_sdk.payments.batches.shares import Share

PAYER, AUTHORITY = Keypair(), Keypair()
SOURCE, MINT = Pubkey.new_unique(), Pubkey.new_unique()
OWNERS = [Pubkey.new_unique() for _ in range(90)]
ACCOUNTS = {
    program_id: [associated_token_address(owner, MINT, program_id) for owner in OWNERS]
    for program_id in (CLASSIC_TOKEN_PROGRAM, TOKEN_2022_PROGRAM)
}
TABLES = (Pubkey.new_unique(), Pubkey.new_unique())
BUDGET = (compute_unit_limit(1_400_000), compute_unit_price(2**63))
BLOCKHASH = LatestBlockhash(Hash.default(), 1, 1)


def facts(program_id: Pubkey = CLASSIC_TOKEN_PROGRAM) -> MintFacts:
    return MintFacts(MINT, program_id, 8, 1, None, None, (), None, None, 1)


def share(
    place: int, wallet: int, creates: bool, memo: bool, program_id: Pubkey = CLASSIC_TOKEN_PROGRAM
) -> Share:
    account = ACCOUNTS[program_id][wallet]
    return Share(place, uuid4(), OWNERS[wallet], account, 2**63 - 1, False, creates, memo)


drawn_shares = st.lists(
    st.tuples(st.integers(0, len(OWNERS) - 1), st.booleans(), st.booleans()), min_size=1, max_size=90
)
tables_of = st.dictionaries(
    st.sampled_from([*ACCOUNTS[CLASSIC_TOKEN_PROGRAM], *OWNERS, MINT, SOURCE]),
    st.sampled_from(TABLES),
    max_size=180,
)
payers = st.sampled_from([PAYER, AUTHORITY])
programs = st.sampled_from([CLASSIC_TOKEN_PROGRAM, TOKEN_2022_PROGRAM])


@settings(max_examples=60, deadline=None)
@given(drawn_shares, tables_of, payers, programs)
def test_groups_are_within_every_bound_and_hold_everybody_once(
    drawn: list[tuple[int, bool, bool]], tables: dict[Pubkey, Pubkey], payer: Keypair, program_id: Pubkey
) -> None:
    shares = [share(place, *one, program_id) for place, one in enumerate(drawn, start=1)]
    frame = Frame(payer.pubkey(), AUTHORITY.pubkey(), SOURCE, facts(program_id), tables)
    groups = pack(frame, shares)
    assert [one for group in groups for one in group] == shares
    held = [
        AddressLookupTableAccount(table, [address for address, at in tables.items() if at == table])
        for table in TABLES
    ]
    for group in groups:
        instructions = [*BUDGET, *build(frame, Group(uuid4(), tuple(group)))]
        signed = asyncio.run(
            build_and_sign(
                instructions,
                payer=KeypairSigner(payer),
                signers=[KeypairSigner(AUTHORITY)],
                blockhash=BLOCKHASH,
                lookup_tables=held,
            )
        )
        assert len(signed.raw_bytes) == size_bytes(frame, group) <= MAX_TRANSACTION_BYTES
        message = VersionedTransaction.from_bytes(signed.raw_bytes).message
        lookups = message.address_table_lookups
        locks = len(message.account_keys) + sum(
            len(one.writable_indexes) + len(one.readonly_indexes) for one in lookups
        )
        assert locks <= MAX_ACCOUNT_LOCKS
        assert len(instructions) + 6 * sum(one.creates_account for one in group) <= MAX_INSTRUCTIONS


def test_groups_are_as_large_as_the_bytes_allow() -> None:
    existing = [share(place, place, False, False) for place in range(1, 90)]
    frame = Frame(PAYER.pubkey(), AUTHORITY.pubkey(), SOURCE, facts())
    assert len(pack(frame, existing)[0]) == 15
    sponsored = Frame(AUTHORITY.pubkey(), AUTHORITY.pubkey(), SOURCE, facts())
    assert len(pack(sponsored, existing)[0]) == 17
    tabled = Frame(
        PAYER.pubkey(),
        AUTHORITY.pubkey(),
        SOURCE,
        facts(),
        {address: TABLES[0] for address in (*ACCOUNTS[CLASSIC_TOKEN_PROGRAM], MINT, SOURCE)},
    )
    assert len(pack(tabled, existing)[0]) == 44
    missing = [share(place, place, True, False) for place in range(1, 90)]
    assert len(pack(frame, missing)[0]) == 7
    assert MAX_COMPUTE_UNITS > 44 * 15_000
