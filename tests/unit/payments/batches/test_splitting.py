"""Cutting a transaction that failed: whoever the chain names stands alone, and everybody is in one part."""

from __future__ import annotations

from uuid import uuid4

import pytest
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.pubkey import Pubkey

from deal_sdk.chain.instructions import compute_unit_limit
from deal_sdk.chain.transactions import unsigned_transaction
from deal_sdk.payments.batches.building import Group, build
from deal_sdk.payments.batches.packing import Frame
from deal_sdk.payments.batches.shares import Share
from deal_sdk.payments.batches.splitting import split
from tests.unit.payments.batches.test_packing import ACCOUNTS, AUTHORITY, MINT, PAYER, SOURCE, facts, share

FRAME = Frame(PAYER.pubkey(), AUTHORITY.pubkey(), SOURCE, facts())
FROZEN = {"Custom": 17}
MEMO, FIRST_TRANSFER = 1, 2


def sent(shares: list[Share], *, by_table: bool) -> bytes:
    built = [compute_unit_limit(1_000_000), *build(FRAME, Group(uuid4(), tuple(shares)))]
    addresses = [SOURCE, MINT, *(one for accounts in ACCOUNTS.values() for one in accounts)]
    table = AddressLookupTableAccount(Pubkey.new_unique(), addresses)
    return unsigned_transaction(built, PAYER.pubkey(), lookup_tables=[table] if by_table else [])


def sizes(shares: list[Share], raw_bytes: bytes, at: int) -> list[int]:
    parts = split(shares, raw_bytes, {"InstructionError": [at, FROZEN]})
    assert [one for part in parts for one in part] == shares
    return [len(part) for part in parts]


@pytest.mark.parametrize("by_table", [True, False])
@pytest.mark.parametrize(("place", "expected"), [(0, [1, 4, 5]), (4, [4, 1, 2, 3]), (9, [9, 1])])
def test_whoever_a_transfer_paid_is_named(by_table: bool, place: int, expected: list[int]) -> None:
    shares = [share(number, number, False, False) for number in range(10)]
    assert sizes(shares, sent(shares, by_table=by_table), FIRST_TRANSFER + place) == expected


def test_memos_and_creations_between_the_transfers_do_not_count() -> None:
    shares = [
        share(0, 0, False, True),
        share(1, 1, True, False),
        share(2, 2, False, False),
        share(3, 3, False, False),
    ]
    # The group's memo, a memo, a transfer, a creation, a transfer, and then the third's.
    assert sizes(shares, sent(shares, by_table=True), FIRST_TRANSFER + 4) == [2, 1, 1]


@pytest.mark.parametrize("at", [0, MEMO, 99])
def test_an_instruction_that_pays_nobody_names_nobody(at: int) -> None:
    shares = [share(number, number, False, False) for number in range(10)]
    assert sizes(shares, sent(shares, by_table=True), at) == [5, 5]


def test_the_order_says_nothing_where_some_are_paid_already() -> None:
    shares = [share(number, number, False, False) for number in range(10)]
    assert sizes(shares[2:], sent(shares, by_table=True), FIRST_TRANSFER + 4) == [4, 4]
    assert sizes(shares[2:], sent(shares, by_table=False), FIRST_TRANSFER + 4) == [2, 1, 2, 3]
