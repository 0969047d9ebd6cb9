"""When a watched wallet stops: the arithmetic of its limit and of the window that it is in.

A window begins at a multiple of the limit and ends a limit later; a re-watch after the end begins the next
one. Owns no state: every function is of its arguments alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from deal_sdk.errors import InvalidInputError

UNLIMITED: Final = 99_999
"""A limit of this many is none."""
MAX_LIMIT: Final = 10_000_000
WARNING_PERCENT: Final = 90


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """The limits that hold where a wallet has none of its own."""

    default: int = 200
    by_type: Mapping[str, int] | None = None

    def of(self, own_limit: int | None, wallet_type: str | None) -> int:
        """Return the limit of a wallet: its own, else its type's, else everybody's."""
        if own_limit is not None:
            return own_limit
        return (self.by_type or {}).get(wallet_type or "", self.default)


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch of transactions that a wallet may count before it stops."""

    start: int
    limit: int
    granted: int = 0

    @property
    def size(self) -> int:
        """Return how many transactions fit."""
        return self.limit + self.granted

    @property
    def next_stop(self) -> int | None:
        """Return the count at which the wallet stops; None when it never does."""
        return None if self.limit == UNLIMITED else self.start + self.size

    @property
    def warning_count(self) -> int | None:
        """Return the count from which the wallet is near its stop; None when it never is."""
        if self.next_stop is None:
            return None
        # Rounded up, in integers: 90 % of 200 is 180, of 5 is 5.
        return self.start - (-self.size * WARNING_PERCENT // 100)

    def room(self, count: int) -> int | None:
        """Return how many more may be counted; None means any number."""
        return None if self.next_stop is None else max(0, self.next_stop - count)

    def progress_percent(self, count: int) -> int:
        """Return how much of the window is used, 0 to 100."""
        if self.next_stop is None:
            return 0
        return max(0, min(100, (count - self.start) * 100 // self.size))


def window_start_at(count: int, limit: int) -> int:
    """Return where the window begins in which a re-watched wallet goes on: a multiple of its limit."""
    return count // limit * limit


def check_watch_limit(limit: int | None) -> int | None:
    """Accept a wallet's own limit; None is none.

    Raises:
        InvalidInputError: for anything but an integer from 1 to 10,000,000.
    """
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise InvalidInputError(
            f"max_transactions is an integer from 1 to {MAX_LIMIT}; {UNLIMITED} means unlimited",
            field="max_transactions",
        )
    return limit
