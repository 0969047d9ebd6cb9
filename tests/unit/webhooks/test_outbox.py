"""Bodies of events: bounded, and the same each time."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import orjson

from deal_sdk.webhooks import OutgoingEvent
from deal_sdk.webhooks.outbox import MAX_BODY_BYTES

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def event_of(**data: object) -> OutgoingEvent:
    return OutgoingEvent(UUID(int=7), "payment.finalized", data, MOMENT, "subject", 3)


def test_a_body_says_all_that_orders_and_names_the_event() -> None:
    body = event_of(amount=Decimal("1.5")).body()
    assert orjson.loads(body) == {
        "id": str(UUID(int=7)),
        "type": "payment.finalized",
        "timestamp": "2026-01-01T00:00:00+00:00",
        "subject": "subject",
        "sequence": 3,
        "data": {"amount": "1.5"},
    }
    assert event_of(amount=Decimal("1.5")).body() == body


def test_data_beyond_the_bound_is_left_out_and_said_so() -> None:
    body = event_of(logs="x" * MAX_BODY_BYTES).body()
    assert len(body) < 1_000
    assert orjson.loads(body)["data"] == {"truncated": True}
