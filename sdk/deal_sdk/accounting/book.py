"""The rules of double entry, without a database: operations in, entries out, each account's balance kept.

Owns what an operation does to the two accounts that it moves, or why it is refused. A book holds the
accounts of one database transaction and decides its operations one after another, each on the balances
that the one before it left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from deal_sdk.accounting.commands import EXPIRY_TYPE, MAX_CREDITS, Command, LedgerEntry, OperationResult
from deal_sdk.accounting.hashing import FIRST_HASH, chain_hash
from deal_sdk.accounting.lots import Lot, Lots
from deal_sdk.accounting.row_ids import RowIds
from deal_sdk.records.fingerprint import fingerprint_of

HoldState = Literal["live", "posted", "voided", "expired"]

WHOLE_HOLD: Final = 0
"""Stands for all that a hold holds, where an amount is asked for."""


@dataclass(slots=True)
class Account:
    """An account's head within one transaction."""

    id: UUID
    user_id: UUID | None
    balance: int = 0
    held: int = 0
    entries: int = 0
    head_hash: bytes = FIRST_HASH
    updated_at: datetime | None = None
    spent: int = 0
    """Of a user: all that was ever debited for operations, refunds not taken off."""
    in_lots: int = 0
    """Of the balance, in lots of their own; the rest never expires."""
    changed: bool = False

    @property
    def available(self) -> int:
        """Return what may be spent: the balance without what is held."""
        return self.balance - self.held


@dataclass(frozen=True, slots=True)
class Debit:
    """A debit that may be refunded: whose, how much, and how much of it is left to give back."""

    transfer_id: UUID
    user_id: UUID
    amount: int
    refundable: int


