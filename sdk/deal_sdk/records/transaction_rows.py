"""The values that the record of payments hands out and takes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID, uuid5

from deal_sdk.amounts import DEAL_DECIMALS, BaseUnits, check_payment_amount, format_amount
from deal_sdk.records.inputs import check_choice, check_text, check_time, optional_text
from deal_sdk.records.tables import ADDRESS_LENGTH, SIGNATURE_LENGTH

_EXTERNAL_NAMESPACE: Final = UUID("5b0f4a36-3d7c-4f0e-9a55-6c1f1f6a6f0d")
ExternalType: TypeAlias = Literal["deposit", "withdrawal", "mint", "burn"]
EXTERNAL_TYPES: Final = ("deposit", "withdrawal", "mint", "burn")
MAX_REASON_LENGTH: Final = 10_000


@dataclass(frozen=True, slots=True)
class Transaction:
    """One row of `token_transactions`: a payment, whatever became of it."""

    id: UUID
    idempotency_key: str | None
    fingerprint: str | None
    type: str
    status: str
    from_user_id: UUID | None
    to_user_id: UUID | None
    from_address: str | None
    to_address: str | None
    amount: BaseUnits
    reason: str | None
    instruction: Mapping[str, Any] | None
    refund_of: UUID | None
    """The payment that this one gives back, wholly or in part."""
    signature: str | None
    slot: int | None
    evidence: Mapping[str, Any] | None
    created_at: datetime
    updated_at: datetime
    confirmed_at: datetime | None
    finalized_at: datetime | None

    def to_dict(self, *, decimals: int = DEAL_DECIMALS) -> dict[str, Any]:
        """Return the payment as JSON-serialisable data, the amount as text in whole tokens.

        Args:
            decimals: the mint's decimals.
        """
        plain = {field.name: plain_value(getattr(self, field.name)) for field in fields(self)}
        return {**plain, "amount": format_amount(self.amount, decimals=decimals)}


TRANSACTION_COLUMNS: Final = tuple(field.name for field in fields(Transaction))
TRANSACTION_AMOUNTS: Final = ("amount",)
TRANSACTION_TIMES: Final = ("created_at", "updated_at", "confirmed_at", "finalized_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalTransfer:
    """A finalized transfer that the chain shows and no payment of ours explains."""

    type: ExternalType
    """A mint or a burn is one that was made elsewhere, such as the deployment's initial supply."""
    signature: str
    slot: int
    token_account: str
    """The account of ours whose balance changed; with signature and type it identifies the transfer."""
    amount: int
    """Base units, 1 to 2**63-1."""
    from_address: str | None = None
    to_address: str | None = None
    from_user_id: UUID | None = None
    to_user_id: UUID | None = None
    block_time: datetime | None = None
    reason: str | None = None

    @property
    def idempotency_key(self) -> str:
        """Return the key under which the transfer is recorded once."""
        return f"chain:{self.type}:{self.signature}:{self.token_account}"


def row_to_transaction(row: Mapping[Any, Any]) -> Transaction:
    """Make the value from a mapping that holds at least the table's columns."""
    return Transaction(**{name: row[name] for name in TRANSACTION_COLUMNS})


def external_values(transfer: ExternalTransfer, now: datetime) -> dict[str, Any]:
    """Return the row of a transfer found on chain.

    The row's own times say when it was recorded; when it happened is in `finalized_at`.

    Raises:
        InvalidInputError: for another type, malformed addresses or an amount out of range.
    """
    check_choice("type", transfer.type, EXTERNAL_TYPES)
    check_text("signature", transfer.signature, max_length=SIGNATURE_LENGTH)
    check_text("token_account", transfer.token_account, max_length=ADDRESS_LENGTH)
    happened_at = now if transfer.block_time is None else check_time("block_time", transfer.block_time)
    return {
        "id": uuid5(_EXTERNAL_NAMESPACE, transfer.idempotency_key),
        "idempotency_key": transfer.idempotency_key,
        "type": transfer.type,
        "status": "finalized",
        "from_user_id": transfer.from_user_id,
        "to_user_id": transfer.to_user_id,
        "from_address": optional_text("from_address", transfer.from_address, max_length=ADDRESS_LENGTH),
        "to_address": optional_text("to_address", transfer.to_address, max_length=ADDRESS_LENGTH),
        "amount": check_payment_amount(transfer.amount),
        "reason": optional_text("reason", transfer.reason, max_length=MAX_REASON_LENGTH),
        "signature": transfer.signature,
        "slot": transfer.slot,
        "created_at": now,
        "updated_at": now,
        "confirmed_at": happened_at,
        "finalized_at": happened_at,
    }


def plain_value(value: Any) -> Any:
    """Return a row's value as JSON knows it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
