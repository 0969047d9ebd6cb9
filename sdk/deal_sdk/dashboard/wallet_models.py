"""The forms of the API's operations on watched wallets and the quota."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import Field

from deal_sdk.dashboard.models import Address, Answer, Limit, Request
from deal_sdk.records.export import ExportFormat
from deal_sdk.records.watch_tables import WALLET_TYPE_LENGTH

MAX_LABEL: Final = 80


class Wallet(Answer):
    """A watched wallet and how far its quota is used."""

    address: str
    label: str | None
    wallet_type: str | None
    status: str
    status_text: str
    stop_reason: str | None
    transaction_count: int
    max_transactions: int
    is_unlimited: bool
    has_custom_limit: bool
    next_stop: int | None
    progress_percent: int
    level: str
    badge: str
    stop_at: datetime | None
    added_at: datetime
    stopped_at: datetime | None
    last_polled_at: datetime | None
    last_transaction_at: datetime | None
    last_error: str | None
    rpc_calls_today: int
    pending_transactions: int
    deleted_number: int


class Wallets(Answer):
    """Every watched wallet, the oldest first, and the note on the quota."""

    items: list[Wallet]
    active: int
    max_active: int
    note: str


class WalletAnswer(Answer):
    """A wallet after a change, and what a page says of it."""

    wallet: Wallet
    message: str


class WalletReset(Answer):
    """A wallet whose count begins anew, and what was counted before."""

    wallet: Wallet
    export: str | None


class AddWallet(Request):
    """A wallet to be watched."""

    address: Address
    label: Annotated[str, Field(max_length=MAX_LABEL)] | None = None
    wallet_type: Annotated[str, Field(max_length=WALLET_TYPE_LENGTH)] | None = None
    max_transactions: int | None = None


class SetLimit(Request):
    """A wallet's own limit; null takes it back, 99999 is none."""

    max_transactions: int | None


class GrantMore(Request):
    """Transactions beyond a wallet's limit, once."""

    extra_transactions: int
    reason: str


class ScheduleStop(Request):
    """When a wallet stops, with its zone; null takes that back."""

    stop_at: datetime | None


class WatchedTransaction(Answer):
    """A transaction that was counted for a wallet."""

    number: int
    signature: str
    slot: int
    block_time: datetime | None
    succeeded: bool
    direction: str | None
    amount: str | None
    counterparty: str | None
    memo: str | None


class WatchedTransactions(Answer):
    """Transactions of a wallet, the newest first."""

    items: list[WatchedTransaction]
    next_before: int | None


class TransactionsQuery(Request):
    """Which of a wallet's transactions."""

    before: Annotated[int, Field(ge=1)] | None = None
    limit: Limit = 50


class ExportQuery(Request):
    """In which form transactions are handed out."""

    format: ExportFormat = "json"


class WalletExport(Answer):
    """All that was counted for a wallet since its last reset, as one text."""

    address: str
    format: ExportFormat
    export: str


class Quota(Answer):
    """RPC calls of the day against the quota."""

    day: str
    calls_used: int
    daily_quota: int
    used_percent: str
    forecast_calls: int
    forecast_percent: str
    will_exceed: bool
    active_wallets: int
    max_wallets: int
    calls_by_wallet: dict[str, int]