@dataclass(slots=True)
class Hold:
    """Credits put aside, and what has become of them."""

    id: UUID
    account_id: UUID
    operation_type: str
    amount: int
    expires_at: datetime
    created_at: datetime
    state: HoldState = "live"
    transfer_id: UUID | None = None
    ended_at: datetime | None = None
    metadata: Mapping[str, Any] | None = None
    command: Command | None = None
    """The one that made it in this transaction; None for one that was there before."""
    taken: int = 0
    """Of a posted one."""
    entry_id: UUID | None = None
    balance_after: int = 0
    changed: bool = False


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
    folded: set[UUID] = field(default_factory=set)
    """The debits that are asked for and were folded away."""
    holds: dict[UUID, Hold] = field(default_factory=dict)
    lots: Lots = field(default_factory=Lots)
    transfers: list[Transfer] = field(default_factory=list)
    entries: list[LedgerEntry] = field(default_factory=list)
    expiries: list[tuple[Command, OperationResult]] = field(default_factory=list)
    """The lots that expired, in the form of operations."""
    is_written: bool = False

    def apply(self, command: Command) -> OperationResult:
        """Decide one operation, and add its transfer and entries unless it is refused."""
        account = self.users.get(command.user_id)
        if account is None:
            return OperationResult(False, None, error="User not found", code="user_not_found")
        if command.kind == "hold":
            return self._hold(command, account)
        if command.kind in ("post", "void"):
            result = self._end_hold(command, account)
        else:
            result = self._change(command, account)
        if account.in_lots:
            self._tidy_lots(account, self.now)
        return result

    def expire(self) -> None:
        """End every hold and lot whose time is over, before anything is decided on what is left."""
        overdue = [one for one in self.holds.values() if one.state == "live" and one.expires_at <= self.now]
        for hold in sorted(overdue, key=lambda one: one.expires_at):
            self._release(hold, "expired")
            # As it would have been then: what it frees may pay a debt, unless it had expired before.
            if self.users[hold.account_id].in_lots:
                self._tidy_lots(self.users[hold.account_id], hold.expires_at)
        for account in self.users.values():
            if account.in_lots:
                self._tidy_lots(account, self.now)

    def _change(self, command: Command, account: Account) -> OperationResult:
        change = _change(command, account)
        refused = (
            _refusal(command, account, change)
            or self._refund_refusal(command, account)
            or self._lot_refusal(command)
        )
        if refused is not None:
            return _refused(account, *refused)
        if change == 0:
            return OperationResult(True, account.balance)
        entry = self._post(command, account, change)
        return OperationResult(True, account.balance, entry.id)

    def _tidy_lots(self, account: Account, at: datetime) -> None:
        """Enter what had expired by a time, then let free lots pay what the account owes."""
        for lot in self.lots.lapsed(account, at):
            amount = lot.free
            command = Command(
                "expire",
                account.id,
                EXPIRY_TYPE,
                amount,
                "expiry",
                metadata={"lot_id": str(lot.id)},
                fingerprint=fingerprint_of(kind="expire", lot=lot.id),
            )
            entry = self._post(command, account, -amount, expired=lot)
            self.expiries.append((command, OperationResult(True, account.balance, entry.id)))
        self.lots.settle(account)

    def _hold(self, command: Command, account: Account) -> OperationResult:
        if command.amount <= 0:
            return _refused(account, "Hold amount must be positive", "invalid_amount")
        if account.available < command.amount:
            return _refused(account, insufficient(command.amount, account.available), "insufficient_tokens")
        assert command.hold_id is not None
        self.holds[command.hold_id] = Hold(
            command.hold_id,
            account.id,
            command.type,
            command.amount,
            self.now + timedelta(seconds=command.lifetime_seconds),
            self.now,
            metadata=command.metadata,
            command=command,
        )
        if account.in_lots:
            self.lots.reserve(account, command.hold_id, command.amount)
        account.held += command.amount
        account.changed = True
        account.updated_at = account.updated_at or self.now
        return OperationResult(True, account.balance, hold_id=command.hold_id)

    def _end_hold(self, command: Command, account: Account) -> OperationResult:
        assert command.hold_id is not None
        hold = self.holds.get(command.hold_id)
        if hold is None:
            return _refused(account, "Hold not found", "hold_not_found")
        if command.kind == "void":
            return self._void(hold, account)
        amount = hold.amount if command.amount == WHOLE_HOLD else command.amount
        if hold.state == "posted" and amount == hold.taken:
            return OperationResult(True, hold.balance_after, hold.entry_id, hold_id=hold.id, replayed=True)
        if hold.state != "live":
            return _refused(account, f"Hold is {hold.state} already", "hold_not_live")
        if not 0 < amount <= hold.amount:
            return _refused(
                account, f"A hold of {hold.amount} cannot be posted as {amount}", "invalid_amount"
            )
        return self._post_hold(command, hold, account, amount)

    def _post_hold(self, command: Command, hold: Hold, account: Account, amount: int) -> OperationResult:
        self._release(hold, "posted")
        made = replace(command, kind="debit", type=hold.operation_type, metadata=hold.metadata)
        entry = self._post(made, account, -amount, posted=hold)
        hold.transfer_id, hold.taken = entry.transfer_id, amount
        hold.entry_id, hold.balance_after = entry.id, entry.balance_after
        return OperationResult(True, account.balance, entry.id, hold_id=hold.id)

    def _void(self, hold: Hold, account: Account) -> OperationResult:
        if hold.state == "posted":
            return _refused(account, "Hold is posted already", "hold_not_live")
        # One that expired gave its credits back too, which is all that its caller wants.
        was_live = hold.state == "live"
        if was_live:
            self._release(hold, "voided")
        return OperationResult(True, account.balance, hold_id=hold.id, replayed=not was_live)

    def _release(self, hold: Hold, state: HoldState) -> None:
        account = self.users[hold.account_id]
        account.held -= hold.amount
        account.changed = True
        self.lots.release(hold.id)
        hold.state, hold.ended_at, hold.changed = state, self.now, True

    def _refund_refusal(self, command: Command, account: Account) -> tuple[str, str] | None:
        if command.refund_of is None:
            return None
        debit = self.debits.get(command.refund_of)
        if command.refund_of in self.folded:
            return "Operation is too old to be refunded: it was folded away", "operation_folded"
        if debit is None or debit.user_id != account.id:
            return "Operation not found", "operation_not_found"
        if command.amount > debit.refundable:
            return (
                f"Refund exceeds the debit. Debited: {debit.amount}, Refundable: {debit.refundable}",
                "refund_exceeds_debit",
            )
        return None

    def _lot_refusal(self, command: Command) -> tuple[str, str] | None:
        if command.expires_at is None or command.expires_at > self.now:
            return None
        return "Credits cannot expire before they are granted", "expiry_in_the_past"

    def _post(
        self,
        command: Command,
        account: Account,
        change: int,
        *,
        posted: Hold | None = None,
        expired: Lot | None = None,
    ) -> LedgerEntry:
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
        if expired is not None:
            self.lots.empty(account, expired, self.now)
        elif change < 0 and account.in_lots:
            self._burn(account, transfer, posted)
        elif refund_of is not None:
            left = self.debits[command.refund_of].refundable  # type: ignore[index]
            self.lots.give_back(account, refund_of, change, left + change)
        elif command.makes_lot:
            self.lots.grant(account, _lot(transfer))
        return entry

    def _burn(self, account: Account, transfer: Transfer, posted: Hold | None) -> None:
        if posted is None:
            self.lots.burn(account, transfer.id, transfer.amount)
        else:
            self.lots.post(account, posted.id, posted.amount, transfer.id, transfer.amount)

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


def _lot(transfer: Transfer) -> Lot:
    command, at = transfer.command, transfer.created_at
    expires_at = command.expires_at
    if command.lifetime_seconds:
        expires_at = at + timedelta(seconds=command.lifetime_seconds)
    amount = transfer.amount
    return Lot(transfer.id, command.user_id, command.priority, amount, amount, 0, expires_at, at)


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
    if command.kind == "debit" and not command.allow_overdraft and account.available < command.amount:
        return insufficient(command.amount, account.available), "insufficient_tokens"
    if abs(account.balance + change) > MAX_CREDITS:
        return f"Balance cannot exceed {MAX_CREDITS}", "balance_too_large"
    return None


def _refused(account: Account, error: str, code: str) -> OperationResult:
    return OperationResult(False, account.balance, error=error, code=code)


def insufficient(required: int, available: int) -> str:
    """Say that a balance does not cover what is asked of it."""
    return f"Insufficient tokens. Required: {required}, Available: {available}"
