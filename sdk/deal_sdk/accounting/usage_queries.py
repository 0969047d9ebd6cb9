"""The SQL of usage reports: who did anything within a span of time, and what it comes to.

Users are found first, a page of them, and their rows are summed by the database. Nothing needs an index
of its own: an account's entries rise with time, so the last one before the span, found from the newest
backwards, is where the reading begins; a ledger's debits pay for no report.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from deal_sdk.accounting.commands import REFUND_TYPE
from deal_sdk.accounting.report_periods import ReportSpan
from deal_sdk.accounting.usage_rows import CreditUsage, PaymentUsage
from deal_sdk.records.among import among
from deal_sdk.records.credit_tables import credit_accounts, credit_transfers, token_operations
from deal_sdk.records.database import Row
from deal_sdk.records.tables import token_transactions, users

_account = credit_accounts.c
_payment = token_transactions.c


def users_with_entries(span: ReportSpan, after: sa.ColumnElement[bool], limit: int) -> sa.Select[Any]:
    """Select the ids of users whose credits moved within a span, in their order.

    Args:
        span: what the report covers.
        after: that an id comes after the page before.
        limit: how many.
    """
    entry = token_operations.alias("later").c
    # The first entry from the span's beginning on: where it comes after the end, nothing lies within.
    first = (
        sa.select(entry.created_at)
        .where(entry.account_id == _account.id, entry.sequence > _last_before(span))
        .order_by(entry.sequence)
        .limit(1)
        .scalar_subquery()
    )
    found = sa.select(_account.id).where(_account.kind == "user", _account.updated_at >= span.since)
    return found.where(after, first < span.until).order_by(_account.id).limit(limit)


def credit_sums(span: ReportSpan, user_ids: Collection[UUID], operation_type: str | None) -> sa.Select[Any]:
    """Select what users spent and earned: a row per user, period and operation, in that order.

    Args:
        span: what the report covers.
        user_ids: whose.
        operation_type: of one operation alone, refunds of it included.
    """
    begins = (
        sa.select(_account.id, _last_before(span).label("sequence"))
        .where(among(_account.id, user_ids))
        .cte("begins")
        .prefix_with("MATERIALIZED")
    )
    entry, transfer, original = token_operations.c, credit_transfers.alias(), credit_transfers.alias()
    is_of_transfer = sa.and_(transfer.c.id == entry.transfer_id, entry.operation_type == REFUND_TYPE)
    moved = (
        sa.select(
            begins.c.id.label("user_id"),
            span.number_of(entry.created_at).label("period"),
            sa.func.coalesce(original.c.type, entry.operation_type).label("kind"),
            entry.amount,
            sa.case((transfer.c.refund_of.is_not(None), 1), else_=0).label("is_refund"),
        )
        .join_from(
            begins,
            token_operations,
            sa.and_(entry.account_id == begins.c.id, entry.sequence > begins.c.sequence),
        )
        .join(transfer, is_of_transfer, isouter=True)
        .join(original, original.c.id == transfer.c.refund_of, isouter=True)
        .where(entry.created_at >= span.since, entry.created_at < span.until)
        .subquery("moved")
    )
    row = moved.c
    is_operation = row.is_refund == 0
    return _grouped(
        moved,
        operation_type,
        _total(sa.and_(is_operation, row.amount < 0), -row.amount, "spent"),
        _total(sa.and_(is_operation, row.amount > 0), row.amount, "earned"),
        _total(row.is_refund == 1, row.amount, "refunded"),
        _total(is_operation, sa.literal_column("1"), "count"),
        sa.func.sum(row.is_refund).label("refunds"),
    )


def credit_usage(span: ReportSpan, row: Row) -> CreditUsage:
    """Make the value from a row of `credit_sums`."""
    user_id, number, kind, *sums = row
    return CreditUsage(user_id, span.periods[number], kind, *map(int, sums))


def users_with_payments(span: ReportSpan, after: sa.ColumnElement[bool], limit: int) -> sa.Select[Any]:
    """Select the ids of users who paid or received DEAL within a span, in their order."""
    sides = [
        sa.select(sa.literal_column("1")).where(side == users.c.id, *_finalized_within(span)).exists()
        for side in (_payment.from_user_id, _payment.to_user_id)
    ]
    return sa.select(users.c.id).where(after, sa.or_(*sides)).order_by(users.c.id).limit(limit)


def payment_sums(span: ReportSpan, user_ids: Collection[UUID], payment_type: str | None) -> sa.Select[Any]:
    """Select what users paid and received: a row per user, period and type of payment, in that order.

    A payment counts when it was final, and a refund in the row of the payment that it gives back.
    """
    original = token_transactions.alias("original")
    is_own = sa.func.coalesce(_payment.from_user_id == _payment.to_user_id, sa.false())
    sides = []
    for side, sign, counted in (
        (_payment.from_user_id, -1, sa.literal(1)),
        # Between a user's own wallets it is one payment, which was counted where it was paid.
        (_payment.to_user_id, 1, sa.case((is_own, 0), else_=1)),
    ):
        sides.append(
            sa.select(
                side.label("user_id"),
                span.number_of(_payment.finalized_at).label("period"),
                sa.func.coalesce(original.c.type, _payment.type).label("kind"),
                (_payment.amount * sign).label("amount"),
                sa.case((_payment.refund_of.is_not(None), 1), else_=0).label("is_refund"),
                counted.label("counted"),
            )
            .join_from(token_transactions, original, original.c.id == _payment.refund_of, isouter=True)
            .where(among(side, user_ids), *_finalized_within(span))
        )
    moved = sa.union_all(*sides).subquery("moved")
    row = moved.c
    is_payment = row.is_refund == 0
    return _grouped(
        moved,
        payment_type,
        _total(sa.and_(is_payment, row.amount < 0), -row.amount, "paid"),
        _total(sa.and_(is_payment, row.amount > 0), row.amount, "received"),
        _total(row.is_refund == 1, row.amount, "refunded"),
        _total(is_payment, row.counted, "count"),
        _total(row.is_refund == 1, row.counted, "refunds"),
    )


def payment_usage(span: ReportSpan, row: Row) -> PaymentUsage:
    """Make the value from a row of `payment_sums`."""
    user_id, number, kind, *sums = row
    return PaymentUsage(user_id, span.periods[number], kind, *map(int, sums))


def _last_before(span: ReportSpan) -> sa.ColumnElement[int]:
    """Return the sequence of an account's last entry before a span; 0 where there is none."""
    entry = token_operations.alias("earlier").c
    last = (
        sa.select(entry.sequence)
        .where(entry.account_id == _account.id, entry.created_at < span.since)
        .order_by(entry.sequence.desc())
        .limit(1)
        .correlate(credit_accounts)
        .scalar_subquery()
    )
    return sa.func.coalesce(last, 0)


def _finalized_within(span: ReportSpan) -> tuple[sa.ColumnElement[bool], ...]:
    at: Final = _payment.finalized_at
    return _payment.status == "finalized", at >= span.since, at < span.until


def _total(
    condition: sa.ColumnElement[bool], value: sa.ColumnElement[Any], name: str
) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((condition, value), else_=0)).label(name)


def _grouped(moved: sa.Subquery, kind: str | None, *sums: sa.ColumnElement[Any]) -> sa.Select[Any]:
    row = moved.c
    groups = (row.user_id, row.period, row.kind)
    query = sa.select(*groups, *sums).group_by(*groups).order_by(*groups)
    return query if kind is None else query.where(row.kind == kind)
