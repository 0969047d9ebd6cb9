from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from deal_sdk.chain._errors import translate_rpc_error
from deal_sdk.chain.channel import RpcChannel
from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    RpcMalformedReplyError,
    RpcRateLimitedError,
    RpcRefusedError,
    RpcTimeoutError,
    RpcUnavailableError,
)
from deal_sdk.metrics import Metrics


class Endpoint:
    """A transport that answers each call with its method's name, unless a test says otherwise."""

    endpoint = "endpoint"

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.sizes: list[int] = []
        self.max_bytes = 10**9
        self.batch_reply: Any = None
        self.raises: Exception | None = None
        self.spoil: Any = lambda replies: replies

    async def post(self, body: bytes) -> bytes:
        await asyncio.sleep(0)
        request = orjson.loads(body)
        self.bodies.append(request)
        self.sizes.append(len(body))
        if self.raises is not None:
            raise self.raises
        if len(body) > self.max_bytes:
            raise RpcRefusedError("too large", rpc_code=413)
        if isinstance(request, list):
            if isinstance(self.batch_reply, Exception):
                raise self.batch_reply
            if self.batch_reply is not None:
                return orjson.dumps(self.batch_reply)
            return orjson.dumps(self.spoil([self.answer(item) for item in request]))
        return orjson.dumps(self.answer(request))

    async def close(self) -> None:
        """Nothing is open."""

    @staticmethod
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if request["method"] == "fail":
            error = {"code": -32002, "message": "no", "data": {"err": "Why"}}
            return {"jsonrpc": "2.0", "id": request["id"], "error": error}
        return {"jsonrpc": "2.0", "id": request["id"], "result": [request["method"], *request["params"]]}

    @property
    def batch_sizes(self) -> list[int]:
        return [len(body) if isinstance(body, list) else 1 for body in self.bodies]


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def channel(endpoint: Endpoint, metrics: Metrics) -> RpcChannel:
    return RpcChannel(endpoint, clock=ManualClock(), metrics=metrics)


async def ask(channel: RpcChannel, count: int, method: str = "echo") -> list[Any]:
    return await asyncio.gather(
        *(channel.call(method, [number]) for number in range(count)), return_exceptions=True
    )


async def test_a_lone_call_is_a_single_object(channel, endpoint):
    assert await channel.call("echo", [1]) == ["echo", 1]
    assert endpoint.bodies == [{"jsonrpc": "2.0", "id": 1, "method": "echo", "params": [1]}]


async def test_calls_that_arrive_together_leave_together(channel, endpoint):
    assert await ask(channel, 250) == [["echo", number] for number in range(250)]
    assert endpoint.batch_sizes == [100, 100, 50]


async def test_sends_quick_reads_and_large_replies_travel_apart(channel, endpoint):
    methods = ["sendTransaction", "getSlot", "getBlock"] * 2
    await asyncio.gather(*(channel.call(method) for method in methods))
    assert sorted({body[0]["method"] for body in endpoint.bodies}) == [
        "getBlock",
        "getSlot",
        "sendTransaction",
    ]
    assert endpoint.batch_sizes == [2, 2, 2]


async def test_batches_are_cut_by_bytes(endpoint, metrics):
    channel = RpcChannel(endpoint, clock=ManualClock(), metrics=metrics, max_body_bytes=1_000)
    await asyncio.gather(*(channel.call("echo", ["x" * 200]) for _ in range(20)))
    assert max(endpoint.sizes) <= 1_000
    assert sum(endpoint.batch_sizes) == 20
    assert max(endpoint.batch_sizes) == 3


async def test_a_reply_in_another_order_finds_its_calls(channel, endpoint):
    endpoint.spoil = lambda replies: replies[::-1]
    assert await ask(channel, 5) == [["echo", number] for number in range(5)]


async def test_each_refusal_is_its_own(channel):
    results = await asyncio.gather(
        channel.call("echo", [1]), channel.call("fail"), channel.call("echo", [2]), return_exceptions=True
    )
    assert [results[0], results[2]] == [["echo", 1], ["echo", 2]]
    refusal = results[1]
    assert isinstance(refusal, RpcRefusedError)
    assert (refusal.rpc_code, refusal.data, refusal.facts["method"]) == (-32002, {"err": "Why"}, "fail")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda replies: replies[1:],
        lambda replies: [*replies, replies[0]],
        lambda replies: [{"jsonrpc": "2.0", "id": replies[0]["id"]}, *replies[1:]],
        lambda replies: [{**replies[0], "id": None}, *replies[1:]],
        lambda replies: [{**replies[0], "id": str(replies[0]["id"])}, *replies[1:]],
        lambda replies: [7, *replies[1:]],
        lambda replies: [{**replies[0], "error": {"message": "no code"}}, *replies[1:]],
    ],
    ids=["missing", "repeated", "no result", "no id", "text id", "no object", "error without code"],
)
async def test_a_reply_that_answers_nobody_spoils_no_other(channel, endpoint, spoil):
    endpoint.spoil = spoil
    results = await ask(channel, 3)
    assert isinstance(results[0], RpcMalformedReplyError)
    assert results[1:] == [["echo", 1], ["echo", 2]]


