"""What is asked of the ledger and what it answers: one credit operation, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import orjson

from deal_sdk.errors import InvalidInputError
from deal_sdk.records.credit_tables import OPERATION_TYPE_LENGTH
from deal_sdk.records.fingerprint import fingerprint_of
from deal_sdk.records.inputs import check_idempotency_key, check_text, check_time
from deal_sdk.records.lot_tables import DEFAULT_LOT_PRIORITY, MAX_LOT_PRIORITY

MAX_CREDITS: Final = 2**62
"""The most credits of one operation and of one balance, so that no sum of two leaves a BIGINT column."""
MAX_METADATA_BYTES: Final = 65_536

CommandKind = Literal["debit", "credit", "refund", "reset", "hold", "post", "void", "expire"]
OperatorAccount = Literal["issuance", "revenue", "expiry"]

REFUND_TYPE: Final = "refund"
RESET_TYPE: Final = "monthly_reset"
EXPIRY_TYPE: Final = "credit_expiry"
ERASURE_TYPE: Final = "erasure"
RESERVED_TYPES: Final = frozenset({EXPIRY_TYPE, ERASURE_TYPE})
"""The ledger's own entries, which no caller makes."""
MAX_LOT_LIFETIME: Final = timedelta(days=36_500)


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
    """Of a hold or a lot that is made; 0 for a lot without one."""
    expires_at: datetime | None = None
    """Of a lot that is made."""
    priority: int = DEFAULT_LOT_PRIORITY
    """Of a lot that is made; lower ones are spent first."""
    metadata: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    fingerprint: str = ""

    @property
    def makes_lot(self) -> bool:
        """Return whether what it grants is a lot of its own."""
        return self.kind == "credit" and (
            self.expires_at is not None or self.lifetime_seconds > 0 or self.priority != DEFAULT_LOT_PRIORITY
        )


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
    metadata_hash: bytes | None = None
    """Of metadata that was erased."""

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


def with_lot(
    command: Command, expires_at: datetime | None, expires_in: timedelta | None, priority: int
) -> Command:
    """Say which lot a grant makes.

    Args:
        command: the grant.
        expires_at: when its credits expire.
        expires_in: or how long after the grant they do; 1 second to 36,500 days.
        priority: 0 to 100; lower ones are spent first.

    Raises:
        InvalidInputError: for both times, or one that cannot be meant.
    """
    if expires_at is not None and expires_in is not None:
        raise InvalidInputError("give expires_at or expires_in, not both", field="expires_in")
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= MAX_LOT_PRIORITY:
        raise InvalidInputError(f"priority must be 0 to {MAX_LOT_PRIORITY}", field="priority")
    seconds = 0
    if expires_in is not None:
        if (
            not isinstance(expires_in, timedelta)
            or not timedelta(seconds=1) <= expires_in <= MAX_LOT_LIFETIME
        ):
            raise InvalidInputError("expires_in must be 1 second to 36500 days", field="expires_in")
        seconds = expires_in // timedelta(seconds=1)
    at = None if expires_at is None else check_time("expires_at", expires_at)
    return replace(command, expires_at=at, lifetime_seconds=seconds, priority=priority)


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
    if command.type in RESERVED_TYPES:
        raise InvalidInputError("the ledger alone makes entries of this type", field="operation_type")
    lot = _lot_of(command) if command.makes_lot else {}
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
            **lot,
        ),
    )


def _lot_of(command: Command) -> dict[str, Any]:
    """Return what a key stands for beside a plain grant's input, which keeps its hash without it."""
    at = None if command.expires_at is None else command.expires_at.astimezone(UTC).isoformat()
    return {"expires_at": at, "lifetime_seconds": command.lifetime_seconds, "priority": command.priority}
