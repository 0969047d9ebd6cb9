"""Signatures of webhook requests: made by the sender, proven by the receiver.

The scheme is Stripe's (https://docs.stripe.com/webhooks#verify-manually): the header holds a time and one
HMAC-SHA256 for each secret that is valid at that time, over the time, a dot and the body's bytes. The
time is signed too, so that a request that was overheard cannot be sent again later.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Final

import orjson

from deal_sdk.clock import Clock, SystemClock
from deal_sdk.errors import WebhookSignatureError

SIGNATURE_HEADER: Final = "Deal-Signature"
EVENT_ID_HEADER: Final = "Deal-Event-Id"
EVENT_TYPE_HEADER: Final = "Deal-Event-Type"
DEFAULT_TOLERANCE_SECONDS: Final = 300.0
_SCHEME: Final = "v1"
_MAX_HEADER_CHARACTERS: Final = 4_096
_MAX_TIME_DIGITS: Final = 12


def sign_webhook(body: bytes, secrets: Sequence[str], timestamp: int) -> str:
    """Return the value of the signature's header.

    Args:
        body: the bytes that are sent.
        secrets: every secret that the receiver may know; while one is rotated there are two.
        timestamp: the time of sending, in whole seconds since 1970.
    """
    assert secrets, "an unsigned webhook proves nothing"
    signatures = (f"{_SCHEME}={_signature(body, secret, str(timestamp))}" for secret in secrets)
    return ",".join((f"t={timestamp}", *signatures))


def verify_webhook(
    payload: bytes,
    header: str,
    secret: str | Sequence[str],
    tolerance_seconds: float = DEFAULT_TOLERANCE_SECONDS,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Prove that a request is ours and recent, and return its event.

    Call it with the body's bytes as they arrived: JSON that was read and written again is other bytes.

    Args:
        payload: the request's body.
        header: the value of `Deal-Signature`.
        secret: the endpoint's secret, or several while it is being rotated.
        tolerance_seconds: how far the request's time may be from now, either way.
        clock: another clock than the machine's.

    Returns:
        The event: `id`, `type`, `timestamp`, `data`, and `subject` and `sequence` where it has them.
        A delivery may come more than once; its `id` stays the same.

    Raises:
        WebhookSignatureError: for a request to be refused; nothing in it can be believed.
    """
    timestamp, signatures = _read_header(header)
    secrets = (secret,) if isinstance(secret, str) else tuple(secret)
    # Every pair is compared, each in constant time, so that the time taken tells nothing.
    matches = [
        hmac.compare_digest(_signature(payload, known, timestamp).encode(), given.encode())
        for known in secrets
        for given in signatures
    ]
    if not any(matches):
        raise WebhookSignatureError("no signature of the request was made with this secret")
    now_seconds = (clock or SystemClock()).now().timestamp()
    age_seconds = now_seconds - int(timestamp)
    if abs(age_seconds) > tolerance_seconds:
        raise WebhookSignatureError(
            "the request was signed too long ago, or in the future", age_seconds=round(age_seconds)
        )
    return _read_event(payload)


def _signature(body: bytes, secret: str, timestamp: str) -> str:
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _read_header(header: str) -> tuple[str, list[str]]:
    if not isinstance(header, str) or not header.isascii() or len(header) > _MAX_HEADER_CHARACTERS:
        raise WebhookSignatureError("the signature's header is malformed")
    pairs = [pair.strip().partition("=") for pair in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    signatures = [value for name, _, value in pairs if name == _SCHEME]
    if len(times) != 1 or not times[0].isdigit() or len(times[0]) > _MAX_TIME_DIGITS or not signatures:
        raise WebhookSignatureError("the signature's header is malformed")
    return times[0], signatures


def _read_event(payload: bytes) -> dict[str, Any]:
    try:
        event = orjson.loads(payload)
    except orjson.JSONDecodeError:
        event = None
    if not isinstance(event, dict):
        raise WebhookSignatureError("the request's body is no event")
    return event