@pytest.mark.parametrize("reply", ["text", 7, {"id": 1}, {"jsonrpc": "2.0", "id": None, "result": 1}])
async def test_a_batch_answered_by_no_list_is_malformed(channel, endpoint, reply):
    endpoint.batch_reply = reply
    assert {type(result) for result in await ask(channel, 3)} == {RpcMalformedReplyError}


async def test_garbage_is_malformed(channel, endpoint):
    async def post(body: bytes) -> bytes:
        return b"<html>"

    endpoint.post = post
    results = [*await ask(channel, 1), *await ask(channel, 3)]
    assert {type(result) for result in results} == {RpcMalformedReplyError}


@pytest.mark.parametrize(
    "refusal",
    [
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Invalid request"}},
        RpcRefusedError("HTTP 400", rpc_code=400),
        RpcRefusedError("HTTP 403", rpc_code=403),
    ],
    ids=["error object", "http 400", "http 403"],
)
async def test_an_endpoint_without_batches_is_noticed_once(channel, endpoint, refusal):
    endpoint.batch_reply = refusal
    assert await ask(channel, 3) == [["echo", 0], ["echo", 1], ["echo", 2]]
    assert endpoint.batch_sizes == [3, 1, 1, 1]
    assert await ask(channel, 3) == [["echo", 0], ["echo", 1], ["echo", 2]]
    assert endpoint.batch_sizes == [3, 1, 1, 1, 1, 1, 1]


async def test_a_refusal_of_everything_says_nothing_about_batches(channel, endpoint):
    endpoint.raises = RpcRefusedError("HTTP 401", rpc_code=401)
    assert {type(result) for result in await ask(channel, 3)} == {RpcRefusedError}
    endpoint.raises = None
    await ask(channel, 3)
    assert endpoint.batch_sizes[-1] == 3


async def test_a_rate_limit_is_not_taken_for_a_refused_batch(channel, endpoint):
    endpoint.batch_reply = {"jsonrpc": "2.0", "id": None, "error": {"code": 429, "message": "slow down"}}
    assert {type(result) for result in await ask(channel, 3)} == {RpcRateLimitedError}
    assert endpoint.batch_sizes == [3]


async def test_what_is_too_large_together_goes_in_halves(channel, endpoint):
    endpoint.max_bytes = 300
    assert await ask(channel, 16) == [["echo", number] for number in range(16)]
    assert 2 <= endpoint.batch_sizes[-1] <= 8
    endpoint.max_bytes = 10
    [alone] = await ask(channel, 1)
    assert isinstance(alone, RpcRefusedError)
    assert alone.rpc_code == 413


async def test_an_outage_reaches_every_caller_and_is_counted(channel, endpoint, metrics):
    endpoint.raises = RpcTimeoutError("late")
    assert {type(result) for result in await ask(channel, 3)} == {RpcTimeoutError}
    endpoint.raises = None
    await ask(channel, 2)
    text = metrics.render().decode()
    assert 'rpc_requests_total{endpoint="endpoint",method="echo",outcome="rpc_timeout"} 3.0' in text
    assert 'rpc_requests_total{endpoint="endpoint",method="echo",outcome="ok"} 2.0' in text
    assert 'rpc_request_duration_seconds_count{endpoint="endpoint",method="echo"} 2.0' in text


async def test_close_finishes_what_was_asked_and_refuses_more(channel):
    asked = asyncio.create_task(channel.call("echo", [1]))
    await asyncio.sleep(0)
    await channel.close()
    assert await asked == ["echo", 1]
    with pytest.raises(RpcUnavailableError, match="closed"):
        await channel.call("echo")


async def test_integers_of_64_bits_stay_exact(channel):
    assert await channel.call("echo", [2**64 - 1]) == ["echo", 2**64 - 1]


def test_an_unhealthy_node_may_be_asked_again():
    error = translate_rpc_error({"code": -32005, "message": "Node is behind"}, "getSlot", "endpoint")
    assert isinstance(error, RpcUnavailableError)
    assert error.retryable
