"""A watched wallet's buy, whoever told of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from deal_sdk.chain.addresses import parse_address
from deal_sdk.errors import InvalidInputError

MAX_INSTRUCTION_INDEX: Final = 10_000
MAX_SLOT: Final = 2**63 - 1
_SIGNATURE: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{64,88}")
_AMOUNT: Final = re.compile(r"\d{1,40}(\.\d{1,20})?")


@dataclass(frozen=True, slots=True)
class WatchedBuy:
    """What one transaction brought a wallet of one token, for something that it paid.

    Signature, instruction index and mint say which buy it is: two with the same are one.
    """

    signature: str
    kol_wallet: str
    token_mint: str
    instruction_index: int = 0
    """0 for the transaction as a whole, which is how webhooks tell of it."""
    token_amount: str | None = None
    """In whole tokens, exactly as told; for information."""
    slot: int | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be recorded.

        Raises:
            InvalidInputError: for a signature, index, amount or slot that is none.
            InvalidWalletAddressError: for a wallet or mint that is no address.
        """
        if not isinstance(self.signature, str) or not _SIGNATURE.fullmatch(self.signature):
            raise InvalidInputError("a signature has 64 to 88 base58 characters", field="signature")
        parse_address(self.kol_wallet)
        parse_address(self.token_mint)
        _check_integer("instruction_index", self.instruction_index, MAX_INSTRUCTION_INDEX)
        if self.slot is not None:
            _check_integer("slot", self.slot, MAX_SLOT)
        if self.token_amount is not None and not _AMOUNT.fullmatch(self.token_amount):
            raise InvalidInputError("token_amount is a decimal number as text", field="token_amount")


def _check_integer(name: str, value: int, maximum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= maximum:
        raise InvalidInputError(f"{name} is an integer from 0 to {maximum}", field=name)
