"""Money as integers: every accepted text is exact, and everything else is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal_sdk.amounts import (
    MAX_PAYMENT_BASE_UNITS,
    check_payment_amount,
    format_amount,
    parse_amount,
    to_decimal,
)
from deal_sdk.errors import InvalidAmountError

payable = st.integers(1, MAX_PAYMENT_BASE_UNITS)
decimals_of_a_mint = st.integers(0, 19)


@given(payable, decimals_of_a_mint)
def test_text_round_trips_without_losing_a_unit(base_units: int, decimals: int) -> None:
    text = format_amount(base_units, decimals=decimals)
    assert parse_amount(text, decimals=decimals) == base_units


@given(payable, decimals_of_a_mint)
def test_decimal_round_trips_without_losing_a_unit(base_units: int, decimals: int) -> None:
    assert parse_amount(to_decimal(base_units, decimals=decimals), decimals=decimals) == base_units


@given(st.integers(-(2**64), 2**64), decimals_of_a_mint)
def test_formatted_text_is_the_shortest_plain_form(base_units: int, decimals: int) -> None:
    text = format_amount(base_units, decimals=decimals)
    assert Decimal(text) * 10**decimals == base_units
    assert "E" not in text
    assert "." not in text or text[-1] not in "0."


@given(st.integers(0, 10**9), st.integers(1, 99))
def test_cents_are_exact(whole: int, cents: int) -> None:
    # int(amount * 10**6) by way of a float is wrong for some of these.
    assert parse_amount(f"{whole}.{cents:02}", decimals=6) == (whole * 100 + cents) * 10_000


@pytest.mark.parametrize(
    ("text", "base_units"),
    [
        ("1", 100_000_000),
        ("1.5", 150_000_000),
        ("+1.5", 150_000_000),
        ("0.00000001", 1),
        (".5", 50_000_000),
        ("1.500000000000", 150_000_000),
        ("0001", 100_000_000),
        ("92233720368.54775807", 2**63 - 1),
        (Decimal("1E+3"), 100_000_000_000),
        (Decimal("0.1"), 10_000_000),
    ],
)
def test_plain_numbers_are_accepted(text: str | Decimal, base_units: int) -> None:
    assert parse_amount(text) == base_units


@pytest.mark.parametrize(
    "value",
    [
        *(1.5, 1, True, False, None, b"1", ["1"], float("nan"), 10**30, object()),
        *("", " ", "1 ", " 1", "1_000", "1,5", "0x10", "one", "1.2.3", "--1", "+-1", ".", "+"),
        *("NaN", "sNaN", "Infinity", "-Infinity", "inf", "1e8", "1E8", "1e-8", "１", "١", "1\n", "1\x00"),
        *("0", "0.0", "-0", "-1", "-0.00000001"),
        *("0.000000001", "1.000000001", "1." + "0" * 61 + "1"),
        *("92233720368.54775808", "99999999999999999999", "1" * 64, "1" * 10_000),
        *(Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("-Infinity")),
        *(Decimal(0), Decimal("-1"), Decimal("1E-9"), Decimal("1E-999999"), Decimal("1E+999999")),
        *(Decimal.from_float(0.1), Decimal("1." + "0" * 80 + "1")),
    ],
)
def test_everything_else_is_refused(value: Any) -> None:
    with pytest.raises(InvalidAmountError) as caught:
        parse_amount(value)
    assert len(str(caught.value.facts["value"])) <= 100, "an error never repeats a huge input"


@given(st.text(max_size=80))
def test_no_text_escapes_the_typed_error(text: str) -> None:
    try:
        base_units = parse_amount(text)
    except InvalidAmountError:
        return
    assert 1 <= base_units <= MAX_PAYMENT_BASE_UNITS
    assert Decimal(text) * 10**8 == base_units


@given(st.decimals())
def test_no_decimal_escapes_the_typed_error(number: Decimal) -> None:
    try:
        base_units = parse_amount(number)
    except InvalidAmountError:
        return
    assert to_decimal(base_units) == number


@given(payable)
def test_a_payable_integer_is_kept(base_units: int) -> None:
    assert check_payment_amount(base_units) == base_units


@pytest.mark.parametrize("value", [0, -1, 2**63, 10**100, True, 1.0, "1", None, Decimal(1)])
def test_an_integer_that_cannot_be_paid_is_refused(value: Any) -> None:
    with pytest.raises(InvalidAmountError):
        check_payment_amount(value)


def test_a_change_of_balance_may_be_zero_or_negative() -> None:
    assert to_decimal(-150_000_000) == Decimal("-1.5")
    assert format_amount(0) == "0"
    assert format_amount(-150_000_000) == "-1.5"
    assert format_amount(100, decimals=0) == "100"
