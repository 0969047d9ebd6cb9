"""Endpoints as callers see them, and what their fields may be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from deal_sdk.errors import InvalidInputError
from deal_sdk.records.transaction_rows import plain_value
from deal_sdk.records.webhook_tables import EVENT_TYPE_LENGTH

EndpointState: TypeAlias = Literal["enabled", "disabled", "removed"]
MAX_PATTERNS: Final = 50
MAX_ENDPOINTS: Final = 1_000
_PATTERN: Final = re.compile(r"[A-Za-z0-9_.:*-]+")


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Where events go, and which."""

    id: UUID
    url: str = field(repr=False)
    """Left out of a repr, because it may hold a token of the receiver's."""
    patterns: tuple[str, ...]
    description: str | None
    state: EndpointState
    state_reason: str | None
    created_at: datetime
    updated_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the endpoint as JSON-serialisable data; it holds no secret."""
        plain = {item.name: plain_value(getattr(self, item.name)) for item in fields(self)}
        return {**plain, "patterns": list(self.patterns)}


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint that was just added, with its secret, which is shown this once."""

    endpoint: WebhookEndpoint
    secret: str | None = field(repr=False)
    """None where the setting's secret signs."""


def check_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    """Accept names of events: letters, digits, `_ . : -`, and `*` for any characters.

    Raises:
        InvalidInputError: for none, too many, or one that no event can match.
    """
    if isinstance(patterns, str):
        patterns = (patterns,)
    found = tuple(dict.fromkeys(patterns))
    if not 1 <= len(found) <= MAX_PATTERNS:
        raise InvalidInputError(f"an endpoint has 1 to {MAX_PATTERNS} patterns of events", field="events")
    for pattern in found:
        if (
            not isinstance(pattern, str)
            or len(pattern) > EVENT_TYPE_LENGTH
            or not _PATTERN.fullmatch(pattern)
        ):
            raise InvalidInputError(
                "a pattern of events has letters, digits, _ . : - and *",
                field="events",
                value=repr(pattern)[:64],
            )
    return found
