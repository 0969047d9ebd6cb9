"""Every table says whose its rows are."""

from __future__ import annotations

import deal_sdk.records  # noqa: F401  declares the tables
from deal_sdk.accounting.personal_rows import NOBODYS_TABLES, OWNED_TABLES
from deal_sdk.records.tables import metadata


def test_every_table_is_somebody_s_or_nobody_s() -> None:
    assert set(OWNED_TABLES) | NOBODYS_TABLES == set(metadata.tables)
    assert set(OWNED_TABLES) & NOBODYS_TABLES == set()
