"""Keys kept by another service: messages go there over HTTP, and signatures are verified when they return.

Owns the protocol, which docs/how-to/signers.md shows. The seam for a KMS or an HSM: whatever holds the key
answers one POST. A reply is never trusted: a signature counts when it verifies for the address over
exactly the message that was sent. Signing moves nothing, so asking again is harmless.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson
from pydantic import SecretStr
from solders.pubkey import Pubkey
from solders.signature import Signature

from deal_sdk.batching import Collector
from deal_sdk.chain._errors import HTTP_OK, signer_http_error, translated_signer_errors
from deal_sdk.chain.transport import endpoint_label
from deal_sdk.clock import Clock
from deal_sdk.errors import ConfigurationError, SignerRefusedError, SignerUnavailableError, TokenError

PROTOCOL_VERSION: Final = 1
DEFAULT_TIMEOUT_SECONDS: Final = 5.0
MAX_MESSAGES_PER_REQUEST: Final = 100
MAX_REQUESTS_IN_FLIGHT: Final = 4
MAX_REPLY_BYTES: Final = 64 * 1024
TIMESTAMP_HEADER: Final = "X-Deal-Timestamp"
SIGNATURE_HEADER: Final = "X-Deal-Signature"
_TRIES: Final = 2
_MAX_REASON_LENGTH: Final = 200
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class _Request:
    address: Pubkey
    message: bytes


class SigningService:
    """One signing service; messages that arrive in the same tick share a request."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        token: SecretStr | None = None,
        hmac_secret: SecretStr | None = None,
        tls: ssl.SSLContext | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        """Keep where it is; the first signature opens a connection.

        Args:
            url: https://, or http:// on this machine, because token and messages would be readable.
            clock: stamps the requests that are authenticated by HMAC.
            token: sent as `Authorization: Bearer`.
            hmac_secret: with it every request carries an HMAC of its time and body.
            tls: whom to trust and what to prove oneself with, in place of the system's authorities.
            timeout_seconds: for a whole request.

        Raises:
            ConfigurationError: for a URL that cannot be used; it is not repeated.
        """
        _check_url(url)
        self._url = url
        self._clock = clock
        self._token = token
        self._hmac_secret = hmac_secret
        self._tls = tls
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._lane: Collector[_Request, Signature] = Collector(
            self._sign_batch, max_items=MAX_MESSAGES_PER_REQUEST, max_in_flight=MAX_REQUESTS_IN_FLIGHT
        )
        self.endpoint = endpoint_label(url)

    def __repr__(self) -> str:
        """Show the endpoint without its secrets."""
        return f"SigningService({self.endpoint!r})"

    def __reduce__(self) -> str:
        """Refuse to be pickled, because its secrets would travel in the clear."""
        raise TypeError("a signing service cannot be pickled")

    def signer(self, address: str | Pubkey) -> RemoteSigner:
        """Return a signer for one of the addresses that the service holds."""
        return RemoteSigner(self, Pubkey.from_string(address) if isinstance(address, str) else address)

    async def sign(self, address: Pubkey, message: bytes) -> Signature:
        """Have a message signed, together with what others ask for now.

        Raises:
            SignerUnavailableError: when no usable reply came.
            SignerRefusedError: when the service refused, or its signature does not verify.
        """
        if self._closed:
            raise SignerUnavailableError(
                f"the connection to {self.endpoint} is closed", endpoint=self.endpoint
            )
        return await self._lane.submit(_Request(address, message))

    async def close(self) -> None:
        """Finish what was asked, then close the connections."""
        self._closed = True
        await self._lane.close()
        if self._session is not None:
            await self._session.close()

    async def _sign_batch(self, requests: Sequence[_Request]) -> Sequence[Signature | BaseException]:
        body = orjson.dumps(
            {
                "version": PROTOCOL_VERSION,
                "requests": [
                    {
                        "id": str(number),
                        "address": str(request.address),
                        "message": base64.b64encode(request.message).decode(),
                    }
                    for number, request in enumerate(requests)
                ],
            }
        )
        try:
            results = _results_in(await self._ask(body), self.endpoint)
        except TokenError as error:
            return [error] * len(requests)
        return [self._signature(request, results.get(str(number))) for number, request in enumerate(requests)]

    async def _ask(self, body: bytes) -> bytes:
        for tries_left in reversed(range(_TRIES)):
            try:
                return await self._post(body)
            except SignerUnavailableError as error:
                # A kept connection may have been closed by the other side; what is slow is not asked twice.
                if not tries_left or not error.facts.get("disconnected"):
                    raise
        raise AssertionError("unreachable")

    async def _post(self, body: bytes) -> bytes:
        with translated_signer_errors(self.endpoint):
            # A redirect would carry the token to a host that nobody chose.
            async with self._open_session().post(
                self._url, data=body, headers=self._headers(body), allow_redirects=False
            ) as reply:
                if reply.status != HTTP_OK:
                    raise signer_http_error(reply.status, self.endpoint)
                return await self._bounded(reply)

    async def _bounded(self, reply: aiohttp.ClientResponse) -> bytes:
        received = bytearray()
        async for chunk in reply.content.iter_any():
            received += chunk
            if len(received) > MAX_REPLY_BYTES:
                raise self._unusable("its reply is too long")
        return bytes(received)

    def _unusable(self, why: str) -> SignerUnavailableError:
        return SignerUnavailableError(f"{self.endpoint} gives no signature: {why}", endpoint=self.endpoint)

    def _headers(self, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        if self._hmac_secret is not None:
            timestamp = str(int(self._clock.now().timestamp()))
            headers[TIMESTAMP_HEADER] = timestamp
            headers[SIGNATURE_HEADER] = request_hmac(self._hmac_secret, timestamp, body)
        return headers

    def _signature(self, request: _Request, result: Any) -> Signature | BaseException:
        if isinstance(result, dict) and isinstance(result.get("error"), str):
            reason = "".join(filter(str.isprintable, result["error"]))[:_MAX_REASON_LENGTH]
            return self._refusal(request, f"{self.endpoint} refused to sign: {reason}")
        try:
            signature = Signature.from_string(result["signature"])
        except (TypeError, KeyError, ValueError):
            return self._refusal(request, f"{self.endpoint} returned no signature")
        if not signature.verify(request.address, request.message):
            return self._refusal(
                request, f"the signature from {self.endpoint} does not verify for {request.address}"
            )
        return signature

    def _refusal(self, request: _Request, text: str) -> SignerRefusedError:
        return SignerRefusedError(text, endpoint=self.endpoint, address=str(request.address))

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=MAX_REQUESTS_IN_FLIGHT, ssl=self._tls or True)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self._session


