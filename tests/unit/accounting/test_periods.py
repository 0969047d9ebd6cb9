"""Periods are counted from their anchor, so that a series keeps its day."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal_sdk.accounting import Period
from deal_sdk.errors import InvalidInputError

ANCHORS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 12, 31), timezones=st.just(UTC))
PERIODS = st.sampled_from([Period(30), Period(1), Period(365), Period(None)])


def test_a_month_from_the_31st_is_the_last_day_that_there_is() -> None:
    anchor = datetime(2026, 1, 31, 12, tzinfo=UTC)
    starts = [Period.parse("month").start(anchor, number) for number in range(-2, 4)]
    assert [(at.month, at.day) for at in starts] == [
        *((11, 30), (12, 31), (1, 31)),
        *((2, 28), (3, 31), (4, 30)),
    ]
    assert Period(None).start(anchor, 25) == datetime(2028, 2, 29, 12, tzinfo=UTC)


@given(ANCHORS, st.integers(-200, 200))
def test_each_month_has_one_period_on_the_anchor_s_day(anchor: datetime, number: int) -> None:
    at = Period(None).start(anchor, number)
    assert at.year * 12 + at.month == anchor.year * 12 + anchor.month + number
    assert at.day == min(anchor.day, monthrange(at.year, at.month)[1])
    assert at.timetz() == anchor.timetz()


@given(PERIODS, ANCHORS, st.integers(-100_000, 100_000))
def test_a_time_is_in_the_period_that_began_last(period: Period, anchor: datetime, hours: int) -> None:
    when = anchor + timedelta(hours=hours)
    number = period.number_at(anchor, when)
    assert period.start(anchor, number) <= when < period.start(anchor, number + 1)


def test_another_zone_s_day_is_not_the_anchor() -> None:
    anchor = datetime(2026, 2, 1, 1, tzinfo=timezone(timedelta(hours=3)))
    assert Period(None).start(anchor, 1) == datetime(2026, 2, 28, 22, tzinfo=UTC)


@pytest.mark.parametrize("text", ["30d", "1d", "999d", "month"])
def test_a_period_is_written_as_it_is_read(text: str) -> None:
    assert str(Period.parse(text)) == text


@pytest.mark.parametrize("text", ["", "0d", "1000d", "30", "months", "-1d", "1.5d"])
def test_other_texts_are_no_period(text: str) -> None:
    with pytest.raises(InvalidInputError):
        Period.parse(text)
