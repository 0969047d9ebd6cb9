"""Whether lookup tables pay off: fees saved against fees spent."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_sdk.payments.batches.packing import Frame, pack
from deal_sdk.payments.batches.shares import Share
from deal_sdk.payments.batches.table_plans import NO_TABLES, TablePrices, plan_tables, with_planned
from tests.unit.payments.batches.test_packing import AUTHORITY, MINT, PAYER, SOURCE, facts

KEYS = [Keypair().pubkey() for _ in range(600)]
FRAME = Frame(PAYER.pubkey(), AUTHORITY.pubkey(), SOURCE, facts())
PRICES = TablePrices(10_000, 5_000, 10**10, 1_000_000, 200_000)


def shares(count: int, *, creates: bool = False) -> list[Share]:
    return [
        Share(place, uuid4(), Pubkey.new_unique(), KEYS[place], 1, creates_account=creates)
        for place in range(count)
    ]


@pytest.mark.parametrize(
    ("count", "tables", "spared", "extensions"),
    # 15 payments fit without a table and 44 with one; an extension holds 28 addresses, at half the fee.
    [(15, 0, 0, 0), (26, 1, 1, 1), (30, 0, 0, 0), (31, 1, 2, 2), (600, 3, 25, 24)],
)
def test_tables_are_made_where_they_save_more_than_they_take(
    count: int, tables: int, spared: int, extensions: int
) -> None:
    plan = plan_tables(FRAME, shares(count), PRICES)
    assert (len(plan.tables), plan.spared, plan.extensions) == (tables, spared, extensions)
    assert plan.saved_lamports == spared * 10_000 - extensions * 5_000
    if tables:
        addresses = [one for table in plan.tables for one in table]
        assert addresses == [SOURCE, MINT, *KEYS[:count]]
        assert plan.locked_lamports == tables * 1_000_000 + (count + 2) * 200_000


def test_a_dear_extension_and_rent_that_is_not_there_make_none() -> None:
    assert plan_tables(FRAME, shares(40), PRICES).saved_lamports == 10_000
    assert plan_tables(FRAME, shares(40), replace(PRICES, extension_lamports=10_000)) == NO_TABLES
    locked = 1_000_000 + 42 * 200_000
    assert plan_tables(FRAME, shares(40), replace(PRICES, spendable_lamports=locked)).tables
    assert plan_tables(FRAME, shares(40), replace(PRICES, spendable_lamports=locked - 1)) == NO_TABLES


def test_what_a_table_holds_already_costs_nothing_and_new_accounts_do_not_count() -> None:
    assert plan_tables(FRAME, shares(200, creates=True), PRICES) == NO_TABLES
    known = with_planned(FRAME, plan_tables(FRAME, shares(100), PRICES).tables)
    assert len(pack(known, shares(100))) == 3
    assert plan_tables(known, shares(100), PRICES) == NO_TABLES
    more = plan_tables(known, shares(200), PRICES)
    assert [one for table in more.tables for one in table] == KEYS[100:200]
