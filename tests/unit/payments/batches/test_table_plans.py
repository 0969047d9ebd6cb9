"""Whether lookup tables pay off: fees saved against fees, rent and time spent."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_sdk.payments.batches.packing import Frame, pack
from deal_sdk.payments.batches.shares import Share
from deal_sdk.payments.batches.table_plans import (
    NO_TABLES,
    TablePlan,
    TablePrices,
    is_worth_it,
    joined,
    plan_tables,
    with_planned,
)
from tests.unit.payments.batches.test_packing import AUTHORITY, MINT, PAYER, SOURCE, facts

KEYS = [Keypair().pubkey() for _ in range(1_000)]
FRAME = Frame(PAYER.pubkey(), AUTHORITY.pubkey(), SOURCE, facts())
PRICES = TablePrices(10_000, 5_000, 10_000, 10**12, 1_280_640, 222_720)


def shares(count: int, *, creates: bool = False) -> list[Share]:
    return [
        Share(place, uuid4(), Pubkey.new_unique(), KEYS[place], 1, creates_account=creates)
        for place in range(count)
    ]


@pytest.mark.parametrize(
    ("count", "uses", "tables", "spared", "extensions"),
    # 15 payments fit without a table and 44 with one; an extension holds 28 addresses, at half the fee.
    [
        (16, 1, 0, 0, 0),
        (600, 1, 0, 0, 0),
        (1_000, 1, 4, 43, 39),
        (255, 2, 0, 0, 0),
        (300, 2, 2, 13, 12),
        (15, 30, 0, 0, 0),
        (16, 30, 1, 1, 1),
        (40, 30, 1, 2, 2),
    ],
)
def test_tables_are_made_where_they_save_more_than_they_take(
    count: int, uses: int, tables: int, spared: int, extensions: int
) -> None:
    plan = plan_tables(FRAME, shares(count), PRICES, uses=uses)
    assert (len(plan.tables), plan.spared, plan.extensions) == (tables, spared, extensions)
    assert plan.saved_lamports == spared * 10_000 - extensions * 5_000
    if tables:
        addresses = [one for table in plan.tables for one in table]
        assert addresses == [SOURCE, MINT, *KEYS[:count]]
        assert plan.locked_lamports == tables * 1_280_640 + (count + 2) * 222_720


def test_everything_that_tables_take_is_counted() -> None:
    # 20 carriers spared are 200,000 lamports; 10 extensions wait for each other, and then for a slot.
    plan = TablePlan((tuple(KEYS[:256]),), 20, 10, 150_000, 10_000_000, 5.5)
    fees, rent, waiting = 10 * 5_000 + 10_000, 2_000, 11 * 12_500
    assert 200_000 - fees - rent - waiting == 500
    assert is_worth_it(plan, PRICES, 1)
    for dearer in (
        replace(PRICES, extension_lamports=5_050),
        replace(PRICES, closing_lamports=10_500),
        replace(PRICES, carrier_lamports=9_975),
    ):
        assert not is_worth_it(plan, dearer, 1)
    assert not is_worth_it(replace(plan, locked_lamports=12_500_000), PRICES, 1)
    # Whoever pays the same people again is spared the carriers again, and the rent stays locked for longer.
    assert is_worth_it(replace(plan, spared=11), PRICES, 2)
    assert not is_worth_it(replace(plan, spared=11, locked_lamports=60_000_000), PRICES, 2)


def test_tables_wait_by_their_longest_and_parts_one_after_another() -> None:
    plan = plan_tables(FRAME, shares(300), PRICES, uses=2)
    assert [len(table) for table in plan.tables] == [256, 46]
    assert plan.wait_seconds == 5.5
    both = joined([plan, NO_TABLES, plan])
    assert (len(both.tables), both.wait_seconds, both.saved_lamports) == (4, 11.0, 2 * plan.saved_lamports)
    assert joined([NO_TABLES]) == NO_TABLES


def test_rent_that_is_not_there_makes_none() -> None:
    locked = 1_280_640 + 42 * 222_720
    enough = replace(PRICES, spendable_lamports=locked)
    assert plan_tables(FRAME, shares(40), enough, uses=30).tables
    assert (
        plan_tables(FRAME, shares(40), replace(enough, spendable_lamports=locked - 1), uses=30) == NO_TABLES
    )


def test_what_a_table_holds_already_costs_nothing_and_new_accounts_do_not_count() -> None:
    assert plan_tables(FRAME, shares(200, creates=True), PRICES, uses=30) == NO_TABLES
    known = with_planned(FRAME, plan_tables(FRAME, shares(100), PRICES, uses=30).tables)
    assert len(pack(known, shares(100))) == 3
    assert plan_tables(known, shares(100), PRICES, uses=30) == NO_TABLES
    more = plan_tables(known, shares(200), PRICES, uses=30)
    assert [one for table in more.tables for one in table] == KEYS[100:200]
