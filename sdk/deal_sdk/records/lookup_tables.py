"""The table of address lookup tables: what was put on the chain, and what is still to be put there."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from deal_sdk.records.tables import SIGNATURE_LENGTH, Json, _address, _time, metadata

TABLE_STATES: Final = ("filling", "ready", "closing", "closed")
_STATES = ", ".join(f"'{state}'" for state in TABLE_STATES)

lookup_tables = sa.Table(
    "lookup_tables",
    metadata,
    sa.Column("address", sa.String(44), primary_key=True),
    _address("authority"),
    sa.Column("recent_slot", sa.BigInteger, nullable=False, comment="Its address is derived from it."),
    sa.Column("addresses", Json, nullable=False, comment="What it is to hold, in this order."),
    sa.Column("state", sa.String(16), nullable=False),
    # The transaction that changes it now: committed before it is sent, none while nothing is under way.
    sa.Column("signature", sa.String(SIGNATURE_LENGTH)),
    sa.Column("signed_bytes", sa.LargeBinary),
    sa.Column("last_valid_block_height", sa.BigInteger),
    sa.Column("context_slot", sa.BigInteger),
    sa.Column("landed_slot", sa.BigInteger, comment="The last change's; nothing older says what it holds."),
    _time("created_at"),
    _time("updated_at"),
    sa.CheckConstraint(f"state IN ({_STATES})", name="state"),
    sa.CheckConstraint("(signature IS NULL) = (signed_bytes IS NULL)", name="bytes"),
    comment="Address lookup tables that batches use; their rent comes back when they are closed.",
)
sa.Index("ix_lookup_tables_state", lookup_tables.c.authority, lookup_tables.c.state)
