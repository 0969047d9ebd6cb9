"""Signatures: what is ours, recent and unaltered is believed, and nothing else."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal_sdk.clock import ManualClock
from deal_sdk.errors import WebhookSignatureError
from deal_sdk.webhooks import sign_webhook, verify_webhook

SECRET = "whsec_of-the-test"
BODY = b'{"id":"1","type":"payment.finalized"}'


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def now_of(clock: ManualClock) -> int:
    return int(clock.now().timestamp())


def test_the_scheme_is_stripes(clock: ManualClock) -> None:
    # https://docs.stripe.com/webhooks#verify-manually: t, a dot, the body; HMAC-SHA256; hexadecimal.
    expected = hmac.new(SECRET.encode(), b"1700000000." + BODY, hashlib.sha256).hexdigest()
    assert sign_webhook(BODY, [SECRET], 1_700_000_000) == f"t=1700000000,v1={expected}"


def test_a_true_request_gives_its_event(clock: ManualClock) -> None:
    header = sign_webhook(BODY, [SECRET], now_of(clock))
    assert verify_webhook(BODY, header, SECRET, clock=clock)["type"] == "payment.finalized"


def test_either_of_two_secrets_proves_a_request(clock: ManualClock) -> None:
    header = sign_webhook(BODY, ["new secret", "old secret"], now_of(clock))
    for secret in ("new secret", "old secret", ["unknown", "old secret"]):
        assert verify_webhook(BODY, header, secret, clock=clock)
    with pytest.raises(WebhookSignatureError):
        verify_webhook(BODY, header, "unknown", clock=clock)


@pytest.mark.parametrize(("age_seconds", "accepted"), [(0, True), (300, True), (301, False), (-301, False)])
async def test_old_and_future_requests_are_refused(age_seconds: int, accepted: bool) -> None:
    clock = ManualClock()
    header = sign_webhook(BODY, [SECRET], now_of(clock) - age_seconds)
    if accepted:
        assert verify_webhook(BODY, header, SECRET, 300, clock)
    else:
        with pytest.raises(WebhookSignatureError, match="too long ago"):
            verify_webhook(BODY, header, SECRET, 300, clock)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=1",
        "v1=aa",
        "t=,v1=aa",
        "t=x,v1=aa",
        "t=1,t=2,v1=aa",
        "t=²,v1=aa",
        "t=99999999999999999999,v1=aa",
        "é",
        "v0=aa,t=1",
        "," * 5_000,
    ],
)
def test_a_malformed_header_is_refused(header: str, clock: ManualClock) -> None:
    with pytest.raises(WebhookSignatureError):
        verify_webhook(BODY, header, SECRET, clock=clock)


@given(position=st.integers(0, len(BODY) - 1), other=st.integers(1, 255))
def test_an_altered_body_is_refused(position: int, other: int) -> None:
    clock = ManualClock()
    header = sign_webhook(BODY, [SECRET], now_of(clock))
    altered = bytearray(BODY)
    altered[position] ^= other
    with pytest.raises(WebhookSignatureError):
        verify_webhook(bytes(altered), header, SECRET, clock=clock)


@given(header=st.text(max_size=200), body=st.binary(max_size=50))
def test_no_header_makes_it_fail_otherwise(header: str, body: bytes) -> None:
    with pytest.raises(WebhookSignatureError):
        verify_webhook(body, header, SECRET, clock=ManualClock())


@pytest.mark.parametrize("body", [b"no json", b"[1]", b"\xff"])
def test_a_body_that_is_no_event_is_refused(body: bytes, clock: ManualClock) -> None:
    header = sign_webhook(body, [SECRET], now_of(clock))
    with pytest.raises(WebhookSignatureError, match="no event"):
        verify_webhook(body, header, SECRET, clock=clock)
