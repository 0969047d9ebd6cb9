"""Rate limits for Starlette and FastAPI: a dependency, and a middleware for whole applications.

Owns the way from a request to its key and from a decision to a response. Needs Starlette, which the extra
deal-sdk[web] installs; nothing else of the package imports this module. It trusts no forwarding header:
behind a proxy, let the server set the client's address from one that it trusts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deal_sdk.limits.http_headers import RATE_LIMIT_HEADER, RATE_LIMIT_POLICY_HEADER, rate_limit_headers
from deal_sdk.limits.ids import MAX_ID_LENGTH, USER_SUBJECT
from deal_sdk.limits.rates import (
    API_KEY_SUBJECT,
    DENIED_BY_STORE,
    IP_SUBJECT,
    RateDecision,
    RateLimiter,
    hashed_key,
)

TOO_MANY_REQUESTS: Final = 429
SERVICE_UNAVAILABLE: Final = 503
UNKNOWN_ADDRESS: Final = "unknown"


@dataclass(frozen=True, slots=True)
class RateKey:
    """Whom a request counts for, and under which limits."""

    value: str
    tier: str
    subject: str = USER_SUBJECT


FindKey = Callable[[HTTPConnection], Awaitable[RateKey] | RateKey]
"""Finds a request's key, from its session, its token, or its address."""


def by_address(tier: str) -> FindKey:
    """Count requests by the address of the client, as the server knows it; all without one count together.

    Args:
        tier: whose limits hold for every address.
    """

    def find(connection: HTTPConnection) -> RateKey:
        client = connection.client
        return RateKey(client.host if client else UNKNOWN_ADDRESS, tier, IP_SUBJECT)

    return find


def by_api_key(tier: str, *, header: str = "x-api-key", anonymous_tier: str | None = None) -> FindKey:
    """Count requests by an API key, which is kept hashed; requests without one by their address.

    Args:
        tier: whose limits hold for every key.
        header: where the key stands.
        anonymous_tier: whose limits hold for requests without a key; the same by default.
    """
    without = by_address(anonymous_tier or tier)

    def find(connection: HTTPConnection) -> Awaitable[RateKey] | RateKey:
        secret = connection.headers.get(header)
        return RateKey(hashed_key(secret), tier, API_KEY_SUBJECT) if secret else without(connection)

    return find


class RateLimit:
    """A FastAPI dependency, or a call in a Starlette endpoint, that refuses what is too fast with 429.

    `Depends(RateLimit(limiter, by_address("Gift")))` adds the headers to the response, allowed or not.
    """

    def __init__(
        self, limiter: RateLimiter, key: FindKey, *, operation: str | None = None, cost: int = 1
    ) -> None:
        """Keep the parts; nothing is asked yet.

        Args:
            limiter: checks and counts.
            key: finds whom a request counts for.
            operation: counted apart from other operations; the request's method and route by default.
            cost: how many requests one stands for.
        """
        self._limiter = limiter
        self._key = key
        self._operation = operation
        self._cost = cost

    async def __call__(self, request: Request, response: Response) -> RateDecision:
        """Count a request and tell its response of the limits.

        Raises:
            HTTPException: 429 when it is refused; 503 when the store failed and the policy refuses.
        """
        decision = await self.check(request)
        headers = rate_limit_headers(decision)
        if not decision.allowed:
            raise HTTPException(status_of(decision), _detail(decision), headers)
        response.headers.update(headers)
        return decision

    async def check(self, connection: HTTPConnection) -> RateDecision:
        """Count a request and return the decision, without refusing anything."""
        found = self._key(connection)
        key = found if isinstance(found, RateKey) else await found
        operation = self._operation or _operation_of(connection.scope)
        return await self._limiter.check_limit(
            key.value, key.tier, operation, cost=self._cost, subject=key.subject
        )


class RateLimitMiddleware:
    """An ASGI middleware that holds every HTTP request of an application to one limit."""

    def __init__(self, app: ASGIApp, *, limiter: RateLimiter, key: FindKey, operation: str = "http") -> None:
        """Wrap an application.

        Args:
            app: what it wraps.
            limiter: checks and counts.
            key: finds whom a request counts for.
            operation: counted apart from other operations; one for all requests.
        """
        self._app = app
        self._limit = RateLimit(limiter, key, operation=operation)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it with 429 and the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        decision = await self._limit.check(HTTPConnection(scope))
        headers = rate_limit_headers(decision)
        if not decision.allowed:
            body = {"detail": _detail(decision)}
            await JSONResponse(body, status_of(decision), headers)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                # What a route says of a limit of its own stands beside this one's.
                for name in (RATE_LIMIT_POLICY_HEADER, RATE_LIMIT_HEADER):
                    if name in headers:
                        told.append(name, headers[name])
            await send(message)

        await self._app(scope, receive, send_with_headers)


def status_of(decision: RateDecision) -> int:
    """Return the HTTP status of a refusal: 429, or 503 where the store failed."""
    return SERVICE_UNAVAILABLE if decision.denied_by == DENIED_BY_STORE else TOO_MANY_REQUESTS


def _detail(decision: RateDecision) -> str:
    if decision.denied_by == DENIED_BY_STORE:
        return "rate limits cannot be checked at the moment"
    return f"too many requests; try again in {decision.retry_after:.3f} s"


def _operation_of(scope: Scope) -> str:
    # The route's template or its endpoint, not the path: one limit for /users/{id}, and no key per id.
    path = getattr(scope.get("route"), "path", None) or getattr(scope.get("endpoint"), "__name__", "any")
    return f"{scope.get('method', 'GET')} {path}"[:MAX_ID_LENGTH]
