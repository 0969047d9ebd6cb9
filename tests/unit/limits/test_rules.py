"""Validation and key names."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal_sdk.clock import ManualClock
from deal_sdk.errors import ConfigurationError, InvalidInputError
from deal_sdk.limits.calendars import CalendarWindow
from deal_sdk.limits.ids import MAX_ID_LENGTH, encode
from deal_sdk.limits.rules import (
    MAX_LIMIT,
    MAX_PERIOD_SECONDS,
    AmountRule,
    CountedRule,
    KeySpace,
    LimitKind,
    PurchaseRule,
    RateRule,
    fingerprint,
    rate_field,
)

STORABLE = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=MAX_ID_LENGTH)
TRICKY = st.text(st.sampled_from("{}: %a7B/é\n"), min_size=1, max_size=12)
IDS = st.one_of(STORABLE, TRICKY)


def hash_tag(key: str) -> str:
    """Return what Redis Cluster hashes: the text between the first { and the next }."""
    start = key.index("{")
    return key[start + 1 : key.index("}", start + 1)]


SUBJECTS = st.sampled_from(("user", "ip", "api_key", "reservation", "category"))
PERIODS = st.sampled_from(
    (None, CalendarWindow("day"), CalendarWindow("week"), CalendarWindow("day", "Asia/Kolkata"))
)
Counted = tuple[type, str, str, str | None, CalendarWindow | None]


WHAT_IS_COUNTED = st.builds(
    lambda kind, user, what, by_category, calendar: (
        (kind, user, "MINT", what, calendar) if by_category else (kind, user, what, None, calendar)
    ),
    st.sampled_from((PurchaseRule, AmountRule)),
    IDS,
    st.one_of(IDS, st.sampled_from(("category", "day", "UTC", "category:a", "MINT", "a:day:UTC"))),
    st.booleans(),
    PERIODS,
)


def rule_of(
    kind: type, user: str, mint: str, category: str | None, calendar: CalendarWindow | None
) -> CountedRule:
    if kind is AmountRule:
        return AmountRule(user, mint, 1, 1, calendar=calendar, category=category)
    return PurchaseRule(user, mint, 1, calendar=calendar, category=category)


class TestKeys:
    def test_are_the_ones_that_others_read(self) -> None:
        keys = KeySpace()
        count = "token_purchases:token_buy_count:{user-123}:MINT"
        record = "token_purchases:token_purchase_record:{user-123}:MINT"
        assert keys.purchase_count("user-123", "MINT") == count
        assert keys.purchase_record("user-123", "MINT") == record

    def test_take_a_uuid_as_its_text(self) -> None:
        user_id = uuid.uuid4()
        assert KeySpace().rates(user_id) == KeySpace().rates(str(user_id))

    @given(first=st.tuples(IDS, IDS), second=st.tuples(IDS, IDS))
    def test_of_different_ids_never_meet(self, first: tuple[str, str], second: tuple[str, str]) -> None:
        keys = KeySpace()

        def all_of(user: str, other: str) -> list[str]:
            return [
                keys.purchase_count(user, other),
                keys.purchase_record(user, other),
                keys.reservation(user, other),
                f"{keys.rates(user)} {rate_field(other, LimitKind.BURST)}",
                f"{keys.rates(user)} {rate_field(other, LimitKind.PER_MINUTE)}",
            ]

        mine, others = all_of(*first), all_of(*second)
        assert len(set(mine)) == len(mine)
        if first != second:
            assert not set(mine) & set(others)

    @given(first=WHAT_IS_COUNTED, second=WHAT_IS_COUNTED)
    def test_of_different_rules_never_meet(self, first: Counted, second: Counted) -> None:
        keys = KeySpace()
        if first != second:
            assert not set(keys.counted(rule_of(*first))) & set(keys.counted(rule_of(*second)))
        else:
            assert keys.counted(rule_of(*first)) == keys.counted(rule_of(*second))

    @given(first=st.tuples(SUBJECTS, IDS), second=st.tuples(SUBJECTS, IDS))
    def test_of_different_subjects_never_meet(self, first: tuple[str, str], second: tuple[str, str]) -> None:
        keys = KeySpace()
        names = {
            name
            for subject, key in (first, second)
            for name in (keys.rates(key, subject), keys.reservation(key, "id"))
        }
        assert len(names) == len({first, second}) + len({first[1], second[1]})

    @given(user=IDS, mint=IDS)
    def test_of_one_user_share_a_slot(self, user: str, mint: str) -> None:
        keys = KeySpace()
        names = (keys.purchase_count(user, mint), keys.reservation(user, mint), keys.rates(user))
        assert {hash_tag(name) for name in names} == {encode(user)}
        assert all(name.isascii() and name.isprintable() and " " not in name for name in names)

    @pytest.mark.parametrize("prefix", ["{", "a}b", "with space", "línea", "line\n"])
    def test_refuse_a_prefix_that_breaks_them(self, prefix: str) -> None:
        with pytest.raises(ConfigurationError):
            KeySpace(purchase_prefix=prefix)
        with pytest.raises(ConfigurationError):
            KeySpace(rate_prefix=prefix)


class TestRules:
    @pytest.mark.parametrize("bad_id", ["", "a" * 256, "a" * 1_000_000, "nul\0", "\ud800"])
    def test_refuse_ids_that_cannot_be_stored(self, bad_id: str) -> None:
        with pytest.raises(InvalidInputError):
            PurchaseRule(bad_id, "MINT", 1)
        with pytest.raises(InvalidInputError):
            PurchaseRule("user", bad_id, 1)
        with pytest.raises(InvalidInputError):
            PurchaseRule("user", "MINT", 1, bad_id)
        with pytest.raises(InvalidInputError):
            RateRule("user", bad_id, "Gift", 1, 1)

    @pytest.mark.parametrize("maximum", [0, -1, MAX_LIMIT + 1, True, 1.5, "3", None])
    def test_refuse_limits_out_of_range(self, maximum: object) -> None:
        with pytest.raises(InvalidInputError):
            PurchaseRule("user", "MINT", maximum)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError):
            RateRule("user", "op", "Gift", maximum, 1)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError):
            RateRule("user", "op", "Gift", 1, maximum)  # type: ignore[arg-type]

    @pytest.mark.parametrize("period_seconds", [0, -1, MAX_PERIOD_SECONDS + 1, 2**63, 0.5])
    def test_refuse_periods_out_of_range(self, period_seconds: object) -> None:
        with pytest.raises(InvalidInputError):
            PurchaseRule("user", "MINT", 1, period_seconds=period_seconds)  # type: ignore[arg-type]

    def test_refuse_a_cost_that_could_never_pass(self) -> None:
        RateRule("user", "op", "Gift", 10, 3, 3)
        for cost in (4, 0, -1):
            with pytest.raises(InvalidInputError):
                RateRule("user", "op", "Gift", 10, 3, cost)

    def test_a_fingerprint_tells_limits_apart_and_not_their_size(self) -> None:
        keys = KeySpace()

        def of(*rules: PurchaseRule | RateRule) -> str:
            return fingerprint(keys.expand(rules, ManualClock().now()))

        assert of(PurchaseRule("user", "A", 1)) == of(PurchaseRule("user", "A", 2))
        assert of(PurchaseRule("user", "A", 1)) != of(PurchaseRule("user", "B", 1))
        assert of(RateRule("user", "op", "Gift", 9, 9)) != of(RateRule("user", "op", "Gift", 9, 9, 2))
