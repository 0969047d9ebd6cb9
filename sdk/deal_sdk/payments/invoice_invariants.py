"""The rules of invoices that SQL alone can prove."""

from __future__ import annotations

import sqlalchemy as sa

from deal_sdk.records.credit_tables import token_operations
from deal_sdk.records.invariants import BrokenRows, broken
from deal_sdk.records.invoice_tables import COUNTED_OUTCOMES, invoice_payments, invoices
from deal_sdk.records.package_tables import credit_packages
from deal_sdk.records.tables import token_transactions

_invoice = invoices.c
_settled = invoice_payments.c
_payment = token_transactions.c
_entry = token_operations.c


def invoices_count_their_payments() -> BrokenRows:
    """What an invoice received is what arrived for it in time; with all of it, it is paid."""
    counted = sa.case((_settled.outcome.in_(COUNTED_OUTCOMES), _settled.amount), else_=0)
    total = sa.func.coalesce(sa.func.sum(counted), 0)
    return (
        broken("invoices", _invoice.id, "its payments in time are not what it says of them")
        .join_from(invoices, invoice_payments, _settled.invoice_id == _invoice.id, isouter=True)
        .group_by(_invoice.id, _invoice.received, _invoice.amount, _invoice.status)
        .having(
            sa.or_(
                total != _invoice.received,
                sa.and_(_invoice.status == "paid", _invoice.received < _invoice.amount),
                sa.and_(_invoice.status != "paid", _invoice.received >= _invoice.amount),
            )
        )
    )


def invoices_are_paid_by_deposits() -> BrokenRows:
    """Every payment of an invoice is a final deposit of its amount into the wallet that was to be paid."""
    return (
        broken("invoice_payments", _settled.payment_id, "is no deposit of its amount for its invoice")
        .join_from(invoice_payments, token_transactions, _payment.id == _settled.payment_id, isouter=True)
        .join(invoices, _invoice.id == _settled.invoice_id, isouter=True)
        .where(
            sa.or_(
                sa.func.coalesce(_payment.type, "") != "deposit",
                _payment.status != "finalized",
                _payment.amount != _settled.amount,
                _payment.to_address != _invoice.recipient,
            )
        )
    )


def invoices_grant_what_was_bought() -> BrokenRows:
    """The entry of a granted invoice is its user's; a package's has its credits."""
    differs = sa.and_(_invoice.package_id.is_not(None), _entry.amount != credit_packages.c.credits)
    return (
        broken("invoices", _invoice.id, "granted other than it says")
        .join_from(invoices, token_operations, _entry.id == _invoice.entry_id)
        .join(credit_packages, credit_packages.c.id == _invoice.package_id, isouter=True)
        .where(sa.or_(differs, _entry.user_id != _invoice.user_id, _invoice.granted_at.is_(None)))
    )
