"""Erases what is personal about a user and keeps the books: amounts, times, hashes and used keys stay.

Metadata leaves its hash behind, so that the chain over the entries holds without it. What names the user
from outside (external id, name, wallets) goes; the id itself, which says nothing, keeps the books together.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.book import Book
from deal_sdk.accounting.commands import ERASURE_TYPE, Command, OperationResult
from deal_sdk.accounting.hashing import hash_metadata
from deal_sdk.accounting.journal import Journal
from deal_sdk.accounting.journal_rows import write_book
from deal_sdk.accounting.told_events import count_undelivered
from deal_sdk.errors import UserBusyError, UserNotFoundError
from deal_sdk.records import Database
from deal_sdk.records.accrual_tables import service_fee_accruals
from deal_sdk.records.credit_tables import credit_holds, credit_transfers, token_operations
from deal_sdk.records.erasure_tables import user_erasures
from deal_sdk.records.fingerprint import fingerprint_of
from deal_sdk.records.invoice_tables import invoices
from deal_sdk.records.package_tables import credit_package_grants
from deal_sdk.records.purchase_tables import purchase_policies
from deal_sdk.records.renewal_tables import credit_schedules
from deal_sdk.records.subscription_tables import subscriptions
from deal_sdk.records.tables import token_balance_history, token_transactions, token_wallets, users
from deal_sdk.records.wallet_tables import wallet_challenges

OPEN_PAYMENT_STATUSES: Final = ("pending", "confirmed")
PACKAGE_REASON: Final = "credit package %"
"""What a payment's reason begins with that says what was bought, and nothing of who bought it."""
ERASED_KEY: Final = "erased:"

_entry = token_operations.c
_transfer = credit_transfers.c
_hold = credit_holds.c
_payment = token_transactions.c
_wallet = token_wallets.c
_invoice = invoices.c
_fee = service_fee_accruals.c


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What was erased of a user, by kind; of one erased before, what was erased then."""

    user_id: UUID
    erased_at: datetime
    erased: dict[str, int]
    replayed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-serialisable data."""
        return {
            "user_id": str(self.user_id),
            "erased_at": self.erased_at.isoformat(),
            "erased": self.erased,
            "replayed": self.replayed,
        }


Outcome = tuple[ErasureReport, list[tuple[Command, OperationResult]]]


async def erase(database: Database, journal: Journal, user_id: UUID) -> ErasureReport:
    """Erase a user in one transaction; see `PersonalData.erase_user`."""

    async def unit(connection: AsyncConnection, book: Book) -> Outcome:
        before = (
            await connection.execute(sa.select(user_erasures).where(user_erasures.c.user_id == user_id))
        ).one_or_none()
        if before is not None:
            return ErasureReport(user_id, before.erased_at, before.erased, replayed=True), []
        if user_id not in book.users:
            raise UserNotFoundError("no such user", user_id=str(user_id))
        await _refuse_while_busy(connection, book, user_id)
        decided = _write_off(book, user_id)
        await write_book(connection, database, book)
        erased = await _erase_rows(connection, user_id, book.now)
        row = {"user_id": user_id, "erased_at": book.now, "erased": dict(erased)}
        await connection.execute(user_erasures.insert().values(row))
        return ErasureReport(user_id, book.now, dict(erased)), decided

    return await journal.run_unit([Command("reset", user_id, ERASURE_TYPE, 0, "expiry")], unit)


async def _refuse_while_busy(connection: AsyncConnection, book: Book, user_id: UUID) -> None:
    """Refuse while something is under way whose end has to find the user as it was."""
    under_way = {"credits_held": book.users[user_id].held}
    queries = _under_way(user_id, book.now, connection.dialect.name)
    for name, query in queries.items():
        under_way[name] = int((await connection.execute(query)).scalar_one())
    if found := {name: count for name, count in under_way.items() if count}:
        raise UserBusyError(
            "a user with payments or operations under way cannot be erased", user_id=str(user_id), **found
        )


def _under_way(user_id: UUID, now: datetime, dialect: str) -> dict[str, sa.Select[Any]]:
    """Build the counts of what is paid and not final, paid and not granted, to be paid, or to be told."""
    count = sa.select(sa.func.count())
    ungranted = sa.and_(_invoice.status != "open", _invoice.granted_at.is_(None))
    granted = sa.select(credit_package_grants.c.payment_id)
    is_missing = sa.and_(_payment.reason.like(PACKAGE_REASON), _payment.id.not_in(granted))
    return {
        "open_payments": count.where(_is_of(user_id), _payment.status.in_(OPEN_PAYMENT_STATUSES)),
        "packages_without_credits": count.where(
            _payment.from_user_id == user_id, _payment.status == "finalized", is_missing
        ),
        "open_invoices": count.where(
            _invoice.user_id == user_id,
            sa.or_(ungranted, sa.and_(_invoice.status == "open", _invoice.expires_at > now)),
        ),
        "unsettled_fees": count.where(_fee.user_id == user_id, _fee.payment_id.is_(None)),
        "undelivered_webhooks": count_undelivered(user_id, dialect),
    }


