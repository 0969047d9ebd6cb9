"""Amounts of one mint, as callers give and see them."""

from __future__ import annotations

from decimal import Decimal

from deal_sdk.amounts import Amount, BaseUnits, parse_amount, to_decimal
from deal_sdk.chain import MintFacts


class MintAmounts:
    """Turns whole tokens into base units and back, by the mint's decimals."""

    _mint: MintFacts

    def _units(self, amount: Amount) -> BaseUnits:
        return parse_amount(amount, decimals=self._mint.decimals)

    def _shown(self, amount_base_units: int) -> Decimal:
        return to_decimal(amount_base_units, decimals=self._mint.decimals)
