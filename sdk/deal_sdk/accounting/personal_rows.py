"""Which rows of which tables are one user's, so that all of them can be handed over.

Owns the answer for every table of the package: how its rows belong to a user, or why none does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.told_events import names_user
from deal_sdk.records.tables import metadata

MAX_JSON_INTEGER: Final = 2**63 - 1

Owned = Callable[[UUID, str], sa.ColumnElement[bool]]
"""Builds the condition for a user's rows, from the user's id and the database's dialect."""

_tables: Final = metadata.tables
_wallet = _tables["token_wallets"].c
_payment = _tables["token_transactions"].c
_entry = _tables["token_operations"].c
_hold = _tables["credit_holds"].c
_lot = _tables["credit_lots"].c
_event = _tables["webhook_events"].c


def _by(table: str, column: str = "user_id") -> Owned:
    """Return the condition for a column that has the user's id, whether as UUID or as text."""
    found = _tables[table].c[column]
    is_text = isinstance(found.type, sa.String)
    return lambda user_id, _: found == (str(user_id) if is_text else user_id)


def _of_address(table: str, column: str) -> Owned:
    """Return the condition for a column that has the address of one of the user's wallets."""
    found = _tables[table].c[column]
    return lambda user_id, _: found.in_(sa.select(_wallet.address).where(_wallet.user_id == user_id))


def _of_payment(table: str) -> Owned:
    found = _tables[table].c.payment_id
    return lambda user_id, dialect: found.in_(sa.select(_payment.id).where(_paid(user_id, dialect)))


def _paid(user_id: UUID, _: str) -> sa.ColumnElement[bool]:
    return sa.or_(_payment.from_user_id == user_id, _payment.to_user_id == user_id)


def _of_transfer(user_id: UUID, _: str) -> sa.ColumnElement[bool]:
    mine = sa.select(_entry.transfer_id).where(_entry.account_id == user_id)
    return _tables["credit_transfers"].c.id.in_(mine)


def _of_lot(table: str) -> Owned:
    found = _tables[table].c.lot_id
    return lambda user_id, _: found.in_(sa.select(_lot.id).where(_lot.account_id == user_id))


def _of_subscription(user_id: UUID, _: str) -> sa.ColumnElement[bool]:
    subscription = _tables["subscriptions"].c
    mine = sa.select(subscription.id).where(subscription.user_id == str(user_id))
    return _tables["subscription_purchases"].c.subscription_id.in_(mine)


def _of_invoice(user_id: UUID, dialect: str) -> sa.ColumnElement[bool]:
    """Return the condition for what arrived for the user's invoices, or from the user for another's."""
    invoice, arrived = _tables["invoices"].c, _tables["invoice_payments"].c
    mine = arrived.invoice_id.in_(sa.select(invoice.id).where(invoice.user_id == user_id))
    return sa.or_(mine, _of_payment("invoice_payments")(user_id, dialect))


def _delivered(user_id: UUID, dialect: str) -> sa.ColumnElement[bool]:
    told = sa.select(_event.id).where(names_user(user_id, dialect))
    return _tables["webhook_deliveries"].c.event_id.in_(told)


OWNED_TABLES: Final[Mapping[str, Owned]] = MappingProxyType(
    {
        "users": _by("users", "id"),
        "user_erasures": _by("user_erasures"),
        "token_wallets": _by("token_wallets"),
        "wallet_challenges": _by("wallet_challenges"),
        "token_accounts": _by("token_accounts"),
        "token_balance_history": _by("token_balance_history"),
        "token_transactions": _paid,
        "payment_attempts": _of_payment("payment_attempts"),
        "prepared_transactions": _of_payment("prepared_transactions"),
        "balance_reservations": _of_payment("balance_reservations"),
        "service_fee_settlements": _of_payment("service_fee_settlements"),
        "service_fee_accruals": _by("service_fee_accruals"),
        "token_rewards": _by("token_rewards"),
        "credit_package_grants": _of_payment("credit_package_grants"),
        "credit_accounts": _by("credit_accounts", "id"),
        "credit_openings": _by("credit_openings", "account_id"),
        "credit_transfers": _of_transfer,
        "token_operations": _by("token_operations", "account_id"),
        "credit_holds": _by("credit_holds", "account_id"),
        "credit_lots": _by("credit_lots", "account_id"),
        "credit_lot_burns": _of_lot("credit_lot_burns"),
        "credit_lot_holds": _of_lot("credit_lot_holds"),
        "credit_schedules": _by("credit_schedules"),
        "credit_renewals": _by("credit_renewals"),
        "subscription_history": _by("subscription_history"),
        "allowance_charges": _of_payment("allowance_charges"),
        "prepared_allowances": _of_address("prepared_allowances", "owner_address"),
        "invoices": _by("invoices"),
        "invoice_payments": _of_invoice,
        "purchase_policies": _by("purchase_policies"),
        "token_purchases": _by("token_purchases"),
        "subscriptions": _by("subscriptions"),
        "subscription_purchases": _of_subscription,
        "watched_wallets": _of_address("watched_wallets", "address"),
        "watched_transactions": _of_address("watched_transactions", "wallet"),
        "watch_cursors": _of_address("watch_cursors", "wallet"),
        "watch_events": _of_address("watch_events", "address"),
        "webhook_events": names_user,
        "webhook_deliveries": _delivered,
    }
)
NOBODYS_TABLES: Final = frozenset(
    {
        # The operator's own.
        *("deal_meta", "token_pricing", "credit_packages", "lookup_tables", "workers"),
        *("dashboard_tokens", "dashboard_sessions", "webhook_endpoints", "webhook_secrets"),
        *("watch_state", "watch_rpc_usage"),
        # Of many users at once: a batch has only counts, sums and a hash; each one's payment stands in
        # token_transactions.
        *("payment_batches", "payment_carriers"),
        # Secrets, which nobody is handed.
        "keystore_keys",
    }
)


async def rows_of(connection: AsyncConnection, user_id: UUID) -> dict[str, list[dict[str, Any]]]:
    """Read a user's rows of every table, as JSON-serialisable data.

    Args:
        connection: a snapshot, so that all rows are of one moment.
        user_id: whose.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for name, owned in OWNED_TABLES.items():
        table = _tables[name]
        query = sa.select(table).where(owned(user_id, connection.dialect.name))
        rows = await connection.execute(query.order_by(*table.primary_key))
        found[name] = [{str(key): _plain(value) for key, value in row._mapping.items()} for row in rows]
    return found


def _plain(value: Any) -> Any:
    """Return a column's value as JSON says it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_JSON_INTEGER:
        return str(value)
    return value
