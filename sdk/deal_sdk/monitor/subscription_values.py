"""What a subscription is, and what became of a buy that concerns it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from deal_sdk.errors import InvalidInputError
from deal_sdk.monitor.buys import WatchedBuy
from deal_sdk.records.subscription_tables import OPEN_STATES
from deal_sdk.records.transaction_rows import plain_value

TRADE: Final = "trade"
MAX_WATCH_CONFIG_BYTES: Final = 16_384
MAX_STOP_LOSS_PERCENTAGE: Final = 100
MAX_TAKE_PROFIT_PERCENTAGE: Final = 1_000_000
_PERCENTAGES: Final = ("take_profit_percentage", "stop_loss_percentage")


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """When to sell what was bought, in percent, and whatever else the executor wants to know."""

    take_profit_percentage: Decimal | None = None
    stop_loss_percentage: Decimal | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> WatchConfig:
        """Read one from plain data; numbers may be numbers or text.

        Raises:
            InvalidInputError: for percentages out of range, or data that is no JSON of at most 16 KB.
        """
        if not isinstance(given, Mapping):
            raise InvalidInputError("a watch_config is a mapping", field="watch_config")
        config = cls(
            _percentage(given, "take_profit_percentage", MAX_TAKE_PROFIT_PERCENTAGE),
            _percentage(given, "stop_loss_percentage", MAX_STOP_LOSS_PERCENTAGE),
            {name: value for name, value in given.items() if name not in _PERCENTAGES},
        )
        try:
            text = json.dumps(config.to_dict(), allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise InvalidInputError("a watch_config must be JSON", field="watch_config") from None
        if len(text) > MAX_WATCH_CONFIG_BYTES or not all(isinstance(name, str) for name in given):
            raise InvalidInputError("a watch_config has names and at most 16 KB", field="watch_config")
        return config

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data, percentages as text."""
        named = {name: getattr(self, name) for name in _PERCENTAGES}
        return {**self.more, **{name: str(value) for name, value in named.items() if value is not None}}


@dataclass(frozen=True, slots=True)
class Subscription:
    """Whose buys are followed for whom, and how."""

    id: UUID
    user_id: str
    kol_wallet: str
    type: str
    token_buy_count: int | None
    watch_config: WatchConfig | None
    created_at: datetime

    @property
    def is_limited(self) -> bool:
        """Say whether its purchases are checked and counted."""
        return self.watch_config is not None and bool(self.token_buy_count)

    def to_dict(self) -> dict[str, Any]:
        """Return the subscription as JSON-serialisable data."""
        return {
            "id": str(self.id),
            "user_id": self.user_id,
            "kol_wallet": self.kol_wallet,
            "type": self.type,
            "token_buy_count": self.token_buy_count,
            "watch_config": None if self.watch_config is None else self.watch_config.to_dict(),
            "created_at": plain_value(self.created_at),
        }


@dataclass(frozen=True, slots=True)
class SubscriptionPurchase:
    """One buy as it concerns one subscription, and what became of it."""

    id: UUID
    subscription: Subscription
    buy: WatchedBuy
    state: str
    reason: str | None
    reference: str | None
    is_counted: bool
    held_until: datetime = field(repr=False)
    created_at: datetime = field(repr=False)
    is_duplicate: bool = False
    """Whether it was told of before; it is as it was then."""

    @property
    def is_open(self) -> bool:
        """Say whether something is still to come."""
        return self.state in OPEN_STATES

    def to_dict(self) -> dict[str, Any]:
        """Return the purchase as JSON-serialisable data."""
        return {
            "id": str(self.id),
            "subscription_id": str(self.subscription.id),
            "user_id": self.subscription.user_id,
            "kol_wallet": self.buy.kol_wallet,
            "token_mint": self.buy.token_mint,
            "signature": self.buy.signature,
            "state": self.state,
            "reason": self.reason,
            "reference": self.reference,
            "is_duplicate": self.is_duplicate,
        }


def parse_subscription_id(subscription_id: UUID | str) -> UUID:
    """Read a subscription\'s id.

    Raises:
        InvalidInputError: for a text that is no UUID.
    """
    try:
        return subscription_id if isinstance(subscription_id, UUID) else UUID(subscription_id)
    except (ValueError, AttributeError, TypeError):
        raise InvalidInputError("a subscription's id is a UUID", field="subscription_id") from None


def _percentage(given: Mapping[str, Any], name: str, maximum: int) -> Decimal | None:
    value = given.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise ValueError
        percentage = Decimal(str(value))
    except (InvalidOperation, ValueError):
        raise InvalidInputError(f"{name} is no number", field=name) from None
    if not percentage.is_finite() or not 0 < percentage <= maximum or len(str(percentage)) > 32:
        raise InvalidInputError(f"{name} is above 0 and at most {maximum}", field=name)
    return percentage