def _is_of(user_id: UUID) -> sa.ColumnElement[bool]:
    return sa.or_(_payment.from_user_id == user_id, _payment.to_user_id == user_id)


def _write_off(book: Book, user_id: UUID) -> list[tuple[Command, OperationResult]]:
    """Take what is left of the user's credits off, since nobody can spend it any more."""
    if book.users[user_id].balance <= 0:
        return []
    command = Command(
        "reset",
        user_id,
        ERASURE_TYPE,
        0,
        "expiry",
        fingerprint=fingerprint_of(kind="erasure", user=user_id),
    )
    return [(command, book.apply(command))]


async def _erase_rows(connection: AsyncConnection, user_id: UUID, now: datetime) -> Counter[str]:
    erased = Counter({"entries": await _erase_entries(connection, user_id)})
    erased["keys"] = await _erase_keys(connection, user_id)
    for kind, statement in _statements(user_id, now).items():
        erased[kind] = (await connection.execute(statement)).rowcount
    return erased


def _statements(user_id: UUID, now: datetime) -> dict[str, sa.Update | sa.Delete]:
    history, mine = token_balance_history.c, _is_of(user_id)
    return {
        "users": sa.update(users)
        .where(users.c.id == user_id)
        .values(
            external_id=None,
            username=None,
            channel_subscribed_at=None,
            last_gift_claim_at=None,
            erased_at=now,
            updated_at=now,
        ),
        "holds": sa.update(credit_holds)
        .where(_hold.account_id == user_id, _hold.metadata.is_not(None))
        .values(metadata=sa.null()),
        "payment_reasons": sa.update(token_transactions)
        .where(mine, _payment.reason.is_not(None), _payment.reason.not_like(PACKAGE_REASON))
        .values(reason=None),
        "history_reasons": sa.update(token_balance_history)
        .where(history.user_id == user_id, history.reason.is_not(None))
        .values(reason=None),
        "wallets": sa.update(token_wallets)
        .where(_wallet.user_id == user_id, _wallet.status == "active")
        .values(status="inactive", is_primary=False, disconnected_at=now),
        "challenges": sa.delete(wallet_challenges).where(wallet_challenges.c.user_id == user_id),
        "policies": sa.delete(purchase_policies).where(purchase_policies.c.user_id == user_id),
        "schedules": sa.delete(credit_schedules).where(credit_schedules.c.user_id == user_id),
        "subscriptions": sa.update(subscriptions)
        .where(subscriptions.c.user_id == str(user_id), subscriptions.c.state == "active")
        .values(state="removed", removed_at=now),
    }


async def _erase_entries(connection: AsyncConnection, user_id: UUID) -> int:
    """Put the hash of each entry's metadata in its place."""
    said = sa.select(_entry.id, _entry.metadata).where(
        _entry.account_id == user_id, _entry.metadata.is_not(None)
    )
    rows = (await connection.execute(said)).all()
    update = (
        sa.update(token_operations)
        .where(_entry.id == sa.bindparam("entry"))
        .values(metadata=sa.null(), metadata_hash=sa.bindparam("said"))
    )
    if rows:
        hashes = [{"entry": row.id, "said": hash_metadata(row.metadata)} for row in rows]
        await connection.execute(update, hashes)
    return len(rows)


async def _erase_keys(connection: AsyncConnection, user_id: UUID) -> int:
    """Put a hash in the place of each key that the user's credits were moved with."""
    mine = sa.select(_entry.transfer_id).where(_entry.account_id == user_id)
    count = 0
    for table, condition in (
        (credit_transfers, _transfer.id.in_(mine)),
        (credit_holds, _hold.account_id == user_id),
    ):
        key = table.c.idempotency_key
        query = sa.select(table.c.id, key).where(condition, key.is_not(None), ~key.startswith(ERASED_KEY))
        rows = (await connection.execute(query)).all()
        update = sa.update(table).where(table.c.id == sa.bindparam("row"))
        if rows:
            hashed = [{"row": row_id, "hashed": _hashed(text)} for row_id, text in rows]
            await connection.execute(update.values(idempotency_key=sa.bindparam("hashed")), hashed)
        count += len(rows)
    return count


def _hashed(key: str) -> str:
    return ERASED_KEY + hashlib.sha256(key.encode()).hexdigest()
