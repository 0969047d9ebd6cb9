"""The values that the balance history takes in and hands out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import sqlalchemy as sa

from deal_sdk.amounts import DEAL_DECIMALS, MAX_U64, BaseUnits, format_amount
from deal_sdk.errors import InvalidInputError
from deal_sdk.records.inputs import check_text, check_time, optional_text
from deal_sdk.records.tables import ADDRESS_LENGTH, SIGNATURE_LENGTH
from deal_sdk.records.transaction_rows import MAX_REASON_LENGTH, plain_value

MAX_TYPE_LENGTH: Final = 16
_MAX_SLOT: Final = 2**63 - 1
_MAX_BLOCK_INDEX: Final = 2**31 - 1

Position = tuple[int, int]
"""Where a transaction stands on the chain: slot, and index within the block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceChange:
    """What one finalized transaction did to one token account, by its own token balances."""

    token_account: str
    owner_address: str
    user_id: UUID | None = None
    signature: str
    slot: int
    block_index: int
    balance_before: int
    """Base units, 0 to 2**64-1; 0 where the transaction shows none."""
    balance_after: int
    type: str
    """A payment's type, or what else explains the change; 1 to 16 characters."""
    reason: str | None = None
    block_time: datetime | None = None

    @property
    def position(self) -> Position:
        """Return the place on the chain that orders the account's history."""
        return self.slot, self.block_index

    def check(self) -> None:
        """Refuse what could not be stored.

        Raises:
            InvalidInputError: for a malformed text, a balance outside 64 bits or a negative position.
        """
        check_text("token_account", self.token_account, max_length=ADDRESS_LENGTH)
        check_text("owner_address", self.owner_address, max_length=ADDRESS_LENGTH)
        check_text("signature", self.signature, max_length=SIGNATURE_LENGTH)
        check_text("type", self.type, max_length=MAX_TYPE_LENGTH)
        optional_text("reason", self.reason, max_length=MAX_REASON_LENGTH)
        if self.block_time is not None:
            check_time("block_time", self.block_time)
        _check_range("slot", self.slot, _MAX_SLOT)
        _check_range("block_index", self.block_index, _MAX_BLOCK_INDEX)
        _check_range("balance_before", self.balance_before, MAX_U64)
        _check_range("balance_after", self.balance_after, MAX_U64)


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One row of `token_balance_history`."""

    id: int
    token_account: str
    sequence: int
    owner_address: str
    user_id: UUID | None
    signature: str
    slot: int
    block_index: int
    balance_before: BaseUnits
    balance_after: BaseUnits
    change: BaseUnits
    """After minus before; negative for a debit."""
    type: str
    reason: str | None
    block_time: datetime | None
    created_at: datetime

    def to_dict(self, *, decimals: int = DEAL_DECIMALS) -> dict[str, Any]:
        """Return the row as JSON-serialisable data, amounts as text in whole tokens.

        Args:
            decimals: the mint's decimals.
        """
        plain = {field.name: plain_value(getattr(self, field.name)) for field in fields(self)}
        amounts = {name: format_amount(plain[name], decimals=decimals) for name in HISTORY_AMOUNTS}
        return {**plain, **amounts}


HISTORY_COLUMNS: Final = tuple(field.name for field in fields(HistoryRow))
HISTORY_AMOUNTS: Final = ("balance_before", "balance_after", "change")
HISTORY_TIMES: Final = ("block_time", "created_at")


@dataclass(frozen=True, slots=True)
class TrackedAccount:
    """A token account whose history is kept, and how far it has been read."""

    address: str
    owner_address: str
    user_id: UUID | None
    history_signature: str | None
    history_slot: int


ViolationKind = Literal["sequence", "balance", "change", "order"]


@dataclass(frozen=True, slots=True)
class HistoryViolation:
    """A row that breaks its account's chain, with what it should have held."""

    kind: ViolationKind
    row_id: int
    token_account: str
    sequence: int
    expected: str
    found: str


def history_from_row(row: sa.Row[Any]) -> HistoryRow:
    """Make the value from a row of the whole table."""
    return HistoryRow(**row._mapping)


def _check_range(name: str, value: int, largest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
        raise InvalidInputError(
            f"{name} must be an int of 0 to {largest}", field=name, value=repr(value)[:64]
        )
