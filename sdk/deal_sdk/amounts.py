"""Money as integers: the only place where text or a Decimal becomes base units, and back.

One DEAL is 100,000,000 base units. Inside the package money is always an integer of base units;
`Decimal` and `str` are accepted at the edge, and a float never is, because a binary fraction is
not the amount that was written down.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation, localcontext
from typing import Final, NewType, TypeAlias

from deal_sdk.errors import InvalidAmountError

BaseUnits = NewType("BaseUnits", int)
"""An integer count of a token's smallest unit."""

Amount: TypeAlias = str | Decimal
"""What a caller may write for an amount in whole tokens, for example "1.5"."""

DEAL_DECIMALS: Final = 8
MAX_PAYMENT_BASE_UNITS: Final = 2**63 - 1
MAX_U64: Final = 2**64 - 1
MAX_TOKEN_DECIMALS: Final = 19
"""Above this, one whole token would not fit the 64 bits of an on-chain amount."""
_MAX_AMOUNT_TEXT_LENGTH: Final = 64
_PLAIN_CHARACTERS: Final = frozenset("0123456789.-+")
_CONTEXT_PRECISION_DIGITS: Final = 100
"""More than the longest amount has, so that scaling never rounds a digit away."""


def parse_amount(value: Amount, *, decimals: int = DEAL_DECIMALS) -> BaseUnits:
    """Convert an amount of whole tokens into base units, exactly or not at all.

    Args:
        value: a `str` such as "1.5" or a `Decimal`, in whole tokens. Floats, bools and ints are
            refused: a float is inexact, and an int does not say whether it counts tokens or base units.
        decimals: the mint's decimals, 0 to 19.

    Returns:
        The amount in base units, 1 to 2**63-1.

    Raises:
        InvalidAmountError: for another type, a text that is no plain number, zero, a negative
            amount, more decimals than the mint has, or more than 2**63-1 base units.
    """
    number = _to_decimal(value)
    with localcontext() as context:
        context.prec = _CONTEXT_PRECISION_DIGITS
        scaled = number.scaleb(decimals)
        if scaled != scaled.to_integral_value():
            raise InvalidAmountError(f"amount {value} has more than {decimals} decimals", value=str(value))
        return check_payment_amount(int(scaled))


def check_payment_amount(amount_base_units: int) -> BaseUnits:
    """Accept an integer of base units as a payable amount, so that zero and overflow stop at the edge.

    Args:
        amount_base_units: 1 to 2**63-1, the range of a BIGINT column.

    Raises:
        InvalidAmountError: when it is not an int or is out of range.
    """
    if isinstance(amount_base_units, bool) or not isinstance(amount_base_units, int):
        raise InvalidAmountError("base units must be an int", value=repr(amount_base_units))
    if amount_base_units <= 0:
        raise InvalidAmountError("amount must be greater than zero", value=str(amount_base_units))
    if amount_base_units > MAX_PAYMENT_BASE_UNITS:
        raise InvalidAmountError("amount exceeds 2**63-1 base units", value=str(amount_base_units)[:32])
    return BaseUnits(amount_base_units)


def to_decimal(amount_base_units: int, *, decimals: int = DEAL_DECIMALS) -> Decimal:
    """Convert base units into whole tokens for the reader, without losing a unit.

    Args:
        amount_base_units: any integer, also zero or negative (a change of balance).
        decimals: the mint's decimals.
    """
    with localcontext() as context:
        context.prec = _CONTEXT_PRECISION_DIGITS
        return Decimal(amount_base_units).scaleb(-decimals)


def format_amount(amount_base_units: int, *, decimals: int = DEAL_DECIMALS) -> str:
    """Write base units as a plain decimal text without trailing zeros, for example "1.5"."""
    text = f"{to_decimal(amount_base_units, decimals=decimals):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _to_decimal(value: Amount) -> Decimal:
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, str):
        number = _parse_text(value)
    else:
        raise InvalidAmountError(
            f"amount must be a str or a Decimal, not {type(value).__name__}", value=repr(value)[:64]
        )
    if not number.is_finite():
        raise InvalidAmountError("amount must be a finite number", value=str(number))
    if number <= 0:
        raise InvalidAmountError("amount must be greater than zero", value=str(number)[:32])
    if number.adjusted() > MAX_TOKEN_DECIMALS or len(number.as_tuple().digits) > _MAX_AMOUNT_TEXT_LENGTH:
        raise InvalidAmountError("amount exceeds 2**63-1 base units", value=str(number)[:32])
    return number


def _parse_text(value: str) -> Decimal:
    # Decimal() would take underscores, spaces, "NaN" and full-width digits, none of which is a price.
    if len(value) > _MAX_AMOUNT_TEXT_LENGTH or not _PLAIN_CHARACTERS.issuperset(value):
        raise InvalidAmountError("amount is not a plain decimal number", value=value[:32])
    try:
        return Decimal(value)
    except InvalidOperation:
        raise InvalidAmountError("amount is not a plain decimal number", value=value[:32]) from None