class RemoteSigner:
    """Signs for one address with a key that a signing service holds."""

    __slots__ = ("_service", "address")

    def __init__(self, service: SigningService, address: Pubkey) -> None:
        """Ask a service, which several signers may share."""
        self._service = service
        self.address = address

    def __repr__(self) -> str:
        """Show address and endpoint alone."""
        return f"RemoteSigner({self.address}, {self._service.endpoint!r})"

    def __reduce__(self) -> str:
        """Refuse to be pickled, because the service's secrets would travel in the clear."""
        raise TypeError("a signer cannot be pickled")

    async def sign(self, message: bytes) -> Signature:
        """Have the service sign a message, and verify what it returns.

        Raises:
            SignerUnavailableError: when no usable reply came; asking again is harmless.
            SignerRefusedError: when the service refused, or its signature does not verify.
        """
        return await self._service.sign(self.address, message)


def request_hmac(secret: SecretStr, timestamp: str, body: bytes) -> str:
    """Return the HMAC-SHA256, in hexadecimal, of a request's time and body joined by a full stop."""
    message = timestamp.encode() + b"." + body
    return hmac.new(secret.get_secret_value().encode(), message, hashlib.sha256).hexdigest()


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("https", "http"):
        raise ConfigurationError("a signing service's URL begins with https://")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise ConfigurationError("a signing service on another machine needs https://")


def _results_in(reply: bytes, endpoint: str) -> dict[str, Any]:
    try:
        results = orjson.loads(reply)["results"]
        return {result["id"]: result for result in results}
    except (ValueError, TypeError, KeyError):
        raise SignerUnavailableError(
            f"{endpoint} returned a reply that cannot be read", endpoint=endpoint
        ) from None
