"""The HTTP side of buys: who may tell of them, how much at once, and what is answered.

Owns the status codes. 200 means that every buy is recorded; 503 asks the sender to send again; 400, 401 and
413 mean that sending the same again is of no use.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import SecretStr

from deal_sdk.errors import (
    ConfigurationError,
    DatabaseError,
    InvalidInputError,
    PayloadMalformedError,
    PayloadTooLargeError,
    PayloadUnauthorizedError,
    TokenError,
)
from deal_sdk.monitor.subscription_values import SubscriptionPurchase

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

DEFAULT_MAX_PAYLOAD_BYTES: Final = 4 * 1_048_576
MIN_AUTHORIZATION_LENGTH: Final = 16
RETRY_AFTER_SECONDS: Final = 1
_MALFORMED, _UNAUTHORIZED, _TOO_LARGE, _UNAVAILABLE = 400, 401, 413, 503


class TakesPayloads(Protocol):
    """What takes in a body once its sender is known."""

    async def handle_payload(self, body: bytes) -> tuple[SubscriptionPurchase, ...]:
        """Take in the buys of a body."""
        ...


@dataclass(frozen=True, slots=True)
class IntakeReply:
    """What to answer to the sender."""

    status: int
    document: dict[str, Any]
    headers: dict[str, str]


class WebhookIntake:
    """Answers a webhook's requests, in Starlette or any other framework."""

    def __init__(
        self,
        router: TakesPayloads,
        authorization: SecretStr | None,
        *,
        max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
    ) -> None:
        """Keep what a request must show.

        Args:
            router: takes in what is authentic.
            authorization: the whole value of the Authorization header, as it was set at the sender.
            max_payload_bytes: the largest body.

        Raises:
            ConfigurationError: for no value, or one so short that it could be guessed.
        """
        secret = authorization.get_secret_value() if authorization is not None else ""
        if len(secret) < MIN_AUTHORIZATION_LENGTH:
            raise ConfigurationError(
                f"the webhook of buys needs the setting buy_webhook_authorization "
                f"(DEAL_BUY_WEBHOOK_AUTHORIZATION) with {MIN_AUTHORIZATION_LENGTH} characters or more"
            )
        self._router = router
        self._expected = _digest(secret)
        self.max_payload_bytes = max_payload_bytes

    def check_authorization(self, authorization: str | None) -> None:
        """Accept the header's value, compared in a time that tells nothing about it.

        Raises:
            PayloadUnauthorizedError: for another value, or none.
        """
        if not hmac.compare_digest(_digest(authorization or ""), self._expected):
            raise PayloadUnauthorizedError("the Authorization header is not the one that was agreed on")

    async def handle_payload(
        self, body: bytes, authorization: str | None
    ) -> tuple[SubscriptionPurchase, ...]:
        """Take in one request.

        Args:
            body: as it arrived.
            authorization: the value of its Authorization header.

        Raises:
            PayloadUnauthorizedError, PayloadTooLargeError, PayloadMalformedError: nothing was taken.
            DatabaseError: when it could not be recorded; the sender must send it again.
        """
        self.check_authorization(authorization)
        if len(body) > self.max_payload_bytes:
            raise PayloadTooLargeError(f"a payload has at most {self.max_payload_bytes} bytes")
        return await self._router.handle_payload(body)

    async def answer(self, body: bytes, authorization: str | None) -> IntakeReply:
        """Take in one request and return what to answer, whatever it is."""
        try:
            purchases = await self.handle_payload(body, authorization)
        except (InvalidInputError, PayloadUnauthorizedError, DatabaseError) as error:
            return refusal(error)
        duplicates = sum(purchase.is_duplicate for purchase in purchases)
        return IntakeReply(200, {"received": len(purchases) - duplicates, "duplicates": duplicates}, {})

    async def endpoint(self, request: Request) -> Response:
        """Answer a Starlette or FastAPI request; nothing of it is read before its header was checked."""
        from starlette.requests import ClientDisconnect
        from starlette.responses import JSONResponse

        authorization = request.headers.get("authorization")
        try:
            self.check_authorization(authorization)
            reply = await self.answer(await self._read(request), authorization)
        except (PayloadUnauthorizedError, PayloadTooLargeError) as error:
            reply = refusal(error)
        except ClientDisconnect:
            reply = refusal(PayloadMalformedError("the sender left before its payload was complete"))
        return JSONResponse(reply.document, reply.status, reply.headers)

    def route(self, path: str) -> Route:
        """Return a Starlette route for POST requests.

        Args:
            path: for example "/webhooks/helius".
        """
        from starlette.routing import Route

        return Route(path, self.endpoint, methods=["POST"])

    async def _read(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.max_payload_bytes:
                raise PayloadTooLargeError(f"a payload has at most {self.max_payload_bytes} bytes")
        return bytes(body)


def refusal(error: TokenError) -> IntakeReply:
    """Return the answer that tells a sender of an error."""
    document = {"code": error.code, "message": error.message}
    if isinstance(error, PayloadUnauthorizedError):
        return IntakeReply(_UNAUTHORIZED, document, {})
    if isinstance(error, PayloadTooLargeError):
        return IntakeReply(_TOO_LARGE, document, {})
    if isinstance(error, DatabaseError):
        return IntakeReply(_UNAVAILABLE, document, {"Retry-After": str(RETRY_AFTER_SECONDS)})
    return IntakeReply(_MALFORMED, document, {})


def _digest(text: str) -> bytes:
    # Digests have one length, whatever is compared.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
