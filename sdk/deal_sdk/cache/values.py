"""How a cached value is written: a head that says how old it is and what it depends on, a line end, its JSON.

Owns the form of the text. A value comes back exactly as it was given, or it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from deal_sdk.errors import InvalidInputError
from deal_sdk.limits.ids import check_id

FORMAT: Final = 1
_MILLISECONDS: Final = 1000
_LINE_END: Final = b"\n"
_AS_GIVEN: Final = (
    orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_SCALARS: Final = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class Envelope:
    """A cached value as it was stored."""

    stored_at_ms: int
    ttl_ms: int
    stale_ms: int
    tags: Mapping[str, str]
    """The tokens of its tags when its load began."""
    body: bytes
    value: Any

    def age_ms(self, now_ms: int) -> int:
        """Return its age; one that a faster clock has stored is new."""
        return max(now_ms - self.stored_at_ms, 0)

    def to_text(self) -> bytes:
        """Return what is stored."""
        head = [FORMAT, self.stored_at_ms, self.ttl_ms, self.stale_ms, self.tags]
        return orjson.dumps(head) + _LINE_END + self.body


def parse_envelope(text: bytes | None) -> Envelope | None:
    """Read what was stored; another program's value, or half of one, is a miss.

    Args:
        text: as found; None for none.
    """
    if not text:
        return None
    head, _, body = text.partition(_LINE_END)
    try:
        form, stored_at_ms, ttl_ms, stale_ms, tags = orjson.loads(head)
        value = orjson.loads(body)
    except (ValueError, TypeError):
        return None
    numbers = (stored_at_ms, ttl_ms, stale_ms)
    if form != FORMAT or not all(type(number) is int for number in numbers) or not _are_tags(tags):
        return None
    return Envelope(stored_at_ms, ttl_ms, stale_ms, tags, body, value)


def encode_value(value: Any) -> bytes:
    """Write a value as JSON from which it comes back equal.

    Raises:
        InvalidInputError: for a tuple, a float that is no number, an integer of more than 64 bits, or
            whatever else JSON has no form for.
    """
    try:
        body = orjson.dumps(value, option=_AS_GIVEN)
        is_same = orjson.loads(body) == value
    except (TypeError, ValueError):
        raise InvalidInputError("a cached value must be JSON") from None
    if not is_same:
        raise InvalidInputError("a cached value must be JSON that comes back as it was given")
    return body


def _are_tags(tags: Any) -> bool:
    if not isinstance(tags, dict) or not all(isinstance(token, str) for token in tags.values()):
        return False
    try:
        for tag in tags:
            check_id("tag", tag)
    except InvalidInputError:
        return False
    return True


def is_scalar(value: Any) -> bool:
    """Say whether a value can be handed to many callers, because none of them can change it."""
    return isinstance(value, _SCALARS)
