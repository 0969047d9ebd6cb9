"""Cursors: whatever a caller sends back is either one of ours or refused."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal_sdk.errors import InvalidInputError
from deal_sdk.records.paging import Keyset, Page, each_page, parse_row_id, parse_time
from deal_sdk.records.tables import users

ORDER = Keyset("users", (users.c.created_at, users.c.id), (parse_time, UUID))


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


@given(st.text(max_size=60))
def test_any_text_is_refused_in_one_way(text: str) -> None:
    with pytest.raises(InvalidInputError):
        ORDER.after(text)


@given(
    st.lists(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False)
        | st.text(max_size=20),
        max_size=4,
    )
)
def test_any_payload_that_is_not_ours_is_refused(values: list[object]) -> None:
    with pytest.raises(InvalidInputError):
        ORDER.after(encoded(["users+", *values]))


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_cursor_is_url_safe_and_comes_back(when: datetime, user_id: UUID) -> None:
    cursor = ORDER.encode([when, user_id])
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    bound = ORDER.after(cursor).compile().params
    assert set(bound.values()) == {when, user_id}


def test_a_time_without_a_zone_and_numbers_beyond_a_row_are_refused() -> None:
    with pytest.raises(InvalidInputError):
        ORDER.after(encoded(["users+", "2026-01-01T00:00:00", str(uuid4())]))
    for value in (True, -1, 2**63, "1", None, 1.0):
        with pytest.raises(ValueError, match="row"):
            parse_row_id(value)


async def test_each_page_follows_the_cursors_to_the_end() -> None:
    pages = {None: Page([1, 2], "a"), "a": Page([], "b"), "b": Page([3], None)}

    async def fetch(cursor: str | None) -> Page[int]:
        return pages[cursor]

    assert [list(items) async for items in each_page(fetch)] == [[1, 2], [], [3]]
