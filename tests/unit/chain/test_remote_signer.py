"""Remote signing: what is sent, what is believed, and what a caller learns when it fails."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from solders.keypair import Keypair

from deal_sdk.chain import KeypairSigner, RemoteSigner, SigningService
from deal_sdk.clock import ManualClock, SystemClock
from deal_sdk.errors import ConfigurationError, KeystoreError, SignerRefusedError, SignerUnavailableError
from tests.unit.chain.signing_server import HMAC_SECRET, TOKEN, SigningHost

TREASURY, REWARD, STRANGER = (KeypairSigner(Keypair.from_seed(bytes([n]) * 32)) for n in (1, 2, 3))


@pytest.fixture
async def host() -> AsyncIterator[SigningHost]:
    async with SigningHost(TREASURY, REWARD) as running:
        yield running


def service_of(host: SigningHost, **options: Any) -> SigningService:
    defaults = {
        "clock": SystemClock(),
        "token": SecretStr(TOKEN),
        "hmac_secret": SecretStr(HMAC_SECRET),
        "timeout_seconds": 5.0,
    }
    return SigningService(host.url, **{**defaults, **options})


@pytest.fixture
async def service(host: SigningHost) -> AsyncIterator[SigningService]:
    opened = service_of(host)
    yield opened
    await opened.close()


async def test_it_signs_for_its_address(service: SigningService) -> None:
    signer = service.signer(TREASURY.address)
    assert await signer.sign(b"message") == await TREASURY.sign(b"message")


async def test_messages_of_one_tick_share_a_request(host: SigningHost, service: SigningService) -> None:
    treasury, reward = service.signer(TREASURY.address), service.signer(str(REWARD.address))
    messages = [f"message {number}".encode() for number in range(250)]
    signatures = await asyncio.gather(
        *(treasury.sign(message) for message in messages), *(reward.sign(message) for message in messages)
    )
    assert host.asked == [100] * 5
    for signer, found in ((treasury, signatures[:250]), (reward, signatures[250:])):
        assert all(one.verify(signer.address, text) for one, text in zip(found, messages, strict=True))


async def test_a_stranger_is_refused_and_no_neighbour(host: SigningHost, service: SigningService) -> None:
    good, bad = await asyncio.gather(
        service.signer(TREASURY.address).sign(b"one"),
        service.signer(STRANGER.address).sign(b"two"),
        return_exceptions=True,
    )
    assert good == await TREASURY.sign(b"one")
    assert isinstance(bad, SignerRefusedError)
    assert "no key for this address" in bad.message
    assert host.asked == [2]


@pytest.mark.parametrize(
    "options", [{"token": SecretStr("wrong")}, {"token": None}, {"hmac_secret": SecretStr("wrong")}]
)
async def test_who_does_not_know_the_secrets_is_refused(host: SigningHost, options: dict[str, Any]) -> None:
    service = service_of(host, **options)
    with pytest.raises(SignerRefusedError) as refused:
        await service.signer(TREASURY.address).sign(b"message")
    assert refused.value.facts["http_status"] == 401
    assert not refused.value.retryable
    await service.close()


async def test_an_old_request_is_refused(host: SigningHost) -> None:
    """A request that somebody recorded cannot be played again later."""
    service = service_of(host, clock=ManualClock())
    with pytest.raises(SignerRefusedError):
        await service.signer(TREASURY.address).sign(b"message")
    await service.close()


async def wrong_signature(request: web.Request) -> web.Response:
    asked = orjson.loads(await request.read())["requests"]
    forged = str(await STRANGER.sign(b"another message"))
    return web.json_response({"results": [{"id": one["id"], "signature": forged} for one in asked]})


async def test_a_signature_that_does_not_verify_is_refused(
    host: SigningHost, service: SigningService
) -> None:
    host.fault = wrong_signature
    with pytest.raises(SignerRefusedError, match="does not verify"):
        await service.signer(TREASURY.address).sign(b"message")


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_what_fails_now_may_be_asked_again(
    host: SigningHost, service: SigningService, status: int
) -> None:
    async def down(request: web.Request) -> web.Response:
        return web.Response(status=status)

    host.fault = down
    with pytest.raises(SignerUnavailableError) as failed:
        await service.signer(TREASURY.address).sign(b"message")
    assert failed.value.retryable
    assert failed.value.outcome == "not_sent"
    host.fault = None
    await service.signer(TREASURY.address).sign(b"message")


async def test_a_connection_that_broke_is_opened_again(host: SigningHost, service: SigningService) -> None:
    async def drop(request: web.Request) -> None:
        host.fault = None
        assert request.transport is not None
        request.transport.close()

    host.fault = drop
    await service.signer(TREASURY.address).sign(b"message")
    assert host.asked == [1, 1]


async def test_a_slow_one_is_given_up(host: SigningHost) -> None:
    async def hang(request: web.Request) -> None:
        await asyncio.Event().wait()

    host.fault = hang
    service = service_of(host, timeout_seconds=0.05)
    with pytest.raises(SignerUnavailableError, match="in time"):
        await service.signer(TREASURY.address).sign(b"message")
    await service.close()


async def test_nobody_there(host: SigningHost) -> None:
    service = SigningService("http://127.0.0.1:1/sign", clock=SystemClock())
    with pytest.raises(SignerUnavailableError):
        await service.signer(TREASURY.address).sign(b"message")
    await service.close()
    with pytest.raises(SignerUnavailableError, match="closed"):
        await service.signer(TREASURY.address).sign(b"message")


replies = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(max_size=100),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["results", "id", "signature", "error", "0"]), inner, max_size=4
            )
        ),
        max_leaves=12,
    ).map(orjson.dumps),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reply=replies)
async def test_no_reply_is_taken_for_a_signature(
    host: SigningHost, service: SigningService, reply: bytes
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=reply)

    host.fault = answer
    with pytest.raises(KeystoreError):
        await service.signer(TREASURY.address).sign(b"message")


@pytest.mark.parametrize("url", ["http://signer.example/", "ftp://127.0.0.1/", "nonsense", "http://[", ""])
def test_a_url_that_shows_its_messages_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        SigningService(url, clock=SystemClock())


async def test_nothing_shows_a_secret(host: SigningHost, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service = service_of(host)
    service._url = host.url + "?api-key=" + TOKEN
    signer = service.signer(TREASURY.address)
    shown = [repr(signer), str(signer), repr(service), str(service)]

    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"error": "no"}, status=401)

    host.fault = echo
    with pytest.raises(KeystoreError) as refused:
        await signer.sign(b"message")
    await service.close()
    shown += [refused.value.message, repr(refused.value), str(refused.value.to_dict()), caplog.text]
    for text in shown:
        assert TOKEN not in text
        assert HMAC_SECRET not in text
    for secretive in (signer, service):
        with pytest.raises(TypeError):
            pickle.dumps(secretive)


@pytest.mark.parametrize("kind", [KeypairSigner, RemoteSigner])
def test_no_signer_gives_its_key_away(kind: type) -> None:
    """The protocol is an address and a way to sign; nothing public beside it returns anything secret."""
    making = {"generate", "from_bytes", "from_text", "from_file"}
    public = {name for name in dir(kind) if not name.startswith("_")} - making
    assert public == {"address", "sign"}
