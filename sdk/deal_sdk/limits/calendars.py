"""Days and weeks of a place, as instants: where clocks change, a day has 23 or 25 hours.

Owns the boundaries of calendar periods. The store's scripts know no time zones, so they are handed the
boundaries around the present and choose among them by the server's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from deal_sdk.errors import InvalidInputError

CalendarUnit = Literal["day", "week"]
UNIT_DAYS: Final[dict[str, int]] = {"day": 1, "week": 7}
MAX_ZONE_NAME_LENGTH: Final = 64
# Every zone's offset is a multiple of a quarter of an hour, so within one the boundaries stay the same.
_QUARTER_SECONDS: Final = 900
_CACHED_QUARTERS: Final = 4_096


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    """Periods that end at midnight of a place: each day, or each week from Monday to Sunday."""

    unit: CalendarUnit
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        """Refuse a unit or a place that is not known."""
        if self.unit not in UNIT_DAYS:
            raise InvalidInputError("a calendar window is of a 'day' or a 'week'")
        zone_named(self.time_zone)

    @property
    def longest_seconds(self) -> int:
        """Return a length that no period of this window exceeds, a change of clocks included."""
        return (UNIT_DAYS[self.unit] + 1) * 86_400

    def boundaries(self, now: datetime) -> tuple[datetime, ...]:
        """Return four boundaries in UTC: the present period lies between the second and the third.

        Args:
            now: aware, in any zone.
        """
        return _boundaries(self.unit, self.time_zone, int(now.timestamp()) // _QUARTER_SECONDS)

    def current(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the beginning and the end of the present period, in UTC."""
        _, begins, ends, _ = self.boundaries(now)
        return begins, ends


@lru_cache(maxsize=_CACHED_QUARTERS)
def _boundaries(unit: str, time_zone: str, quarter: int) -> tuple[datetime, ...]:
    zone, days = zone_named(time_zone), UNIT_DAYS[unit]
    today = datetime.fromtimestamp(quarter * _QUARTER_SECONDS, zone).date()
    first = today - timedelta(days=today.weekday() if unit == "week" else 0)
    return tuple(midnight(first + timedelta(days=days * step), zone) for step in (-1, 0, 1, 2))


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return when a day begins at a place, in UTC."""
    # Where clocks skip midnight, the offset from before gives the instant of the change: the day's first.
    return datetime.combine(day, time(), zone).astimezone(UTC)


@lru_cache(maxsize=1_024)
def zone_named(name: str) -> ZoneInfo:
    """Return the time zone of a name such as Europe/Berlin.

    Raises:
        InvalidInputError: when there is none of that name.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MAX_ZONE_NAME_LENGTH:
        raise InvalidInputError("a time zone is a name such as Europe/Berlin")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInputError(f"there is no time zone {name!r:.70}") from None
