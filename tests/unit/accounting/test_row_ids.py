"""Ids that rise with time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from deal_sdk.accounting.row_ids import RowIds

START = datetime(2026, 11, 1, tzinfo=UTC)


@given(st.lists(st.integers(-5_000, 5_000), min_size=1, max_size=50))
def test_each_id_is_greater_whatever_the_clock_does(milliseconds: list[int]) -> None:
    ids = RowIds()
    made = [ids.next(START + timedelta(milliseconds=offset)) for offset in milliseconds]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_an_id_is_of_version_7_and_says_its_time() -> None:
    made = RowIds().next(START)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == int(START.timestamp() * 1000)


def test_more_ids_than_the_counter_holds_run_ahead_of_the_clock() -> None:
    ids = RowIds()
    made = [ids.next(START) for _ in range(5_000)]
    assert made == sorted(made)
    assert (made[-1].int >> 80) - (made[0].int >> 80) == 1
