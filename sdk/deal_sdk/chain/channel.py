"""JSON-RPC over a transport: concurrent calls share batches, and each gets its own result or error.

Owns request ids, batching and the check that every reply answers its request. It never retries a
call, except to ask singly or in halves what an endpoint would not take as one batch.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import orjson

from deal_sdk.batching import Collector
from deal_sdk.chain._errors import HTTP_PAYLOAD_TOO_LARGE, translate_rpc_error
from deal_sdk.chain.guard import EndpointGuard
from deal_sdk.chain.replies import read_reply
from deal_sdk.chain.transport import Transport
from deal_sdk.clock import Clock
from deal_sdk.errors import ChainError, RpcMalformedReplyError, RpcRefusedError, RpcUnavailableError
from deal_sdk.metrics import CallTally, Metrics

DEFAULT_MAX_BATCH_ITEMS: Final = 100
DEFAULT_MAX_BODY_BYTES: Final = 48 * 1024
"""Agave refuses a body over 50 KiB; the margin is for proxies that count headers."""
MAX_BATCHES_IN_FLIGHT: Final = 8

Parse = Callable[[Any], Any]

SEND_TRANSACTION: Final = "sendTransaction"

_SENDING: Final = "sending"
_BULK: Final = "bulk"
_READING: Final = "reading"
# A batch is as slow as its slowest call: sends, large replies and quick reads travel apart.
_LANES: Final = {
    SEND_TRANSACTION: _SENDING,
    "getBlock": _BULK,
    "getTransaction": _BULK,
    "getSignaturesForAddress": _BULK,
    "getProgramAccounts": _BULK,
    "getTokenLargestAccounts": _BULK,
    "simulateTransaction": _BULK,
}


class Answer(NamedTuple):
    """A call's result, and the endpoint that gave it."""

    endpoint: str
    result: Any


class Channel(Protocol):
    """Calls methods: on one endpoint, or on one of several."""

    @property
    def endpoint(self) -> str:
        """Return the name for logs, without secrets."""
        ...

    @property
    def transport(self) -> Transport:
        """Return what carries raw bodies; whoever opened the channel closes it."""
        ...

    @property
    def members(self) -> Sequence[Channel]:
        """Return a channel for each endpoint; itself where there is one."""
        ...

    @property
    def clock(self) -> Clock:
        """Return the clock that times the calls."""
        ...

    async def call(
        self, method: str, params: Sequence[Any] = (), *, turn: int = 0, parse: Parse | None = None
    ) -> Any:
        """Call a method and return its result; see `RpcChannel.call`.

        Args:
            method: the JSON-RPC method.
            params: its parameters, in order.
            turn: how often the same was asked before, so that another endpoint is asked now.
            parse: reads the result, so that one of another form counts as no answer.
        """
        ...

    async def answer(
        self, method: str, params: Sequence[Any] = (), *, turn: int = 0, parse: Parse | None = None
    ) -> Answer:
        """Call a method and also say which endpoint answered."""
        ...

    async def close(self) -> None:
        """Finish the calls under way and refuse new ones; transports stay open."""
        ...


def is_quick_read(method: str) -> bool:
    """Return whether a method is a read with a small reply, which may be asked twice without harm."""
    return method not in _LANES and method != "requestAirdrop"


@dataclass(frozen=True, slots=True)
class _Request:
    id: int
    method: str
    body: bytes


_Reply = Any | ChainError


