"""The rules of double entry, without a database: operations in, entries out, each account's balance kept.

Owns what an operation does to the two accounts that it moves, or why it is refused. A book holds the
accounts of one database transaction and decides its operations one after another, each on the balances
that the one before it left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from deal_sdk.accounting.commands import MAX_CREDITS, Command, LedgerEntry, OperationResult
from deal_sdk.accounting.row_ids import RowIds
from deal_sdk.records.credit_tables import HASH_BYTES

FIRST_HASH: Final = bytes(HASH_BYTES)
"""What an account's first entry has before it."""


@dataclass(slots=True)
class Account:
    """An account's head within one transaction."""

    id: UUID
    user_id: UUID | None
    balance: int = 0
    entries: int = 0
    head_hash: bytes = FIRST_HASH
    updated_at: datetime | None = None
    spent: int = 0
    """Of a user: all that was ever debited for operations, refunds not taken off."""
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Debit:
    """A debit that may be refunded: whose, how much, and how much of it is left to give back."""

    transfer_id: UUID
    user_id: UUID
    amount: int
    refundable: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """Credits that an operation moved."""

    id: UUID
    command: Command
    amount: int
    refund_of: UUID | None
    created_at: datetime


@dataclass(slots=True)
class Book:
    """The accounts of one transaction, and what its operations add to the ledger."""

    now: datetime
    ids: RowIds
    users: dict[UUID, Account]
    operators: dict[str, Account]
    debits: dict[UUID, Debit] = field(default_factory=dict)
    transfers: list[Transfer] = field(default_factory=list)
    entries: list[LedgerEntry] = field(default_factory=list)

    def apply(self, command: Command) -> OperationResult:
        """Decide one operation, and add its transfer and entries unless it is refused."""
        account = self.users.get(command.user_id)
        if account is None:
            return OperationResult(False, None, error="User not found", code="user_not_found")
        change = _change(command, account)
        refused = _refusal(command, account, change) or self._refund_refusal(command, account)
        if refused is not None:
            error, code = refused
            return OperationResult(False, account.balance, error=error, code=code)
        if change == 0:
            return OperationResult(True, account.balance)
        entry = self._post(command, account, change)
        return OperationResult(True, account.balance, entry.id)

    def _refund_refusal(self, command: Command, account: Account) -> tuple[str, str] | None:
        if command.refund_of is None:
            return None
        debit = self.debits.get(command.refund_of)
        if debit is None or debit.user_id != account.id:
            return "Operation not found", "operation_not_found"
        if command.amount > debit.refundable:
            return (
                f"Refund exceeds the debit. Debited: {debit.amount}, Refundable: {debit.refundable}",
                "refund_exceeds_debit",
            )
        return None

    def _post(self, command: Command, account: Account, change: int) -> LedgerEntry:
        refund_of = None
        if command.refund_of is not None:
            debit = self.debits[command.refund_of]
            refund_of = debit.transfer_id
            left = debit.refundable - change
            self.debits[command.refund_of] = Debit(debit.transfer_id, debit.user_id, debit.amount, left)
        operator = self.operators[command.operator]
        # Never before what the accounts show already, whatever other machines' clocks say.
        known = (account.updated_at, operator.updated_at)
        at = max(time for time in (self.now, *known) if time is not None)
        transfer = Transfer(self.ids.next(at), command, abs(change), refund_of, at)
        self.transfers.append(transfer)
        if command.kind == "debit":
            account.spent -= change
        entry = self._enter(transfer, account, change, command.metadata)
        self._enter(transfer, operator, -change, None)
        return entry

    def _enter(
        self, transfer: Transfer, account: Account, amount: int, metadata: Mapping[str, Any] | None
    ) -> LedgerEntry:
        before = account.balance
        account.balance += amount
        account.entries += 1
        account.updated_at = transfer.created_at
        account.changed = True
        account.head_hash = chain_hash(
            account.head_hash,
            transfer_id=transfer.id,
            account_id=account.id,
            operation_type=transfer.command.type,
            amount=amount,
            balance_after=account.balance,
            sequence=account.entries,
            metadata=metadata,
            created_at=transfer.created_at,
        )
        entry = LedgerEntry(
            self.ids.next(transfer.created_at),
            transfer.id,
            account.id,
            account.user_id,
            transfer.command.type,
            amount,
            before,
            account.balance,
            account.entries,
            account.head_hash,
            metadata,
            transfer.created_at,
        )
        self.entries.append(entry)
        return entry


def chain_hash(
    previous: bytes,
    *,
    transfer_id: UUID,
    account_id: UUID,
    operation_type: str,
    amount: int,
    balance_after: int,
    sequence: int,
    metadata: Mapping[str, Any] | None,
    created_at: datetime,
) -> bytes:
    """Hash an entry together with the hash before it, so that no entry can be altered or taken out.

    Returns:
        SHA-256, 32 bytes.
    """
    said = b"" if metadata is None else orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS)
    line = (
        f"|{transfer_id.hex}|{account_id.hex}|{len(operation_type)}:{operation_type}|{amount}"
        f"|{balance_after}|{sequence}|{int(created_at.timestamp() * 1_000_000)}|"
    )
    return hashlib.sha256(previous + line.encode() + said).digest()


def _change(command: Command, account: Account) -> int:
    if command.kind == "debit":
        return -command.amount
    if command.kind == "reset":
        return command.amount - account.balance
    return command.amount


def _refusal(command: Command, account: Account, change: int) -> tuple[str, str] | None:
    if command.kind == "reset":
        return ("Balance cannot be negative", "negative_balance") if command.amount < 0 else None
    if command.amount <= 0:
        return f"{command.kind.capitalize()} amount must be positive", "invalid_amount"
    if command.kind == "debit" and not command.allow_overdraft and account.balance + change < 0:
        return insufficient(command.amount, account.balance), "insufficient_tokens"
    if abs(account.balance + change) > MAX_CREDITS:
        return f"Balance cannot exceed {MAX_CREDITS}", "balance_too_large"
    return None


def insufficient(required: int, available: int) -> str:
    """Say that a balance does not cover what is asked of it."""
    return f"Insufficient tokens. Required: {required}, Available: {available}"
