"""How amounts are shown."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from deal_localnet.token_state import ui_amount


@given(st.integers(0, 2**64 - 1), st.integers(0, 255))
def test_an_amount_is_shown_exactly_and_as_the_nearest_float(amount: int, decimals: int) -> None:
    exact = Decimal(amount).scaleb(-decimals)
    shown = ui_amount(amount, decimals)
    assert Decimal(shown["uiAmountString"]) == exact
    assert shown["uiAmountString"] == (f"{exact:f}".rstrip("0").rstrip(".") if decimals else str(amount))
    assert shown["uiAmount"] == float(exact)
    assert (shown["amount"], shown["decimals"]) == (str(amount), decimals)
