"""Hints by WebSocket that a transaction or an address is worth a look, so that nobody need poll at once.

A notification is a hint and never evidence. Its slot is the one that the node had confirmed when it
told, not the one in which the transaction landed, and it names neither commitment nor history; so
the sweeper looks the status up at once, and verdicts keep one source. Whatever is lost here (a frame,
a connection, an endpoint without WebSocket) costs time alone, because polling goes on.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from deal_sdk.chain._errors import translate_rpc_error
from deal_sdk.chain.links import Frame, Link, LinkSource
from deal_sdk.clock import Clock
from deal_sdk.errors import ChainError, RpcRefusedError, RpcUnavailableError
from deal_sdk.metrics import Metrics

logger = logging.getLogger(__name__)

DEFAULT_MAX_SUBSCRIPTIONS: Final = 16
PING_INTERVAL_SECONDS: Final = 10.0
FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 60.0
REFUSED_PAUSE_SECONDS: Final = 600.0
"""An endpoint that answers and takes no subscriptions will hardly have learnt them within a minute."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What is subscribed to: the methods' names, their parameters, and whether it is told of once."""

    name: str
    params: Callable[[str], list[Any]]
    tells_once: bool


SIGNATURES: Final = Topic(
    "signature", lambda signature: [signature, {"commitment": "confirmed"}], tells_once=True
)


class SignatureHints(Protocol):
    """Tells when a transaction should be looked at; it may miss any, and hint for nothing."""

    @property
    def max_subscriptions(self) -> int:
        """Return how many signatures may be subscribed to at once."""
        ...

    def listen(self, on_hint: Callable[[str], None]) -> None:
        """Call `on_hint` with each signature that there is news of."""
        ...

    def want(self, signature: str) -> None:
        """Subscribe to a signature, unless too many are subscribed to."""
        ...

    def drop(self, signature: str) -> None:
        """End the subscription to a signature; one that is not there does no harm."""
        ...

    def covers(self, signature: str) -> bool:
        """Return whether an endpoint has promised to tell of a signature."""
        ...


