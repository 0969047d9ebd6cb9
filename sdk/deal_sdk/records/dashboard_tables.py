"""The tables of the dashboard's access: tokens and the sessions begun with them, both kept as digests."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from deal_sdk.records.tables import _one_of, _time, metadata

DASHBOARD_ROLES: Final = ("viewer", "operator")
TOKEN_NAME_LENGTH: Final = 64
DIGEST_LENGTH: Final = 64

dashboard_tokens = sa.Table(
    "dashboard_tokens",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.String(TOKEN_NAME_LENGTH), nullable=False, unique=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("digest", sa.String(DIGEST_LENGTH), nullable=False, unique=True, comment="SHA-256, in hex."),
    _time("created_at"),
    _time("revoked_at", nullable=True),
    _one_of("role", DASHBOARD_ROLES, "role"),
    comment="A revoked token stays, so that its name tells who did what.",
)

dashboard_sessions = sa.Table(
    "dashboard_sessions",
    metadata,
    sa.Column("digest", sa.String(DIGEST_LENGTH), primary_key=True, comment="SHA-256 of the cookie, in hex."),
    sa.Column("token_id", sa.Uuid, sa.ForeignKey("dashboard_tokens.id"), nullable=False, index=True),
    _time("created_at"),
    _time("expires_at", index=True),
)
