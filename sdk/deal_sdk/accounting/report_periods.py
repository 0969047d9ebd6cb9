"""The days, weeks and months that reports are made by, as a place's calendar has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from deal_sdk.errors import InvalidInputError
from deal_sdk.limits.calendars import MAX_ZONE_NAME_LENGTH, midnight, zone_named
from deal_sdk.records.inputs import check_choice, check_text, check_time

ReportInterval: TypeAlias = Literal["day", "week", "month"]
REPORT_INTERVALS: Final = ("day", "week", "month")
MAX_REPORT_PERIODS: Final = 400
"""A year of days; who wants more asks for one year after another."""
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9000


@dataclass(frozen=True, slots=True)
class ReportPeriod:
    """A span of time, its end excluded, in the report's time zone."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class ReportSpan:
    """What a report covers, and the calendar's periods that this lies in."""

    since: datetime
    until: datetime
    periods: Sequence[ReportPeriod]

    def number_of(self, time: sa.ColumnElement[datetime]) -> sa.ColumnElement[int]:
        """Return the position of the period in which a time lies, as SQL of any database.

        No database has the same calendars as another, so the boundaries are worked out here; they are
        compared as in a search by halves, because each row is compared anew.
        """
        return self._halved(time, 0, len(self.periods))

    def _halved(self, time: sa.ColumnElement[datetime], first: int, end: int) -> sa.ColumnElement[int]:
        if end - first == 1:
            return sa.literal(first, sa.Integer)
        middle = (first + end) // 2
        is_before = time < self.periods[middle].start
        return sa.case((is_before, self._halved(time, first, middle)), else_=self._halved(time, middle, end))


def report_span(
    interval: ReportInterval, zone: str, since: datetime | None, until: datetime | None, *, now: datetime
) -> ReportSpan:
    """Return the periods that a report is made by.

    Args:
        interval: "day", "week" (from Monday) or "month".
        zone: a time zone's name; periods begin at its midnights.
        since: what is earlier is left out; by default the beginning of the present period.
        until: what is at this time or later is left out; by default the end of the present period.
        now: the present.

    Raises:
        InvalidInputError: for an interval, a zone or a time that cannot be one, for dates that are
            reversed, and for more than 400 periods.
    """
    check_choice("interval", interval, REPORT_INTERVALS)
    place = _place(zone)
    end = _next_moment(interval, place, now) if until is None else _in_reach("until", until)
    last = min(now, end - timedelta(microseconds=1))
    start = _first_moment(interval, place, last) if since is None else _in_reach("since", since)
    if start >= end:
        raise InvalidInputError("since must be before until", field="since")
    periods: list[ReportPeriod] = []
    day = _first_day(interval, start.astimezone(place).date())
    while (begins := midnight(day, place)) < end:
        if len(periods) == MAX_REPORT_PERIODS:
            raise InvalidInputError(f"a report has at most {MAX_REPORT_PERIODS} periods", field="since")
        day = _next_day(interval, day)
        periods.append(ReportPeriod(begins.astimezone(place), midnight(day, place).astimezone(place)))
    return ReportSpan(start, end, tuple(periods))


def month_period(year: int, month: int, zone: str) -> ReportPeriod:
    """Return a calendar month at a place.

    Raises:
        InvalidInputError: for a month or a zone that there is not.
    """
    for name, value, least, most in (("year", year, _FIRST_YEAR, _LAST_YEAR), ("month", month, 1, 12)):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InvalidInputError(f"{name} must be {least} to {most}", field=name, value=repr(value)[:64])
    place = _place(zone)
    first = date(year, month, 1)
    bounds = (first, _next_day("month", first))
    start, end = (midnight(day, place).astimezone(place) for day in bounds)
    return ReportPeriod(start, end)


def _place(zone: str) -> ZoneInfo:
    return zone_named(check_text("zone", zone, max_length=MAX_ZONE_NAME_LENGTH))


def _in_reach(name: str, value: datetime) -> datetime:
    """Accept a time whose calendar can be worked out in every zone."""
    if not _FIRST_YEAR <= check_time(name, value).year <= _LAST_YEAR:
        raise InvalidInputError(f"{name} must be in the years {_FIRST_YEAR} to {_LAST_YEAR}", field=name)
    return value


def _first_moment(interval: ReportInterval, place: ZoneInfo, when: datetime) -> datetime:
    return midnight(_first_day(interval, when.astimezone(place).date()), place)


def _next_moment(interval: ReportInterval, place: ZoneInfo, when: datetime) -> datetime:
    return midnight(_next_day(interval, _first_day(interval, when.astimezone(place).date())), place)


def _first_day(interval: ReportInterval, day: date) -> date:
    if interval == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if interval == "month" else day


def _next_day(interval: ReportInterval, first: date) -> date:
    if interval == "month":
        return (first.replace(day=28) + timedelta(days=4)).replace(day=1)
    return first + timedelta(days=7 if interval == "week" else 1)
