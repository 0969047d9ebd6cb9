"""What the caches read when they miss: each source is a protocol, so that other areas plug in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from deal_sdk.limits.ids import UserKey


class BalanceReader(Protocol):
    """Reads the chain."""

    async def read_balance(self, token_account: str) -> tuple[int, int]:
        """Return a token account's amount in base units and the slot at which it was read."""
        ...


class AccountResolver(Protocol):
    """Knows which token account a user pays from."""

    async def resolve(self, user_id: UserKey) -> str:
        """Return the address of the user's token account."""
        ...


class ReservationReader(Protocol):
    """Knows what is promised to payments."""

    async def reserved(self, token_account: str, slot: int) -> int:
        """Return the base units that still count against a balance read at `slot`."""
        ...


@dataclass(frozen=True, slots=True)
class UserProfile:
    """What changes seldom about a user; credits are apart, because they change with every operation."""

    id: UUID
    external_id: str | None
    username: str | None
    tier: str
    subscription_expires_at: datetime | None
    created_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the form that is cached."""
        expires_at = self.subscription_expires_at
        return {
            "id": str(self.id),
            "external_id": self.external_id,
            "username": self.username,
            "tier": self.tier,
            "subscription_expires_at": None if expires_at is None else expires_at.isoformat(),
            "created_at": self.created_at.isoformat(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> UserProfile:
        """Read the form that is cached.

        Raises:
            KeyError, TypeError, ValueError: for another form.
        """
        expires_at = value["subscription_expires_at"]
        return cls(
            id=UUID(value["id"]),
            external_id=value["external_id"],
            username=value["username"],
            tier=value["tier"],
            subscription_expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
            created_at=datetime.fromisoformat(value["created_at"]),
        )


class ProfileSource(Protocol):
    """Knows users."""

    async def read_profiles(self, user_ids: Sequence[UUID]) -> Mapping[UUID, UserProfile]:
        """Return the profiles of those users that exist."""
        ...


class CreditSource(Protocol):
    """Knows credits."""

    async def read_credit_balances(self, user_ids: Sequence[UUID]) -> Mapping[UUID, int]:
        """Return the credit balances of those users that exist."""
        ...


class ChannelMembership(Protocol):
    """Knows who follows the channel; the caller's, because it asks a messenger."""

    async def is_member(self, user_id: UUID) -> bool:
        """Return whether a user follows the channel; raise when nobody can tell."""
        ...
