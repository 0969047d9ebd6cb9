"""Ids that rise with time, so that new rows go to the end of an index instead of all over it."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Final
from uuid import UUID

_VERSION: Final = 7
_VARIANT: Final = 0b10
_RANDOM_BITS: Final = 62
_COUNTER_BITS: Final = 12


class RowIds:
    """Makes UUIDs of version 7: milliseconds, then a counter, then random bits.

    Within a process each is greater than the one before (RFC 9562, section 6.2, method 1).
    """

    def __init__(self) -> None:
        """Begin with the first row's time."""
        self._last = 0

    def next(self, at: datetime) -> UUID:
        """Return the next id.

        Args:
            at: the row's time; an earlier one than the last row's does not lower the id.
        """
        moment = int(at.timestamp() * 1000) << _COUNTER_BITS
        self._last = max(moment, self._last + 1)
        milliseconds, counter = divmod(self._last, 1 << _COUNTER_BITS)
        high = (milliseconds << 16) | (_VERSION << 12) | counter
        random = int.from_bytes(os.urandom(8)) >> (64 - _RANDOM_BITS)
        return UUID(int=(high << 64) | (_VARIANT << _RANDOM_BITS) | random)
