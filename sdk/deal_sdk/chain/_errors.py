"""The one place where foreign errors of the RPC side become the package's own.

Owns the meaning of HTTP statuses, aiohttp's exceptions and JSON-RPC error objects. No message ever
repeats a URL: its path or query may hold a provider's API key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeGuard

import aiohttp

from deal_sdk.errors import (
    ChainError,
    KeystoreError,
    RpcAllEndpointsFailedError,
    RpcMalformedReplyError,
    RpcRateLimitedError,
    RpcRefusedError,
    RpcTimeoutError,
    RpcUnavailableError,
    SignerRefusedError,
    SignerUnavailableError,
)

HTTP_OK: Final = 200
HTTP_PAYLOAD_TOO_LARGE: Final = 413
HTTP_TOO_MANY_REQUESTS: Final = 429
_HTTP_CLIENT_ERRORS: Final = range(400, 500)

NODE_UNHEALTHY: Final = -32005
MIN_CONTEXT_SLOT_NOT_REACHED: Final = -32016
PREFLIGHT_FAILED: Final = -32002
_RATE_LIMIT_CODES: Final = frozenset({429, -32429})
# A key that is wrong or used up, or a path that is not served: another endpoint may do better.
_HTTP_ENDPOINT_REFUSALS: Final = frozenset({401, 402, 403, 404, 405, 407, 410})
# What one node has not, or not yet, and another may: blocks, history, an index, the slot asked for.
_NODE_CODES: Final = frozenset(
    {-32001, -32004, -32010, -32011, -32012, -32014, MIN_CONTEXT_SLOT_NOT_REACHED, -32019, -32601, -32603}
)
_BLOCKHASH_UNKNOWN: Final = "BlockhashNotFound"
_MAX_MESSAGE_LENGTH: Final = 300
_MAX_RETRY_AFTER_SECONDS: Final = 3600.0


@contextmanager
def translated_transport_errors(endpoint: str) -> Iterator[None]:
    """Turn what the HTTP client raises into typed errors; whether the request arrived is unknown.

    Args:
        endpoint: the endpoint's name for logs, without secrets.

    Raises:
        RpcTimeoutError, RpcUnavailableError: in place of the client's own errors.
    """
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise _transport_error(error, endpoint) from None


def _transport_error(error: Exception, endpoint: str) -> ChainError:
    if isinstance(error, asyncio.TimeoutError):
        return RpcTimeoutError(f"no reply from {endpoint} in time", endpoint=endpoint)
    if isinstance(error, aiohttp.WSServerHandshakeError) and error.status in _HTTP_CLIENT_ERRORS:
        return RpcRefusedError(f"{endpoint} takes no WebSocket (HTTP {error.status})", rpc_code=error.status)
    if isinstance(error, aiohttp.InvalidURL):
        return RpcUnavailableError("the RPC URL is not a URL", endpoint=endpoint)
    reason = type(error).__name__
    return RpcUnavailableError(
        f"connection to {endpoint} failed ({reason})", endpoint=endpoint, reason=reason
    )


def translate_http_status(status: int, retry_after: str | None, endpoint: str, now: datetime) -> ChainError:
    """Turn an HTTP status other than 200 into a typed error.

    Args:
        status: the reply's status.
        retry_after: the Retry-After header, in seconds or as a date.
        endpoint: the endpoint's name for logs.
        now: the present, against which a date is counted.
    """
    if status == HTTP_TOO_MANY_REQUESTS:
        return RpcRateLimitedError(
            f"{endpoint} asks to slow down",
            retry_after_seconds=parse_retry_after(retry_after, now),
            endpoint=endpoint,
        )
    if status in _HTTP_CLIENT_ERRORS:
        return RpcRefusedError(f"{endpoint} refused the request with HTTP {status}", rpc_code=status)
    facts: dict[str, Any] = {"endpoint": endpoint, "http_status": status}
    if retry_after is not None:
        facts["retry_after_seconds"] = parse_retry_after(retry_after, now)
    return RpcUnavailableError(f"{endpoint} answered HTTP {status}", **facts)


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Read a Retry-After header in either of its forms.

    Returns:
        Seconds, 0 to 3600; None when the header is missing or unreadable.
    """
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - now).total_seconds()
        except (ValueError, TypeError):
            return None
    if seconds != seconds:
        return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_SECONDS)


