"""Rate limits of any key, changed at any moment, in shadow, and told over HTTP."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from deal_sdk.clock import ManualClock
from deal_sdk.errors import InvalidInputError
from deal_sdk.limits import Gate, RateDecision, RateLimiter, Store, hashed_key, rate_limit_headers
from deal_sdk.limits.web import RateKey, RateLimit, RateLimitMiddleware, by_address, by_api_key
from deal_sdk.metrics import Metrics
from deal_sdk.settings import DEFAULT_TIER_LIMITS, TierLimits
from tests.contract.store_backends import keys_of


@pytest.fixture
def limiter(store: Store, clock: ManualClock) -> RateLimiter:
    return RateLimiter(Gate(store, clock=clock, metrics=Metrics()), store, tiers=DEFAULT_TIER_LIMITS)


async def allowed_of(limiter: RateLimiter, calls: int, **options: Any) -> int:
    return sum([(await limiter.check_limit("key", "Gift", **options)).allowed for _ in range(calls)])


class TestKeys:
    async def test_of_different_subjects_never_meet(self, limiter: RateLimiter, store: Store) -> None:
        for subject in ("user", "ip", "api_key"):
            assert await allowed_of(limiter, 5, subject=subject) == 3
        assert await keys_of(store) == {
            b"deal:rates:{key}",
            b"deal:rates:ip:{key}",
            b"deal:rates:api_key:{key}",
        }
        await limiter.reset("key", subject="ip")
        assert (await limiter.peek("key", "Gift", subject="ip")).remaining == 10
        assert (await limiter.peek("key", "Gift")).remaining == 7

    async def test_may_be_any_text(self, limiter: RateLimiter) -> None:
        for key in ("2001:db8::1", "{curly}", "a b", "ключ", "x" * 255):
            assert (await limiter.check_limit(key, "Gift", subject="ip")).remaining == 9

    async def test_refuse_what_cannot_be_a_key(self, limiter: RateLimiter) -> None:
        for key in ("", "x" * 1_048_576, "\ud800", "\x00"):
            with pytest.raises(InvalidInputError):
                await limiter.check_limit(key, "Gift")
        for subject in ("", "IP", "a:b", "x" * 33, "{ip}"):
            with pytest.raises(InvalidInputError):
                await limiter.check_limit("key", "Gift", subject=subject)

    def test_a_secret_is_hashed(self) -> None:
        assert "secret" not in hashed_key("secret")
        assert hashed_key("secret") == hashed_key("secret") != hashed_key("secret2")


class TestDynamicLimits:
    async def test_hold_for_one_call(self, limiter: RateLimiter, clock: ManualClock) -> None:
        assert await allowed_of(limiter, 5) == 3
        await clock.advance(1)
        larger = TierLimits(per_minute=100, burst_per_second=10)
        assert await allowed_of(limiter, 12, limits=larger) == 10
        assert not (await limiter.check_limit("key", "Gift")).allowed

    async def test_shrink_with_the_load_and_grow_again(
        self, limiter: RateLimiter, clock: ManualClock
    ) -> None:
        share = 0.5
        limiter.load = lambda: share
        assert (await limiter.peek("key", "Business")).limit == 50
        share = 0.0
        decision = await limiter.check_limit("key", "Business")
        assert (decision.allowed, decision.limit, decision.remaining) == (True, 1, 0)
        assert not (await limiter.check_limit("key", "Business")).allowed
        share = 7.0
        assert (await limiter.peek("key", "Business")).limit == 100

    @pytest.mark.parametrize("signal", [lambda: 1 / 0, lambda: float("nan")])
    async def test_hold_in_full_when_the_signal_fails(
        self, limiter: RateLimiter, signal: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        limiter.load = signal
        with caplog.at_level(logging.ERROR):
            assert (await limiter.peek("key", "Gift")).limit == 10
        assert "load signal" in caplog.text

    async def test_a_cost_that_the_tier_allows_stays_possible(self, limiter: RateLimiter) -> None:
        limiter.load = lambda: 0.01
        assert (await limiter.check_limit("key", "Gift", cost=3)).allowed
        with pytest.raises(InvalidInputError):
            await limiter.check_limit("key", "Gift", cost=4)


class TestShadow:
    async def test_decides_and_counts_and_refuses_nothing(self, limiter: RateLimiter) -> None:
        decisions = [await limiter.check_limit("key", "Gift", shadow=True) for _ in range(5)]
        assert [decision.allowed for decision in decisions] == [True] * 5
        assert [decision.shadow_denied_by for decision in decisions] == [None] * 3 + ["burst"] * 2
        assert decisions[-1].denied_by is None


class TestHeaders:
    async def test_name_each_policy_and_what_is_left(self, limiter: RateLimiter) -> None:
        headers = rate_limit_headers(await limiter.check_limit("key", "Gift"))
        assert headers == {
            "RateLimit-Policy": '"per_minute";q=10;w=60, "burst";q=3;w=1',
            "RateLimit": '"per_minute";r=9;t=60, "burst";r=2;t=1',
        }

    async def test_say_when_to_come_back_and_mean_it(self, limiter: RateLimiter, clock: ManualClock) -> None:
        for _ in range(10):
            await limiter.check_limit("key", "Gift")
            await clock.advance(0.75)
        refused = await limiter.check_limit("key", "Gift")
        headers = rate_limit_headers(refused)
        assert headers["Retry-After"] == "53"
        await clock.advance(int(headers["Retry-After"]))
        assert (await limiter.check_limit("key", "Gift")).allowed

    async def test_of_several_decisions_tell_them_apart(self, limiter: RateLimiter) -> None:
        decisions = [await limiter.check_limit("key", "Gift", subject=name) for name in ("ip", "user")]
        headers = rate_limit_headers(*decisions, names=("ip", "user"))
        assert headers["RateLimit"].count("_per_minute") == 2
        assert '"ip_burst";q=3;w=1' in headers["RateLimit-Policy"]

    def test_without_an_answer_of_the_store_promise_nothing(self) -> None:
        assert rate_limit_headers(RateDecision(True, 10, 10, 0.0, 0.0)) == {}
        refused = RateDecision(False, 0, 10, 1.0, 0.2, "store_unavailable")
        assert rate_limit_headers(refused) == {"Retry-After": "1"}


def client_of(app: Any, address: str = "192.0.2.7") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=(address, 5_000))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


class TestFastAPI:
    @pytest.fixture
    def app(self, limiter: RateLimiter) -> FastAPI:
        app = FastAPI()
        limit = RateLimit(limiter, by_api_key("Professional", anonymous_tier="Gift"))

        @app.get("/items/{item}")
        async def read(item: str, decision: RateDecision = Depends(limit)) -> dict[str, Any]:  # noqa: B008
            return {"item": item, "remaining": decision.remaining}

        @app.get("/other", dependencies=[Depends(limit)])
        async def other() -> str:
            return "ok"

        return app

    async def test_refuses_with_429_and_its_headers(self, app: FastAPI) -> None:
        async with client_of(app) as client:
            replies = [await client.get(f"/items/{number}") for number in range(4)]
        assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
        assert replies[0].json() == {"item": "0", "remaining": 9}
        assert replies[0].headers["RateLimit"].startswith('"per_minute";r=9;t=60')
        assert replies[3].headers["Retry-After"] == "1"
        assert replies[3].headers["RateLimit-Policy"].startswith('"per_minute";q=10;w=60')

    async def test_counts_routes_addresses_and_keys_apart(self, app: FastAPI, store: Store) -> None:
        async with client_of(app) as client, client_of(app, "192.0.2.8") as elsewhere:
            for _ in range(3):
                await client.get("/items/1")
            assert (await client.get("/items/1")).status_code == 429
            assert (await client.get("/other")).status_code == 200
            assert (await elsewhere.get("/items/1")).status_code == 200
            with_key = await client.get("/items/1", headers={"x-api-key": "very-secret"})
        assert with_key.json()["remaining"] == 49
        assert not any(b"very-secret" in key for key in await keys_of(store))


class TestStarlette:
    async def test_a_middleware_guards_every_route(self, limiter: RateLimiter) -> None:
        async def hello(request: object) -> PlainTextResponse:
            return PlainTextResponse("hello")

        async def find(connection: object) -> RateKey:
            return RateKey("session-1", "Gift")

        guard = Middleware(RateLimitMiddleware, limiter=limiter, key=find)
        app = Starlette(routes=[Route("/", hello), Route("/b", hello)], middleware=[guard])
        async with client_of(app) as client:
            replies = [await client.get(path) for path in ("/", "/b", "/", "/missing")]
        assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
        assert replies[2].headers["RateLimit"].startswith('"per_minute";r=7')
        assert "Retry-After" in replies[3].headers
        assert "too many requests" in replies[3].json()["detail"]

    async def test_an_unreachable_store_is_503_where_the_policy_refuses(self, clock: ManualClock) -> None:
        from deal_sdk.limits import open_store

        async with open_store("redis://127.0.0.1:1/0") as store:
            gate = Gate(store, clock=clock, metrics=Metrics(), rate_policy="refuse")
            limiter = RateLimiter(gate, store, tiers=DEFAULT_TIER_LIMITS)
            app = FastAPI(dependencies=[Depends(RateLimit(limiter, by_address("Gift")))])

            @app.get("/")
            async def hello() -> str:
                return "hello"

            async with client_of(app) as client:
                assert (await client.get("/")).status_code == 503
