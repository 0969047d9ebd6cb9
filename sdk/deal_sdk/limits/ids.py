"""Which ids and numbers limits accept, and how ids are written into keys.

Any id that is accepted has keys of its own: two different ids never meet, and none can close a hash tag or
start another part of a key.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, TypeAlias
from urllib.parse import quote, unquote
from uuid import UUID

from deal_sdk.errors import InvalidInputError

UserKey: TypeAlias = str | UUID

MAX_ID_LENGTH: Final = 255
USER_SUBJECT: Final = "user"
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_PLAIN: Final = re.compile("[A-Za-z0-9._~-]+")
"""What `quote` leaves as it is, at many times the cost."""
_SUBJECT: Final = re.compile("[a-z][a-z0-9_]{0,31}")
_ENCODED_IDS: Final = 8_192


def check_id(name: str, value: str) -> None:
    """Accept an id that can be a key and a column.

    Raises:
        InvalidInputError: when it is no text, empty, longer than 255 characters, or holds NUL or a lone
            surrogate, which neither UTF-8 nor PostgreSQL can store.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be a str, not {type(value).__name__}")
    if not value or len(value) > MAX_ID_LENGTH:
        raise InvalidInputError(f"{name} must have 1 to {MAX_ID_LENGTH} characters")
    if (not value.isascii() and _UNSTORABLE.search(value)) or "\x00" in value:
        raise InvalidInputError(f"{name} holds a character that cannot be stored")


def check_subject(subject: str) -> None:
    """Accept what a key is of: "user", "ip", "api_key" and the like.

    Raises:
        InvalidInputError: for anything but lower-case letters, digits and underscores, up to 32.
    """
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise InvalidInputError("a subject has 1 to 32 lower-case letters, digits and underscores")


def check_integer(name: str, value: int, maximum: int) -> None:
    """Accept an integer from 1 to a maximum.

    Raises:
        InvalidInputError: for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInputError(f"{name} must be an int, not {type(value).__name__}")
    if not 1 <= value <= maximum:
        raise InvalidInputError(f"{name} must be 1 to {maximum}")


@lru_cache(maxsize=_ENCODED_IDS)
def encode(text: str) -> str:
    """Write an id as a part of a key: letters, digits and -._~ as they are, all else as %XX of UTF-8.

    Two different ids never meet, and none can close the hash tag or start another part.
    """
    return text if _PLAIN.fullmatch(text) else quote(text, safe="")


def tag_of(user_id: UserKey) -> str:
    """Return the hash tag of a user or another key."""
    return f"{{{encode(str(user_id))}}}"


def operation_of(field: str) -> str:
    """Return the operation of a window's or a bucket's field."""
    return unquote(field.partition(":")[2])