def translate_rpc_error(error: Any, method: str, endpoint: str) -> ChainError:
    """Turn a JSON-RPC error object into a typed error.

    Args:
        error: the reply's `error` member.
        method: the method that was called.
        endpoint: the endpoint's name for logs.
    """
    if not isinstance(error, Mapping) or not isinstance(error.get("code"), int):
        return RpcMalformedReplyError(f"{method}: an error reply without a code", endpoint=endpoint)
    code = error["code"]
    message = str(error.get("message", ""))[:_MAX_MESSAGE_LENGTH]
    if code in _RATE_LIMIT_CODES:
        return RpcRateLimitedError(f"{endpoint} asks to slow down: {message}", endpoint=endpoint)
    if code == NODE_UNHEALTHY:
        return RpcUnavailableError(f"{endpoint} is unhealthy: {message}", endpoint=endpoint, rpc_code=code)
    return RpcRefusedError(f"{method}: {message}", rpc_code=code, data=error.get("data"), method=method)


def is_endpoint_failure(reply: Any) -> TypeGuard[ChainError]:
    """Return whether a call's reply is an error that shows nothing but an endpoint that does not serve."""
    if isinstance(reply, RpcRefusedError):
        return reply.rpc_code in _HTTP_ENDPOINT_REFUSALS
    return isinstance(reply, ChainError)


def may_succeed_elsewhere(error: ChainError) -> bool:
    """Return whether another endpoint may answer what this one did not."""
    if not isinstance(error, RpcRefusedError):
        return True
    if error.rpc_code == PREFLIGHT_FAILED:
        # A node that lags does not know the blockhash yet; any other reason holds on every node.
        return isinstance(error.data, dict) and error.data.get("err") == _BLOCKHASH_UNKNOWN
    return error.rpc_code in _HTTP_ENDPOINT_REFUSALS or error.rpc_code in _NODE_CODES


def error_of_all(failures: Mapping[str, ChainError]) -> ChainError:
    """Return what to raise when every endpoint failed a call.

    Args:
        failures: each endpoint's error, by its name.
    """
    refusals = [error for error in failures.values() if isinstance(error, RpcRefusedError)]
    answered = [error for error in refusals if not is_endpoint_failure(error)]
    if answered:
        return next((e for e in answered if e.rpc_code == MIN_CONTEXT_SLOT_NOT_REACHED), answered[0])
    if len(failures) == 1:
        return next(iter(failures.values()))
    codes = {endpoint: error.code for endpoint, error in failures.items()}
    throttled = [error for error in failures.values() if isinstance(error, RpcRateLimitedError)]
    if failures and len(throttled) == len(failures):
        waits = [error.retry_after_seconds for error in throttled if error.retry_after_seconds is not None]
        return RpcRateLimitedError(
            "every RPC endpoint asks to slow down",
            retry_after_seconds=min(waits, default=None),
            endpoints=codes,
        )
    said = ", ".join(f"{endpoint}: {code}" for endpoint, code in codes.items()) or "none is usable"
    return RpcAllEndpointsFailedError(f"no RPC endpoint answered ({said})", endpoints=codes)


@contextmanager
def translated_signer_errors(endpoint: str) -> Iterator[None]:
    """Turn what the HTTP client raises at a signing service into typed errors; nothing was sent anywhere.

    Args:
        endpoint: the service's name for logs, without secrets.

    Raises:
        SignerUnavailableError: in place of the client's own errors.
    """
    try:
        yield
    except TimeoutError:
        raise SignerUnavailableError(f"no signature from {endpoint} in time", endpoint=endpoint) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = type(error).__name__
        raise SignerUnavailableError(
            f"connection to {endpoint} failed ({reason})",
            endpoint=endpoint,
            reason=reason,
            disconnected=isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError),
        ) from None


def signer_http_error(status: int, endpoint: str) -> KeystoreError:
    """Turn a signing service's HTTP status other than 200 into a typed error."""
    facts = {"endpoint": endpoint, "http_status": status}
    if status in _HTTP_CLIENT_ERRORS and status != HTTP_TOO_MANY_REQUESTS:
        return SignerRefusedError(f"{endpoint} refused the request with HTTP {status}", **facts)
    return SignerUnavailableError(f"{endpoint} answered HTTP {status}", **facts)
