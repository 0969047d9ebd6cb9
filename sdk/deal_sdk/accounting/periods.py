"""Periods of a plan, as arithmetic on an anchor: so many days, or calendar months that keep their day."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from deal_sdk.errors import InvalidInputError

MONTHS_PER_YEAR: Final = 12
_MONTH: Final = "month"
_DAYS: Final = re.compile(r"([1-9][0-9]{0,2})d")


@dataclass(frozen=True, slots=True)
class Period:
    """How long each period of a series is; all of them are counted from one anchor.

    Counting from the anchor, and not from the period before, is what keeps a series on its day:
    Jan 31 -> Feb 28 -> Mar 31.
    """

    days: int | None
    """None for calendar months."""

    @classmethod
    def parse(cls, text: str) -> Period:
        """Read a period as settings write it: "30d", or "month".

        Raises:
            InvalidInputError: for anything else.
        """
        if text == _MONTH:
            return cls(None)
        matched = _DAYS.fullmatch(text)
        if matched is None:
            raise InvalidInputError("a period is 1d to 999d, or month", field="period")
        return cls(int(matched[1]))

    def __str__(self) -> str:
        """Write the period as `parse` reads it."""
        return _MONTH if self.days is None else f"{self.days}d"

    def start(self, anchor: datetime, number: int) -> datetime:
        """Return when a period begins.

        Args:
            anchor: when period 0 begins.
            number: which period.
        """
        if self.days is not None:
            return anchor + timedelta(days=self.days * number)
        at = anchor.astimezone(UTC)
        years, month = divmod(at.month - 1 + number, MONTHS_PER_YEAR)
        year, month = at.year + years, month + 1
        return at.replace(year=year, month=month, day=min(at.day, monthrange(year, month)[1]))

    def number_at(self, anchor: datetime, when: datetime) -> int:
        """Return which period a time is in; negative before the anchor."""
        if self.days is not None:
            return (when - anchor) // timedelta(days=self.days)
        first, last = anchor.astimezone(UTC), when.astimezone(UTC)
        months = (last.year - first.year) * MONTHS_PER_YEAR + last.month - first.month
        return months if self.start(anchor, months) <= last else months - 1
