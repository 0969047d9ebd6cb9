"""SQL records: the schema, the database, and everything that is read from it or appended to it.

This area owns every SQL table, the engines, transactions and migrations; users, the record of payments
and the history of balances are read and appended here. It never talks to the chain, never decides
whether a payment may be made, and never changes a payment's state: that is for payments to do.
"""

from deal_sdk.records import (
    accrual_tables,
    allowance_tables,
    credit_tables,
    dashboard_tables,
    erasure_tables,
    invoice_tables,
    lookup_tables,
    lot_tables,
    package_tables,
    purchase_tables,
    renewal_tables,
    subscription_tables,
    wallet_tables,
    watch_tables,
    webhook_tables,
)
from deal_sdk.records.attempts import Attempt
from deal_sdk.records.batch_tables import payment_batches, payment_carriers
from deal_sdk.records.database import Database
from deal_sdk.records.history import BalanceHistoryRecorder, HistoryFilters
from deal_sdk.records.history_rows import BalanceChange, HistoryRow, HistoryViolation, TrackedAccount
from deal_sdk.records.inputs import UserId, parse_payment_id, parse_user_id
from deal_sdk.records.meta import bind_chain, get_meta, put_meta
from deal_sdk.records.paging import Page
from deal_sdk.records.schema import check_schema, current_revision, upgrade
from deal_sdk.records.transaction_rows import ExternalTransfer, ExternalType, Transaction, row_to_transaction
from deal_sdk.records.transactions import TransactionFilters, TransactionRecorder
from deal_sdk.records.users import User, UserDirectory

__all__ = [
    "Attempt",
    "BalanceChange",
    "BalanceHistoryRecorder",
    "Database",
    "ExternalTransfer",
    "ExternalType",
    "HistoryFilters",
    "HistoryRow",
    "HistoryViolation",
    "Page",
    "TrackedAccount",
    "Transaction",
    "TransactionFilters",
    "TransactionRecorder",
    "User",
    "UserDirectory",
    "UserId",
    "accrual_tables",
    "allowance_tables",
    "bind_chain",
    "check_schema",
    "credit_tables",
    "current_revision",
    "dashboard_tables",
    "erasure_tables",
    "get_meta",
    "invoice_tables",
    "lookup_tables",
    "lot_tables",
    "package_tables",
    "parse_payment_id",
    "parse_user_id",
    "payment_batches",
    "payment_carriers",
    "purchase_tables",
    "put_meta",
    "renewal_tables",
    "row_to_transaction",
    "subscription_tables",
    "upgrade",
    "wallet_tables",
    "watch_tables",
    "webhook_tables",
]
