"""What a webhook of buys answers, in Starlette and without."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from deal_sdk.errors import ConfigurationError, DatabaseUnavailableError, PayloadUnauthorizedError
from deal_sdk.monitor import SubscriptionPurchase, WebhookIntake, parse_buys

SECRET = "Bearer a-secret-of-some-length"
PATH = "/webhooks/helius"


class Router:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.is_down = False

    async def handle_payload(self, body: bytes) -> tuple[SubscriptionPurchase, ...]:
        if self.is_down:
            raise DatabaseUnavailableError("the database is gone")
        parse_buys(body)
        self.bodies.append(body)
        return ()


@pytest.fixture
def router() -> Router:
    return Router()


@pytest.fixture
def intake(router: Router) -> WebhookIntake:
    return WebhookIntake(router, SecretStr(SECRET), max_payload_bytes=1_000)


@pytest.fixture
async def client(intake: WebhookIntake) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=Starlette(routes=[intake.route(PATH)]))
    async with httpx.AsyncClient(transport=transport, base_url="http://backend") as client:
        yield client


async def test_200_says_what_was_received(client: httpx.AsyncClient, router: Router) -> None:
    response = await client.post(PATH, content=b"[]", headers={"Authorization": SECRET})
    assert (response.status_code, response.json()) == (200, {"received": 0, "duplicates": 0})
    assert router.bodies == [b"[]"]


@pytest.mark.parametrize("header", [None, "", "Bearer another", SECRET + " ", SECRET[:-1], "\u00e9" * 40])
async def test_401_for_everybody_else(client: httpx.AsyncClient, router: Router, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode()}
    response = await client.post(PATH, content=b"[]", headers=headers)
    assert response.status_code == 401
    assert response.json()["code"] == "payload_unauthorized"
    assert SECRET not in response.text
    assert router.bodies == []


async def test_413_beyond_the_bound_also_without_a_declared_length(
    client: httpx.AsyncClient, router: Router
) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x" * 100

    for content in (b"[" + b" " * 1_000 + b"]", endless()):
        response = await client.post(PATH, content=content, headers={"Authorization": SECRET})
        assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")
    assert read < 100
    assert router.bodies == []


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"[{}]"])
async def test_400_for_what_is_no_payload(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post(PATH, content=body, headers={"Authorization": SECRET})
    assert (response.status_code, response.json()["code"]) == (400, "payload_malformed")


async def test_503_asks_to_send_again(client: httpx.AsyncClient, router: Router) -> None:
    router.is_down = True
    response = await client.post(PATH, content=b"[]", headers={"Authorization": SECRET})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


async def test_other_frameworks_get_errors_or_answers(intake: WebhookIntake) -> None:
    with pytest.raises(PayloadUnauthorizedError):
        await intake.handle_payload(b"[]", None)
    assert (await intake.answer(b"[]", SECRET)).status == 200
    assert (await intake.answer(b" " * 2_000, SECRET)).status == 413


@pytest.mark.parametrize("secret", [None, SecretStr(""), SecretStr("too short")])
def test_a_secret_that_could_be_guessed_is_none(router: Router, secret: SecretStr | None) -> None:
    with pytest.raises(ConfigurationError) as raised:
        WebhookIntake(router, secret)
    assert "too short" not in str(raised.value)
