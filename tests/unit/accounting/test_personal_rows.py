"""Every table says whose its rows are."""

from __future__ import annotations

import sqlalchemy as sa

import deal_sdk.records  # noqa: F401  declares the tables
from deal_sdk.accounting.personal_rows import NOBODYS_TABLES, OWNED_TABLES
from deal_sdk.records.tables import metadata


def test_every_table_is_somebody_s_or_nobody_s() -> None:
    assert set(OWNED_TABLES) | NOBODYS_TABLES == set(metadata.tables)
    assert set(OWNED_TABLES) & NOBODYS_TABLES == set()


def test_a_batch_says_nothing_of_whom_it_paid() -> None:
    """Its lines are a count, their content a hash: there is nothing to hand over, or to erase, for a user."""
    columns = metadata.tables["payment_batches"].columns
    assert {name for name, column in columns.items() if isinstance(column.type, sa.String)} == {
        *("key", "fingerprint", "source_address", "source_account"),
    }
    assert isinstance(columns["lines"].type, sa.Integer)
    assert not any(isinstance(column.type, sa.JSON | sa.LargeBinary) for column in columns)
