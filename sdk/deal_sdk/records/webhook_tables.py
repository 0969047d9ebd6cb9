"""The tables of webhooks: endpoints and their secrets, events, and what became of each delivery."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from deal_sdk.records.tables import Json, RowId, _one_of, _time, metadata

ENDPOINT_STATES: Final = ("enabled", "disabled", "removed")
DELIVERY_STATES: Final = ("pending", "delivered", "dead")
MAX_URL_LENGTH: Final = 2_048
EVENT_TYPE_LENGTH: Final = 128
SUBJECT_LENGTH: Final = 64

webhook_endpoints = sa.Table(
    "webhook_endpoints",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("url", sa.String(MAX_URL_LENGTH), nullable=False),
    sa.Column("patterns", Json, nullable=False, comment="Names of events, with * for any characters."),
    sa.Column("description", sa.String(255)),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("state_reason", sa.String(255)),
    _time("created_at"),
    _time("updated_at"),
    _one_of("state", ENDPOINT_STATES, "state"),
    comment="A removed endpoint stays, because its deliveries name it.",
)

webhook_secrets = sa.Table(
    "webhook_secrets",
    metadata,
    sa.Column("id", RowId, primary_key=True, autoincrement=True),
    sa.Column("endpoint_id", sa.Uuid, sa.ForeignKey("webhook_endpoints.id"), nullable=False, index=True),
    sa.Column("kdf_salt", sa.LargeBinary, nullable=False),
    sa.Column("kdf_cost", sa.Integer, nullable=False),
    sa.Column("nonce", sa.LargeBinary, nullable=False),
    sa.Column("ciphertext", sa.LargeBinary, nullable=False),
    _time("created_at"),
    _time("expires_at", nullable=True),
    comment="Encrypted like the keystore's keys. An endpoint without a row signs with the setting's secret.",
)

webhook_events = sa.Table(
    "webhook_events",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("type", sa.String(EVENT_TYPE_LENGTH), nullable=False),
    sa.Column("subject", sa.String(SUBJECT_LENGTH), index=True, comment="What it is about: a payment's id."),
    sa.Column("sequence", sa.BigInteger, comment="Grows from event to event of one subject."),
    sa.Column("body", sa.LargeBinary, nullable=False, comment="The bytes that are signed and sent."),
    _time("created_at", index=True),
    comment="The outbox: written in the transaction that changes what the event tells of.",
)

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("id", RowId, primary_key=True, autoincrement=True),
    sa.Column("event_id", sa.Uuid, sa.ForeignKey("webhook_events.id"), nullable=False),
    sa.Column("endpoint_id", sa.Uuid, sa.ForeignKey("webhook_endpoints.id"), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    _time("next_attempt_at"),
    sa.Column("lease", sa.Uuid, comment="Who is at it, until next_attempt_at."),
    sa.Column("last_status", sa.Integer, comment="The last reply's HTTP status."),
    sa.Column("last_error", sa.String(255)),
    _time("created_at"),
    _time("ended_at", nullable=True),
    sa.UniqueConstraint("event_id", "endpoint_id"),
    _one_of("state", DELIVERY_STATES, "state"),
    sa.Index("ix_webhook_deliveries_endpoint", "endpoint_id", "state"),
)
sa.Index(
    "ix_webhook_deliveries_due",
    webhook_deliveries.c.endpoint_id,
    webhook_deliveries.c.next_attempt_at,
    sqlite_where=webhook_deliveries.c.state == "pending",
    postgresql_where=webhook_deliveries.c.state == "pending",
)
