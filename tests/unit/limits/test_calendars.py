"""Days and weeks of places whose clocks change, also at midnight."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal_sdk.errors import InvalidInputError
from deal_sdk.limits import CalendarWindow

# Two hemispheres, half and quarter hours, a change at midnight, and a day that was skipped.
ZONES = (
    *("UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe"),
    *("Asia/Kathmandu", "Africa/Cairo", "Pacific/Apia", "Atlantic/Azores", "Pacific/Kiritimati"),
)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)).map(lambda one: one.replace(tzinfo=UTC))


@given(moment=MOMENTS, zone=st.sampled_from(ZONES), unit=st.sampled_from(("day", "week")))
def test_periods_follow_each_other_without_gap_or_overlap(moment: datetime, zone: str, unit: str) -> None:
    window = CalendarWindow(unit, zone)
    before, begins, ends, after = window.boundaries(moment)
    assert begins <= moment < ends
    assert before <= begins < ends <= after
    assert (ends - begins).total_seconds() <= window.longest_seconds
    assert window.current(begins) == (begins, ends)
    assert window.current(ends - timedelta(microseconds=1)) == (begins, ends)
    assert window.current(begins - timedelta(microseconds=1))[1] == begins
    assert window.current(ends)[0] == ends


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", datetime(2027, 3, 28, 12), 23),
        ("Europe/Berlin", datetime(2027, 10, 31, 12), 25),
        ("Africa/Cairo", datetime(2024, 4, 26, 12), 23),
        ("Australia/Lord_Howe", datetime(2027, 4, 4, 12), 24.5),
        ("UTC", datetime(2027, 3, 28, 12), 24),
    ],
)
def test_a_day_has_the_hours_of_its_clocks(zone: str, day: datetime, hours: float) -> None:
    begins, ends = CalendarWindow("day", zone).current(day.replace(tzinfo=UTC))
    assert (ends - begins) == timedelta(hours=hours)


def test_a_week_is_from_monday_to_monday() -> None:
    begins, ends = CalendarWindow("week", "Europe/Berlin").current(datetime(2027, 3, 28, 12, tzinfo=UTC))
    assert begins == datetime(2027, 3, 21, 23, tzinfo=UTC)
    assert ends == datetime(2027, 3, 28, 22, tzinfo=UTC)


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../etc/passwd", "a" * 65, "\0", None])
def test_a_place_that_nobody_knows_is_refused(zone: str) -> None:
    with pytest.raises(InvalidInputError):
        CalendarWindow("day", zone)


def test_another_unit_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        CalendarWindow("month")  # type: ignore[arg-type]
