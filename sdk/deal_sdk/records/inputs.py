"""Checks what callers hand to the records, so that both databases refuse the same input in the same words."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID

from deal_sdk.errors import InvalidInputError

UserId: TypeAlias = UUID | str
"""A user's id as callers may write it."""

MAX_IDEMPOTENCY_KEY_LENGTH: Final = 255
MAX_PAGE_ROWS: Final = 1_000
MAX_OFFSET: Final = 1_000_000

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def parse_uuid(what: str, value: UUID | str) -> UUID:
    """Accept an id that was handed out, as a UUID or as its text.

    Args:
        what: whose id it is, for the error's text.
        value: the id.

    Raises:
        InvalidInputError: for anything else.
    """
    try:
        return value if isinstance(value, UUID) else UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise InvalidInputError(f"a {what} id must be a UUID", value=repr(value)[:64]) from None


def parse_user_id(user_id: UserId) -> UUID:
    """Accept a user's id; see `parse_uuid`."""
    return parse_uuid("user", user_id)


def parse_payment_id(payment_id: UUID | str) -> UUID:
    """Accept a payment's id; see `parse_uuid`."""
    return parse_uuid("payment", payment_id)


def optional_user_id(user_id: UserId | None) -> UUID | None:
    """Accept a user's id where one may be missing."""
    return None if user_id is None else parse_user_id(user_id)


def check_text(name: str, value: str, *, max_length: int) -> str:
    """Accept a text that both databases can store: SQLite knows no length and PostgreSQL no NUL.

    Args:
        name: what the text is, for the error.
        value: the text.
        max_length: in characters; the shortest is 1.

    Raises:
        InvalidInputError: when it is empty, too long or holds a NUL or a lone surrogate.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= max_length:
        raise InvalidInputError(f"{name} must be a text of 1 to {max_length} characters", field=name)
    if _UNSTORABLE.search(value):
        raise InvalidInputError(f"{name} holds characters that cannot be stored", field=name)
    return value


def optional_text(name: str, value: str | None, *, max_length: int) -> str | None:
    """Accept a text where one may be missing."""
    return None if value is None else check_text(name, value, max_length=max_length)


def check_choice(name: str, value: str, choices: Collection[str]) -> str:
    """Accept one of a few words.

    Raises:
        InvalidInputError: naming the words that exist.
    """
    if value not in choices:
        raise InvalidInputError(
            f"{name} must be one of {', '.join(choices)}", field=name, value=repr(value)[:64]
        )
    return value


def check_limit(limit: int) -> int:
    """Accept how many rows a page may have, 1 to 1000.

    Raises:
        InvalidInputError: for any other value.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE_ROWS:
        raise InvalidInputError(f"limit must be 1 to {MAX_PAGE_ROWS}", field="limit", value=repr(limit)[:64])
    return limit


def check_offset(offset: int) -> int:
    """Accept how many rows are left out, 0 to 1,000,000.

    Raises:
        InvalidInputError: for any other value.
    """
    if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset <= MAX_OFFSET:
        raise InvalidInputError(f"offset must be 0 to {MAX_OFFSET}", field="offset", value=repr(offset)[:64])
    return offset


def check_time(name: str, value: datetime) -> datetime:
    """Accept a time that says its zone; a naive one would have to be guessed.

    Raises:
        InvalidInputError: when it has none.
    """
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidInputError(f"{name} must be a time with a zone", field=name)
    return value


def check_period(since: datetime | None, until: datetime | None) -> None:
    """Accept two times of which the first is not after the second; either may be missing.

    Raises:
        InvalidInputError: when they are reversed, or one has no zone.
    """
    first = None if since is None else check_time("since", since)
    last = None if until is None else check_time("until", until)
    if first is not None and last is not None and first > last:
        raise InvalidInputError("since must not be after until", field="since")


def check_idempotency_key(key: str | None) -> str | None:
    """Accept a key of 1 to 255 characters, or none.

    Raises:
        InvalidInputError: for another length or type, or characters that cannot be stored.
    """
    return optional_text("idempotency_key", key, max_length=MAX_IDEMPOTENCY_KEY_LENGTH)
