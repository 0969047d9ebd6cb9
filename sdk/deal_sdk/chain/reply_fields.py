"""The plain values inside replies: anything else than what was promised is refused, and nothing is guessed.

What is refused here is a `TypeError` or a `ValueError`, which `read_reply` makes a malformed reply.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

_INTEGERS: Final = frozenset({int})
_TEXTS: Final = frozenset({str})


def integer(value: Any) -> int:
    """Accept a non-negative JSON integer."""
    if type(value) is not int or value < 0:
        raise ValueError("not an unsigned integer")
    return value


def integers(values: Iterable[Any]) -> tuple[int, ...]:
    """Accept many non-negative JSON integers, looked at together: a block has thousands of them."""
    accepted = tuple(values)
    if not _INTEGERS.issuperset(map(type, accepted)) or min(accepted, default=0) < 0:
        raise ValueError("not unsigned integers")
    return accepted


def text(value: Any) -> str:
    """Accept a JSON string."""
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def texts(values: Iterable[Any]) -> tuple[str, ...]:
    """Accept many JSON strings, looked at together."""
    accepted = tuple(values)
    if not _TEXTS.issuperset(map(type, accepted)):
        raise TypeError("not strings")
    return accepted


def optional_integer(value: Any) -> int | None:
    """Accept a JSON integer of either sign, or null."""
    if value is None:
        return None
    if type(value) is not int:
        raise TypeError("not an integer")
    return value


def decimal_integer(value: Any) -> int:
    """Accept an unsigned integer written as a string, as token amounts are."""
    digits = text(value)
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError("not a decimal integer")
    return int(digits)