class SignatureSubscriptions:
    """Subscribes to a bounded number of signatures at every endpoint; the first to tell counts."""

    def __init__(
        self,
        sources: Sequence[LinkSource],
        *,
        clock: Clock,
        metrics: Metrics,
        max_subscriptions: int = DEFAULT_MAX_SUBSCRIPTIONS,
        ping_interval_seconds: float = PING_INTERVAL_SECONDS,
    ) -> None:
        """Prepare; `start` connects.

        Args:
            sources: one per endpoint; `close` closes them.
            clock: spaces pings and reconnections.
            metrics: counts hints and shows the live connections.
            max_subscriptions: the most signatures at once.
            ping_interval_seconds: a link that is silent for as long after a ping is dead.
        """
        self._sources = tuple(sources)
        self._wanted: dict[str, None] = {}
        self._on_hint: Callable[[str], None] | None = None
        self._metrics = metrics
        self._connections = [
            HintConnection(
                source,
                SIGNATURES,
                self._wanted,
                self._hint,
                clock=clock,
                metrics=metrics,
                ping_interval_seconds=ping_interval_seconds,
            )
            for source in sources
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self.max_subscriptions = max_subscriptions

    def start(self) -> None:
        """Connect in the background, and again whenever a connection is lost."""
        assert not self._tasks
        if self.max_subscriptions:
            self._tasks = [asyncio.create_task(connection.run()) for connection in self._connections]

    async def close(self) -> None:
        """Disconnect."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for source in self._sources:
            await source.close()

    def listen(self, on_hint: Callable[[str], None]) -> None:
        """Tell one listener; see `SignatureHints.listen`."""
        self._on_hint = on_hint

    def want(self, signature: str) -> None:
        """Subscribe where there is room; see `SignatureHints.want`."""
        if not self._tasks or len(self._wanted) >= self.max_subscriptions or signature in self._wanted:
            return
        self._wanted[signature] = None
        for connection in self._connections:
            connection.subscribe(signature)

    def drop(self, signature: str) -> None:
        """Unsubscribe; see `SignatureHints.drop`."""
        if signature in self._wanted:
            del self._wanted[signature]
            for connection in self._connections:
                connection.unsubscribe(signature)

    def covers(self, signature: str) -> bool:
        """Return whether any endpoint will tell; see `SignatureHints.covers`."""
        return any(connection.covers(signature) for connection in self._connections)

    def _hint(self, signature: str) -> None:
        if signature not in self._wanted:
            return
        # A subscription tells once; whatever the look shows, polling has it from here.
        self.drop(signature)
        if self._on_hint is not None:
            self._on_hint(signature)


class HintConnection:
    """One endpoint: its link, the subscriptions to one topic on it, and its return after a loss."""

    def __init__(
        self,
        source: LinkSource,
        topic: Topic,
        wanted: Mapping[str, None],
        on_hint: Callable[[str], None],
        *,
        clock: Clock,
        metrics: Metrics,
        ping_interval_seconds: float = PING_INTERVAL_SECONDS,
    ) -> None:
        """Prepare; `run` connects.

        Args:
            source: opens links to the endpoint; whoever made it closes it.
            topic: what is subscribed to.
            wanted: what is to be subscribed to whenever a link is opened.
            on_hint: called with what there is news of.
            clock: spaces pings and reconnections.
            metrics: counts hints and shows the live connection.
            ping_interval_seconds: a link that is silent for as long after a ping is dead.
        """
        self._source = source
        self._topic = topic
        self._wanted = wanted
        self._on_hint = on_hint
        self._clock = clock
        self._ping_interval_seconds = ping_interval_seconds
        self._hints = metrics.signature_hints.labels(source.endpoint)
        self._connected = metrics.websocket_connections.labels(source.endpoint)
        self._request_ids = itertools.count(1)
        self._outbox: asyncio.Queue[str] | None = None
        self._asked: dict[int, str] = {}
        self._subscribed: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._is_alive = False
        self._has_heard = False
        self._failures = 0

    def covers(self, subject: str) -> bool:
        """Return whether the endpoint has promised to tell of a subject."""
        return subject in self._numbers

    def subscribe(self, subject: str) -> None:
        """Ask to be told of a subject, where there is a link."""
        if self._outbox is not None:
            request_id = self._request(f"{self._topic.name}Subscribe", self._topic.params(subject))
            self._asked[request_id] = subject

    def unsubscribe(self, subject: str) -> None:
        """Ask to be told no more."""
        number = self._numbers.pop(subject, None)
        if number is not None:
            del self._subscribed[number]
            self._request(f"{self._topic.name}Unsubscribe", [number])

    async def run(self) -> None:
        """Stay connected; every end of a link is followed by a pause and the next try."""
        while True:
            try:
                await self._serve()
            except ChainError as error:
                pause_seconds = self._pause_seconds(error)
            except Exception:
                logger.exception("the subscriptions at %s broke", self._source.endpoint)
                pause_seconds = MAX_PAUSE_SECONDS
            await self._clock.sleep(pause_seconds)

    def _pause_seconds(self, error: ChainError) -> float:
        self._failures = 0 if self._has_heard else self._failures + 1
        # Polling does the work meanwhile, so an endpoint without WebSocket is worth one line.
        level = logging.INFO if self._failures <= 1 else logging.DEBUG
        logger.log(level, "no subscriptions at %s: %s", self._source.endpoint, error.message)
        if isinstance(error, RpcRefusedError):
            return REFUSED_PAUSE_SECONDS
        return min(FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10), MAX_PAUSE_SECONDS)

    async def _serve(self) -> None:
        self._has_heard = False
        link = await self._source.open()
        outbox = self._outbox = asyncio.Queue()
        try:
            with self._connected.track_inprogress():
                for subject in self._wanted:
                    self.subscribe(subject)
                await _first_failure(self._read(link), self._write(link, outbox), self._ping(link))
        finally:
            self._outbox = None
            for table in (self._asked, self._subscribed, self._numbers):
                table.clear()
            with suppress(ChainError):
                await link.close()

    async def _read(self, link: Link) -> None:
        while True:
            frame = await link.receive()
            self._has_heard = self._is_alive = True
            self._take_in(frame)

    @staticmethod
    async def _write(link: Link, outbox: asyncio.Queue[str]) -> None:
        while True:
            await link.send(await outbox.get())

    async def _ping(self, link: Link) -> None:
        self._is_alive = True
        while self._is_alive:
            self._is_alive = False
            await link.ping()
            await self._clock.sleep(self._ping_interval_seconds)
        raise RpcUnavailableError(
            f"{self._source.endpoint} gives no sign of life", endpoint=self._source.endpoint
        )

    def _take_in(self, frame: Frame) -> None:
        message = _parsed(frame)
        if message.get("method") == f"{self._topic.name}Notification":
            self._take_notification(message.get("params"))
        elif (subject := self._asked.pop(_number(message.get("id")), None)) is not None:
            self._take_answer(subject, message)

    def _take_answer(self, subject: str, message: Mapping[str, Any]) -> None:
        if message.get("error") is not None:
            method = f"{self._topic.name}Subscribe"
            raise translate_rpc_error(message["error"], method, self._source.endpoint)
        number = _number(message.get("result"))
        if number < 0:
            return
        self._subscribed[number] = subject
        self._numbers[subject] = number
        if subject not in self._wanted:
            self.unsubscribe(subject)

    def _take_notification(self, params: Any) -> None:
        number = _number(params.get("subscription")) if isinstance(params, Mapping) else -1
        subject = self._subscribed.get(number)
        if subject is not None and self._topic.tells_once:
            # The node ends the subscription by telling, so there is nothing to unsubscribe.
            del self._subscribed[number], self._numbers[subject]
        # News that overtook the answer with its number may be of any that is still unanswered.
        heard: Iterable[str] = [subject] if subject is not None else list(self._asked.values())
        for hinted in heard:
            self._hints.inc()
            self._on_hint(hinted)

    def _request(self, method: str, params: list[Any]) -> int:
        request_id = next(self._request_ids)
        request = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        assert self._outbox is not None
        self._outbox.put_nowait(orjson.dumps(request).decode())
        return request_id


async def _first_failure(*parts: Any) -> None:
    """Run parts that never end, until one fails; then cancel the others and raise its error."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _parsed(frame: Frame) -> Mapping[str, Any]:
    """Read a frame; one that is no JSON object says nothing."""
    try:
        message = orjson.loads(frame) if frame is not None else None
    except orjson.JSONDecodeError:
        message = None
    return message if isinstance(message, dict) else {}


def _number(value: Any) -> int:
    """Read a request's or a subscription's number; anything else matches none."""
    return value if type(value) is int else -1
