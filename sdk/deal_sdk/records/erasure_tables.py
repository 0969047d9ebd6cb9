"""The table of erased users: when, and how much of what; nothing of who they were."""

from __future__ import annotations

import sqlalchemy as sa

from deal_sdk.records.tables import Json, _time, metadata

user_erasures = sa.Table(
    "user_erasures",
    metadata,
    sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id"), primary_key=True),
    _time("erased_at"),
    sa.Column("erased", Json, nullable=False, comment="How many rows of each kind."),
    comment="The users whose personal data was erased.",
)
