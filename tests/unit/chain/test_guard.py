"""What a request's end says of an endpoint, and how Retry-After is kept over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from deal_sdk.chain.breaker import CircuitBreaker
from deal_sdk.chain.guard import STALL_SECONDS, EndpointGuard, LatencyWindow
from deal_sdk.chain.pacing import Pace
from deal_sdk.chain.rpc_opening import open_rpc
from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    RpcMalformedReplyError,
    RpcRateLimitedError,
    RpcRefusedError,
    RpcTimeoutError,
    RpcUnavailableError,
)
from deal_sdk.metrics import Metrics
from deal_sdk.settings import load_settings

DOWN = RpcUnavailableError("down")
THROTTLED = RpcRateLimitedError("slow down", retry_after_seconds=2.0)
REFUSED = RpcRefusedError("no", rpc_code=-32602)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def guard(clock):
    pace = Pace("node", clock=clock, calls_per_second=None, max_wait_seconds=5.0)
    breaker = CircuitBreaker(clock=clock, failures_to_open=1, open_seconds=5.0)
    return EndpointGuard("node", clock=clock, pace=pace, breaker=breaker)


@pytest.mark.parametrize(
    ("replies", "state", "pause"),
    [
        (["result"], "closed", 0),
        ([REFUSED], "closed", 0),
        ([DOWN, "result"], "closed", 0),
        ([DOWN, REFUSED], "closed", 0),
        ([DOWN, DOWN], "open", 0),
        ([RpcTimeoutError("late")], "open", 0),
        ([RpcMalformedReplyError("garbage")], "open", 0),
        ([RpcRefusedError("bad key", rpc_code=403)], "open", 0),
        ([RpcRefusedError("too large", rpc_code=413)], "closed", 0),
        ([THROTTLED], "closed", 2.0),
        ([THROTTLED, "result"], "closed", 2.0),
        ([RpcUnavailableError("busy", retry_after_seconds=3.0)], "closed", 3.0),
    ],
)
async def test_what_a_request_says_of_its_endpoint(guard, replies, state, pause):
    await guard.admit(len(replies))
    guard.ended(replies, 0.1, is_quick=True)
    assert (guard.breaker.state, guard.pace.wait_seconds()) == (state, pause)


async def test_an_open_breaker_says_so_at_once(guard):
    await guard.admit(1)
    guard.ended([DOWN], 0.1, is_quick=True)
    with pytest.raises(RpcUnavailableError) as caught:
        await guard.admit(1)
    assert caught.value.facts["reason"] == "circuit_open"


async def test_an_endpoint_stalls_when_replies_are_due_and_none_comes(guard, clock):
    await clock.advance(100)
    assert not guard.is_stalled, "an idle endpoint owes nothing"
    await guard.admit(1)
    await guard.admit(1)
    await clock.advance(STALL_SECONDS + 0.1)
    assert guard.is_stalled
    guard.ended([RpcTimeoutError("late")], 1.1, is_quick=True)
    assert guard.is_stalled, "a timeout is no sign of life"
    guard.abandoned()
    assert not guard.is_stalled


def test_the_slow_latency_is_about_the_95th_percentile_of_the_last_ones():
    window = LatencyWindow()
    for _ in range(15):
        window.add(9.0)
    assert window.slow_seconds is None
    for number in range(64):
        window.add(number / 64)
    window.add(0.5)
    assert window.slow_seconds == pytest.approx(0.95, abs=0.03)


@pytest.fixture
async def server() -> AsyncIterator[dict]:
    """Serve replies from a list, and count the requests."""
    state: dict = {"replies": [], "count": 0}

    async def handle(request: web.Request) -> web.Response:
        state["count"] += 1
        if state["replies"]:
            return state["replies"].pop(0)
        call = await request.json()
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": 7})

    application = web.Application()
    application.router.add_post("/", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    state["url"] = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield state
    await runner.cleanup()


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [False, True])
async def test_a_lone_endpoint_is_not_asked_before_the_time_that_it_named(server, clock, status, as_date):
    until = format_datetime(clock.now() + timedelta(seconds=60), usegmt=True)
    headers = {"Retry-After": until if as_date else "60"}
    server["replies"].append(web.Response(status=status, headers=headers))
    rpc = await open_rpc(load_settings(rpc_url=server["url"]), clock=clock, metrics=Metrics())
    with pytest.raises(RpcUnavailableError):
        await rpc.get_slot()
    with pytest.raises(RpcRateLimitedError) as caught:
        await rpc.get_slot()
    assert caught.value.retry_after_seconds == 60
    assert server["count"] == 1, "the second was not even sent"
    await clock.advance(60)
    assert await rpc.get_slot() == 7
    await rpc.close()