class RpcChannel:
    """Calls JSON-RPC methods, gathering those that arrive together into one request."""

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Clock,
        metrics: Metrics,
        max_batch_items: int = DEFAULT_MAX_BATCH_ITEMS,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
        guard: EndpointGuard | None = None,
    ) -> None:
        """Prepare a channel; nothing is sent before the first call.

        Args:
            transport: carries the bodies; the channel does not close it.
            clock: times the requests.
            metrics: counts calls and their durations.
            max_batch_items: the most calls in one request.
            max_body_bytes: the most bytes in one request's body.
            guard: admits each request and learns from its end.
        """
        self.transport = transport
        self.clock = clock
        self.members = (self,)
        self._guard = guard
        self._tally = CallTally(metrics, transport.endpoint)
        self._ids = itertools.count(1)
        self._takes_batches = True
        self._closed = False
        self._lanes: dict[str, Collector[_Request, Any]] = {
            lane: Collector(
                self._exchange,
                max_items=max_batch_items,
                max_bytes=max_body_bytes - 2,
                size_of=lambda request: len(request.body) + 1,
                max_in_flight=MAX_BATCHES_IN_FLIGHT,
                drop_cancelled=lane != _SENDING,
            )
            for lane in (_READING, _SENDING, _BULK)
        }

    @property
    def endpoint(self) -> str:
        """Return the endpoint's name for logs and evidence, without secrets."""
        return self.transport.endpoint

    async def call(
        self, method: str, params: Sequence[Any] = (), *, turn: int = 0, parse: Parse | None = None
    ) -> Any:
        """Call a method and return its `result`; a call that is alone leaves at once.

        Args:
            method: the JSON-RPC method.
            params: its parameters, in order.
            turn: makes no difference here, where there is one endpoint.
            parse: reads the result; any other form than it expects is a malformed reply.

        Raises:
            RpcRefusedError: with the error reply's code and data.
            RpcUnavailableError: when no reply came; the call may have been carried out.
            RpcMalformedReplyError: when the reply is no JSON-RPC or does not answer this call.
        """
        request_id = next(self._ids)
        body = orjson.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": list(params)})
        lane = self._lanes[_LANES.get(method, _READING)]
        if self._closed:
            raise RpcUnavailableError(f"the channel to {self.endpoint} is closed", endpoint=self.endpoint)
        result = await lane.submit(_Request(request_id, method, body))
        return result if parse is None else read_reply(method, parse, result)

    async def answer(
        self, method: str, params: Sequence[Any] = (), *, turn: int = 0, parse: Parse | None = None
    ) -> Answer:
        """Call a method and also say which endpoint answered; see `call`."""
        return Answer(self.endpoint, await self.call(method, params, parse=parse))

    async def close(self) -> None:
        """Finish the calls under way and refuse new ones; the transport stays open."""
        self._closed = True
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))

    async def _exchange(self, requests: Sequence[_Request]) -> list[_Reply]:
        if self._guard is not None:
            return await self._guarded(requests, self._guard)
        started = self.clock.monotonic()
        replies = await self._carry(requests)
        self._count(requests, replies, self.clock.monotonic() - started)
        return replies

    async def _guarded(self, requests: Sequence[_Request], guard: EndpointGuard) -> list[_Reply]:
        try:
            await guard.admit(len(requests))
        except ChainError as refusal:
            # Nothing left, so there is no duration; the calls are counted by what they came back with.
            self._count(requests, [refusal] * len(requests), None)
            return [refusal] * len(requests)
        started = self.clock.monotonic()
        try:
            replies = await self._carry(requests)
        except BaseException:
            guard.abandoned()
            raise
        duration_seconds = self.clock.monotonic() - started
        guard.ended(replies, duration_seconds, is_quick=is_quick_read(requests[0].method))
        self._count(requests, replies, duration_seconds)
        return replies

    def _count(
        self, requests: Sequence[_Request], replies: Sequence[_Reply], duration_seconds: float | None
    ) -> None:
        self._tally.count(
            [
                (request.method, reply.code if isinstance(reply, ChainError) else "ok")
                for request, reply in zip(requests, replies, strict=True)
            ],
            duration_seconds,
        )

    async def _carry(self, requests: Sequence[_Request]) -> list[_Reply]:
        if len(requests) == 1:
            return [await self._post_one(requests[0])]
        if not self._takes_batches:
            return await self._post_singly(requests)
        return await self._post_batch(requests)

    async def _post_one(self, request: _Request) -> _Reply:
        try:
            parsed = self._parse(await self.transport.post(request.body))
        except ChainError as error:
            return error
        if not isinstance(parsed, Mapping) or parsed.get("id") not in (request.id, None):
            return self._malformed(f"{request.method}: the reply answers another request")
        return self._result_of(parsed, request)

    async def _post_singly(self, requests: Sequence[_Request]) -> list[_Reply]:
        return list(await asyncio.gather(*map(self._post_one, requests)))

    async def _post_batch(self, requests: Sequence[_Request]) -> list[_Reply]:
        try:
            parsed = self._parse(
                await self.transport.post(b"[" + b",".join([request.body for request in requests]) + b"]")
            )
        except RpcRefusedError as refusal:
            return await self._after_refused_batch(requests, refusal)
        except ChainError as failure:
            return [failure] * len(requests)
        if isinstance(parsed, list):
            return self._match(requests, parsed)
        if isinstance(parsed, Mapping) and "error" in parsed:
            error = translate_rpc_error(parsed["error"], "batch", self.endpoint)
            if isinstance(error, RpcRefusedError):
                return await self._after_refused_batch(requests, error)
            return [error] * len(requests)
        return [self._malformed("a batch was not answered by a list")] * len(requests)

    async def _after_refused_batch(
        self, requests: Sequence[_Request], refusal: RpcRefusedError
    ) -> list[_Reply]:
        if refusal.rpc_code == HTTP_PAYLOAD_TOO_LARGE:
            middle = len(requests) // 2
            return await self._carry(requests[:middle]) + await self._carry(requests[middle:])
        replies = await self._post_singly(requests)
        # Only an endpoint that answers singly what it refused together is one that takes no batches.
        if any(not isinstance(reply, ChainError) for reply in replies):
            self._takes_batches = False
        return replies

    def _match(self, requests: Sequence[_Request], replies: list[Any]) -> list[_Reply]:
        by_id: dict[Any, Any] = {}
        repeated: set[Any] = set()
        for reply in replies:
            reply_id = reply.get("id") if isinstance(reply, Mapping) else None
            if not isinstance(reply_id, int):
                continue
            if reply_id in by_id:
                repeated.add(reply_id)
            by_id[reply_id] = reply
        return [
            self._malformed(f"{request.method}: no single reply in the batch")
            if request.id in repeated or request.id not in by_id
            else self._result_of(by_id[request.id], request)
            for request in requests
        ]

    def _result_of(self, reply: Mapping[str, Any], request: _Request) -> _Reply:
        if reply.get("error") is not None:
            return translate_rpc_error(reply["error"], request.method, self.endpoint)
        if "result" not in reply or reply.get("id") != request.id:
            return self._malformed(f"{request.method}: a reply without a result")
        return reply["result"]

    def _parse(self, body: bytes) -> Any:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            raise self._malformed("a reply that is no JSON") from None

    def _malformed(self, message: str) -> RpcMalformedReplyError:
        return RpcMalformedReplyError(f"{message} ({self.endpoint})", endpoint=self.endpoint)
