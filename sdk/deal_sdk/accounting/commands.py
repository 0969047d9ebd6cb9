"""What is asked of the ledger and what it answers: one credit operation, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import orjson

from deal_sdk.errors import InvalidInputError
from deal_sdk.records.credit_tables import OPERATION_TYPE_LENGTH
from deal_sdk.records.fingerprint import fingerprint_of
from deal_sdk.records.inputs import check_idempotency_key, check_text

MAX_CREDITS: Final = 2**62
"""The most credits of one operation and of one balance, so that no sum of two leaves a BIGINT column."""
MAX_METADATA_BYTES: Final = 65_536

CommandKind = Literal["debit", "credit", "refund", "reset", "hold", "post", "void"]
OperatorAccount = Literal["issuance", "revenue"]

REFUND_TYPE: Final = "refund"
RESET_TYPE: Final = "monthly_reset"


@dataclass(frozen=True, slots=True)
class Command:
    """One operation as its caller meant it, checked and not yet decided."""

    kind: CommandKind
    user_id: UUID
    type: str
    amount: int
    """Of a reset the balance that is wanted; else how many credits move."""
    operator: OperatorAccount
    allow_overdraft: bool = False
    refund_of: UUID | None = None
    """The debit's entry that is given back."""
    hold_id: UUID | None = None
    """The hold that is made, posted or voided."""
    lifetime_seconds: int = 0
    """Of a hold that is made."""
    metadata: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class OperationResult:
    """What became of one credit operation; a refusal is a result, with the reason as text and as code."""

    success: bool
    new_balance: int | None
    """The balance after it, or as it stays after a refusal; None where there is no such user."""
    ledger_entry_id: UUID | None = None
    error: str | None = None
    code: str | None = None
    hold_id: UUID | None = None
    replayed: bool = False
    """Whether the idempotency key was used before, and this is what was done then."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-serialisable data."""
        entry_id = self.ledger_entry_id
        return {
            "success": self.success,
            "new_balance": self.new_balance,
            "ledger_entry_id": None if entry_id is None else str(entry_id),
            "error": self.error,
            "code": self.code,
            "hold_id": None if self.hold_id is None else str(self.hold_id),
            "replayed": self.replayed,
        }


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One entry of an account: what changed, and the balance around it."""

    id: UUID
    transfer_id: UUID
    account_id: UUID
    user_id: UUID | None
    operation_type: str
    amount: int
    balance_before: int
    balance_after: int
    sequence: int
    entry_hash: bytes
    metadata: Mapping[str, Any] | None
    created_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON-serialisable data."""
        return {
            "id": str(self.id),
            "transfer_id": str(self.transfer_id),
            "user_id": None if self.user_id is None else str(self.user_id),
            "operation_type": self.operation_type,
            "amount": self.amount,
            "balance_before": self.balance_before,
            "balance_after": self.balance_after,
            "sequence": self.sequence,
            "entry_hash": self.entry_hash.hex(),
            "metadata": None if self.metadata is None else dict(self.metadata),
            "created_at": self.created_at.isoformat(),
        }


def check_credits(name: str, amount: object) -> int:
    """Accept a whole number of credits, of whatever sign: what is too small is the ledger's to refuse.

    Raises:
        InvalidInputError: for a float, a bool, a text, or a number beyond `MAX_CREDITS`.
    """
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise InvalidInputError(f"{name} must be a whole number of credits", field=name)
    if not -MAX_CREDITS <= amount <= MAX_CREDITS:
        raise InvalidInputError(f"{name} is beyond {MAX_CREDITS} credits", field=name)
    return amount


def check_operation_type(name: str) -> str:
    """Accept an operation's type of 1 to 64 characters.

    Raises:
        InvalidInputError: for another length or type.
    """
    return check_text("operation_type", name, max_length=OPERATION_TYPE_LENGTH)


def check_metadata(metadata: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Accept what JSON can say in 64 KiB, and return it as it will be read back.

    Raises:
        InvalidInputError: for something that is no JSON object, or a larger one.
    """
    if metadata is None:
        return None
    try:
        # Through text and back, so that what is hashed now is what the database returns later.
        text = orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise InvalidInputError(f"metadata cannot be written as JSON: {error}", field="metadata") from None
    if len(text) > MAX_METADATA_BYTES:
        raise InvalidInputError(f"metadata is over {MAX_METADATA_BYTES} bytes of JSON", field="metadata")
    if b"\\u0000" in text:
        raise InvalidInputError("metadata holds a NUL, which PostgreSQL cannot store", field="metadata")
    found = orjson.loads(text)
    if not isinstance(found, dict):
        raise InvalidInputError("metadata must be a JSON object", field="metadata")
    return found


def complete(
    command: Command,
    metadata: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
    *,
    allow_overdraft: bool = False,
) -> Command:
    """Check what a caller gave, and hash it for the key.

    Raises:
        InvalidInputError: for what no operation can be.
    """
    said = check_metadata(metadata)
    return replace(
        command,
        type=check_operation_type(command.type),
        amount=check_credits("amount", command.amount),
        allow_overdraft=allow_overdraft,
        metadata=said,
        idempotency_key=check_idempotency_key(idempotency_key),
        fingerprint=fingerprint_of(
            kind=command.kind,
            user=command.user_id,
            type=command.type,
            amount=command.amount,
            allow_overdraft=allow_overdraft,
            refund_of=command.refund_of,
            metadata=said,
        ),
    )
