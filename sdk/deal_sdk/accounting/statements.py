"""A user's statement of a month: opening balance, each entry, closing balance, and what it came to.

Owns that it ties out: every entry begins where the one before it ended, and the sums that the database
makes by operation are the difference of both balances. Nothing that does not is handed out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.commands import LedgerEntry
from deal_sdk.accounting.ledger import to_entry
from deal_sdk.accounting.report_periods import ReportPeriod, ReportSpan, month_period
from deal_sdk.accounting.statement_page import page_of
from deal_sdk.accounting.usage_queries import credit_sums, credit_usage, payment_sums, payment_usage
from deal_sdk.accounting.usage_rows import CreditUsage, PaymentUsage
from deal_sdk.errors import InvalidInputError, StatementError, UserNotFoundError
from deal_sdk.records import Database, Transaction, User, UserId, parse_user_id, row_to_transaction
from deal_sdk.records.credit_tables import credit_holds, credit_openings, token_operations
from deal_sdk.records.database import Row
from deal_sdk.records.tables import token_transactions, users

MAX_STATEMENT_ENTRIES: Final = 50_000
"""Of credits and of payments each; more is no page that a person prints."""

_entry = token_operations.c
_hold = credit_holds.c
_folded = credit_openings.c.account_id
_payment = token_transactions.c


@dataclass(frozen=True, slots=True)
class StatementHold:
    """Credits that are put aside and not taken yet."""

    operation_type: str
    amount: int
    created_at: datetime
    expires_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the hold as JSON-serialisable data."""
        return {
            "operation_type": self.operation_type,
            "amount": self.amount,
            "created_at": self.created_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Statement:
    """A month of one user, as it stood when it was made."""

    user: User
    period: ReportPeriod
    made_at: datetime
    opening_balance: int
    closing_balance: int
    """At the month's end, or now where the month goes on."""
    entries: Sequence[LedgerEntry]
    """In their order."""
    totals: Sequence[CreditUsage]
    """By operation."""
    holds: Sequence[StatementHold]
    """Live ones, which the balances still contain."""
    payments: Sequence[Transaction]
    """Final ones in DEAL, in the order in which they became final."""
    payment_totals: Sequence[PaymentUsage]
    decimals: int

    @property
    def is_complete(self) -> bool:
        """Return whether the month is over, so that the statement stays as it is."""
        return self.made_at >= self.period.end

    def to_dict(self) -> dict[str, Any]:
        """Return the statement as JSON-serialisable data."""
        return {
            "user_id": str(self.user.id),
            "external_id": self.user.external_id,
            "username": self.user.username,
            "period_start": self.period.start.isoformat(),
            "period_end": self.period.end.isoformat(),
            "made_at": self.made_at.isoformat(),
            "is_complete": self.is_complete,
            "opening_balance": self.opening_balance,
            "closing_balance": self.closing_balance,
            "entries": [entry.to_dict() for entry in self.entries],
            "totals": [total.to_dict() for total in self.totals],
            "holds": [hold.to_dict() for hold in self.holds],
            "payments": [payment.to_dict(decimals=self.decimals) for payment in self.payments],
            "payment_totals": [total.to_dict(decimals=self.decimals) for total in self.payment_totals],
        }

    def to_html(self, *, heading: str = "Statement", symbol: str = "DEAL") -> str:
        """Return the statement as one HTML page to be shown, printed or sent; it loads nothing.

        Args:
            heading: the operator's name, say, above the page.
            symbol: of the token that was paid in.
        """
        return page_of(self, heading=heading, symbol=symbol)


class StatementReader:
    """Reads a month on one snapshot, so that all of it is of one moment."""

    def __init__(self, database: Database, *, decimals: int) -> None:
        """Keep the database, and the mint's decimals."""
        self._database = database
        self._decimals = decimals

    async def read(self, user_id: UserId, year: int, month: int, zone: str) -> Statement:
        """Return a statement; see `UsageReports.statement`."""
        parsed, period = parse_user_id(user_id), month_period(year, month, zone)
        now = self._database.clock.now()
        if period.start > now:
            raise InvalidInputError("the month has not begun", field="month")
        async with self._database.reading() as connection:
            statement = await self._read(connection, parsed, period, now)
        _tie_out(statement)
        return statement

    async def _read(
        self, connection: AsyncConnection, user_id: UUID, period: ReportPeriod, now: datetime
    ) -> Statement:
        found = (await connection.execute(sa.select(users).where(users.c.id == user_id))).one_or_none()
        if found is None:
            raise UserNotFoundError("User not found", user_id=str(user_id))
        span = ReportSpan(period.start, period.end, (period,))
        opening, last_sequence = await _opening(connection, user_id, period)
        entries = await _bounded(connection, _entries(user_id, period, last_sequence), "entries")
        totals = await connection.execute(credit_sums(span, [user_id], None))
        holds = await connection.execute(_holds(user_id, period, now))
        payments = await _bounded(connection, _payments(user_id, period), "payments")
        payment_totals = await connection.execute(payment_sums(span, [user_id], None))
        return Statement(
            user=User(**found._mapping),
            period=period,
            made_at=now,
            opening_balance=opening,
            closing_balance=entries[-1].balance_after if entries else opening,
            entries=tuple(map(to_entry, entries)),
            totals=tuple(credit_usage(span, row) for row in totals),
            holds=tuple(StatementHold(*row) for row in holds),
            payments=tuple(row_to_transaction(row._mapping) for row in payments),
            payment_totals=tuple(payment_usage(span, row) for row in payment_totals),
            decimals=self._decimals,
        )


def _tie_out(statement: Statement) -> None:
    """Refuse a statement whose entries do not lead from one balance to the other."""
    balance = statement.opening_balance
    for entry in statement.entries:
        if entry.balance_before != balance:
            raise StatementError(
                "the month's entries do not continue one another; 'dealctl verify' names the broken row",
                entry_id=str(entry.id),
                expected=balance,
                found=entry.balance_before,
            )
        balance += entry.amount
    net = sum(total.net for total in statement.totals)
    if net != statement.closing_balance - statement.opening_balance:
        raise StatementError(
            "the month's totals are not the difference of its balances",
            expected=statement.closing_balance - statement.opening_balance,
            found=net,
        )


async def _opening(connection: AsyncConnection, user_id: UUID, period: ReportPeriod) -> tuple[int, int]:
    """Return the balance at the beginning, and the sequence of the entry that made it.

    Raises:
        StatementError: entries of the month, or of later ones, were folded away.
    """
    folded = (await connection.execute(sa.select(credit_openings).where(_folded == user_id))).one_or_none()
    if folded is not None and folded.folded_until >= period.start:
        until = folded.folded_until.isoformat()
        raise StatementError("the month's entries were folded away", folded_until=until)
    query = (
        sa.select(_entry.balance_after, _entry.sequence)
        .where(_entry.account_id == user_id, _entry.created_at < period.start)
        .order_by(_entry.sequence.desc())
        .limit(1)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is not None:
        return row[0], row[1]
    return (0, 0) if folded is None else (folded.balance, folded.sequence)


async def _bounded(connection: AsyncConnection, query: sa.Select[Any], what: str) -> Sequence[Row]:
    rows: Sequence[Row] = (await connection.execute(query.limit(MAX_STATEMENT_ENTRIES + 1))).all()
    if len(rows) > MAX_STATEMENT_ENTRIES:
        raise StatementError(
            f"the month has more than {MAX_STATEMENT_ENTRIES} {what}; export them instead", what=what
        )
    return rows


def _entries(user_id: UUID, period: ReportPeriod, last_sequence: int) -> sa.Select[Any]:
    return (
        sa.select(token_operations)
        .where(_entry.account_id == user_id, _entry.sequence > last_sequence)
        .where(_entry.created_at < period.end)
        .order_by(_entry.sequence)
    )


def _holds(user_id: UUID, period: ReportPeriod, now: datetime) -> sa.Select[Any]:
    return (
        sa.select(_hold.operation_type, _hold.amount, _hold.created_at, _hold.expires_at)
        .where(_hold.account_id == user_id, _hold.state == "live", _hold.expires_at > now)
        .where(_hold.created_at < period.end)
        .order_by(_hold.created_at, _hold.id)
    )


def _payments(user_id: UUID, period: ReportPeriod) -> sa.Select[Any]:
    return (
        sa.select(token_transactions)
        .where(sa.or_(_payment.from_user_id == user_id, _payment.to_user_id == user_id))
        .where(_payment.status == "finalized")
        .where(_payment.finalized_at >= period.start, _payment.finalized_at < period.end)
        .order_by(_payment.finalized_at, _payment.id)
    )
