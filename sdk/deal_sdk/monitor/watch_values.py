"""Watched wallets as callers see them: the wallet, its transactions, its events and the quota."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from deal_sdk.amounts import format_amount
from deal_sdk.monitor.texts import STATUS_TEXTS, WARNING_SIGN
from deal_sdk.monitor.watch_windows import UNLIMITED, Window
from deal_sdk.records.transaction_rows import plain_value

WatchStatus = Literal["active", "limit-reached", "stopped"]
WatchLevel = Literal["normal", "warning", "limit"]


@dataclass(frozen=True, slots=True)
class WatchedWallet:
    """A wallet that is watched or was, with its count and the window that it is in."""

    address: str
    token_account: str
    label: str | None
    wallet_type: str | None
    is_active: bool
    stop_reason: str | None
    transaction_count: int
    max_transactions: int
    """The limit in force; 99999 means unlimited."""
    has_custom_limit: bool
    window_start: int
    granted: int
    """Transactions that an operator granted beyond this window's limit."""
    generation: int
    stop_at: datetime | None
    added_at: datetime
    stopped_at: datetime | None
    last_polled_at: datetime | None
    last_transaction_at: datetime | None
    last_error: str | None
    rpc_calls_today: int = 0
    pending_transactions: int = 0
    """Seen, and not counted yet."""
    deleted_number: int = 0
    """Up to this number its transactions were cleaned up; its count includes them."""

    @property
    def window(self) -> Window:
        """Return the window that the count is in."""
        return Window(self.window_start, self.max_transactions, self.granted)

    @property
    def is_unlimited(self) -> bool:
        """Return whether it never stops by itself."""
        return self.max_transactions == UNLIMITED

    @property
    def next_stop(self) -> int | None:
        """Return the count at which it stops by itself."""
        return self.window.next_stop

    @property
    def progress_percent(self) -> int:
        """Return how much of the window is used, 0 to 100."""
        return self.window.progress_percent(self.transaction_count)

    @property
    def status(self) -> WatchStatus:
        """Return whether it is active, stopped by itself, or was stopped."""
        if self.is_active:
            return "active"
        return "limit-reached" if self.stop_reason == "limit-reached" else "stopped"

    @property
    def status_text(self) -> str:
        """Return the status as a badge shows it."""
        return STATUS_TEXTS[self.status]

    @property
    def level(self) -> WatchLevel:
        """Return what its bar warns of: green is normal, orange a warning, red the limit."""
        if self.status == "limit-reached":
            return "limit"
        warning_count = self.window.warning_count
        is_near = warning_count is not None and self.transaction_count >= warning_count
        return "warning" if is_near else "normal"

    @property
    def badge(self) -> str:
        """Return the count beside its limit, with a warning sign from 90 % of the window."""
        text = f"{self.transaction_count}/{'unlimited' if self.is_unlimited else self.max_transactions}"
        return text if self.level == "normal" else f"{WARNING_SIGN} {text}"

    def to_dict(self) -> dict[str, Any]:
        """Return the wallet as JSON-serialisable data, with what is derived from its count."""
        values = {name: plain_value(value) for name, value in asdict(self).items()}
        del values["generation"], values["granted"]
        derived = ("status", "status_text", "is_unlimited", "next_stop", "progress_percent", "level", "badge")
        return values | {name: getattr(self, name) for name in derived}


@dataclass(frozen=True, slots=True)
class WatchedTransaction:
    """A transaction that was counted for a wallet."""

    number: int
    signature: str
    slot: int
    block_time: datetime | None
    succeeded: bool
    direction: str | None
    amount_base_units: int | None
    counterparty: str | None
    memo: str | None
    counted_at: datetime
    decimals: int

    @property
    def amount(self) -> str | None:
        """Return the DEAL that came or went, in whole tokens."""
        if self.amount_base_units is None:
            return None
        return format_amount(self.amount_base_units, decimals=self.decimals)

    def to_dict(self) -> dict[str, Any]:
        """Return the transaction as JSON-serialisable data."""
        values = {name: plain_value(value) for name, value in asdict(self).items()}
        del values["decimals"]
        return values | {"amount": self.amount}


TRANSACTION_COLUMNS = (
    *("number", "signature", "slot", "block_time", "succeeded", "direction", "amount"),
    *("amount_base_units", "counterparty", "memo", "counted_at"),
)
"""The columns of an export, in their order."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One entry of the monitor's log; ids only increase, and none arrives late."""

    id: int
    type: str
    address: str
    data: Mapping[str, Any]
    timestamp: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the envelope as JSON-serialisable data."""
        return {
            "id": self.id,
            "type": self.type,
            "data": dict(self.data),
            "timestamp": self.timestamp.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class WatchReset:
    """A wallet whose count began anew, and what had been counted before."""

    wallet: WatchedWallet
    export: str | None
    """As CSV or JSON; None when none was asked for."""

    def to_dict(self) -> dict[str, Any]:
        """Return the reset as JSON-serialisable data."""
        return {"wallet": self.wallet.to_dict(), "export": self.export}


@dataclass(frozen=True, slots=True)
class WatchCleanup:
    """What a cleanup deleted."""

    events: int
    """Events of the log."""
    rpc_usage: int
    """Counts of RPC calls, one per wallet and day."""
    transactions: int = 0
    """Counted transactions, where they are cleaned up."""

    def to_dict(self) -> dict[str, int]:
        """Return the cleanup as JSON-serialisable data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class QuotaOverview:
    """RPC calls that watching used today, against what the provider allows."""

    day: str
    calls_used: int
    daily_quota: int
    forecast_calls: int
    """Calls by the end of the day, if the rest of it is like what is past."""
    active_wallets: int
    max_wallets: int
    calls_by_wallet: Mapping[str, int]
    note: str

    @property
    def used_percent(self) -> Decimal:
        """Return how much of the quota is used, with one decimal."""
        return _percent(self.calls_used, self.daily_quota)

    @property
    def forecast_percent(self) -> Decimal:
        """Return how much of the quota the day will have used, with one decimal."""
        return _percent(self.forecast_calls, self.daily_quota)

    @property
    def will_exceed(self) -> bool:
        """Return whether the day will use more than the quota."""
        return self.forecast_calls > self.daily_quota

    def to_dict(self) -> dict[str, Any]:
        """Return the overview as JSON-serialisable data."""
        values = asdict(self) | {"calls_by_wallet": dict(self.calls_by_wallet)}
        percents = {name: str(getattr(self, name)) for name in ("used_percent", "forecast_percent")}
        return values | percents | {"will_exceed": self.will_exceed}


def _percent(part: int, whole: int) -> Decimal:
    return (Decimal(part) * 100 / Decimal(whole)).quantize(Decimal("0.1"))
