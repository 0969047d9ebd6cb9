"""What the operations of the API work with, and the signing in that every way in shares."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from starlette.datastructures import Address

from deal_sdk.client import Deal
from deal_sdk.dashboard.access import DashboardAccess, Principal
from deal_sdk.dashboard.feeds import Feeds
from deal_sdk.dashboard.live import LiveHub
from deal_sdk.errors import NotSignedInError, RateLimitExceededError, StoreUnavailableError
from deal_sdk.limits.rates import IP_SUBJECT, RateDecision
from deal_sdk.settings import TierLimits

COOKIE_NAME: Final = "deal_session"
SECURE_COOKIE_NAME: Final = "__Host-deal_session"
"""The prefix makes browsers refuse the cookie from another host, a subdomain say, or without TLS."""
SIGN_IN_LIMITS: Final = TierLimits(per_minute=10, burst_per_second=5)
_SIGN_IN: Final = "dashboard.sign_in"
_WRONG_TOKEN: Final = "dashboard.wrong_token"
_TIER: Final = "dashboard"
_NO_ADDRESS: Final = "unknown"


class Service:
    """A `Deal` with the dashboard's own parts."""

    def __init__(self, deal: Deal, access: DashboardAccess, hub: LiveHub, feeds: Feeds, *, is_secure: bool):
        """Keep the parts."""
        self.deal = deal
        self.access = access
        self.hub = hub
        self.feeds = feeds
        self.is_secure = is_secure
        self.cookie_name = SECURE_COOKIE_NAME if is_secure else COOKIE_NAME

    async def sign_in(self, secret: str, client: Address | None) -> tuple[Principal, str]:
        """Begin a session; every try counts.

        Raises:
            NotSignedInError: for a token that is unknown or revoked.
            RateLimitExceededError: after too many tries from one address.
        """
        decision = await self.deal.rates.check_limit(
            _host(client), _TIER, _SIGN_IN, subject=IP_SUBJECT, limits=SIGN_IN_LIMITS
        )
        _refuse(decision)
        return await self.access.sign_in(secret)

    async def by_token(self, secret: str, client: Address | None) -> Principal:
        """Return who a request's token is of; only wrong ones count.

        Raises:
            NotSignedInError: for a token that is unknown or revoked.
            RateLimitExceededError: after too many wrong ones from one address.
        """
        host = _host(client)
        # Without its store the limiter allows, as it does elsewhere by default.
        with suppress(StoreUnavailableError):
            _refuse(
                await self.deal.rates.peek(
                    host, _TIER, _WRONG_TOKEN, subject=IP_SUBJECT, limits=SIGN_IN_LIMITS
                )
            )
        try:
            return await self.access.by_token(secret)
        except NotSignedInError:
            await self.deal.rates.check_limit(
                host, _TIER, _WRONG_TOKEN, subject=IP_SUBJECT, limits=SIGN_IN_LIMITS
            )
            raise


def _host(client: Address | None) -> str:
    return _NO_ADDRESS if client is None else client.host


def _refuse(decision: RateDecision) -> None:
    if not decision.allowed:
        raise RateLimitExceededError(
            "too many tries to sign in; wait a moment",
            limits=(decision.denied_by or "per_minute",),
            retry_after_seconds=decision.retry_after,
        )
