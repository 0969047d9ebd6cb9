"""What happened, told to whoever asked: an in-process bus of typed envelopes.

Owns delivery inside this process, in order per subscriber. It never decides anything about money:
a subscriber that raises, hangs or falls behind changes nothing for the payment that told it.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from deal_sdk.clock import Clock

logger = logging.getLogger(__name__)

ALL_EVENTS: Final = "*"
DEFAULT_QUEUE_LENGTH: Final = 10_000

EventHandler = Callable[["Event"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, in the envelope {type, data, timestamp} that webhooks and pages carry."""

    type: str
    data: Mapping[str, Any]
    timestamp: datetime
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def to_dict(self) -> dict[str, Any]:
        """Return the envelope as JSON-serialisable data."""
        return {
            "id": self.id,
            "type": self.type,
            "data": dict(self.data),
            "timestamp": self.timestamp.isoformat(),
        }


class _Subscriber:
    def __init__(self, event_type: str, queue_length: int, *, has_handler: bool) -> None:
        self.event_type = event_type
        self.has_handler = has_handler
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue(queue_length)
        self.dropped_count = 0

    def offer(self, event: Event) -> None:
        if self.event_type not in (ALL_EVENTS, event.type):
            return
        try:
            self.queue.put_nowait(event)
        except asyncio.QueueFull:
            self.dropped_count += 1
            logger.warning("a subscriber of %s is full; dropped %s", self.event_type, event.type)

    def end(self) -> None:
        while not self.queue.empty():
            self.queue.get_nowait()
            self.queue.task_done()
        self.queue.put_nowait(None)
        self.queue.task_done()


class EventBus:
    """Hands events to subscribers through bounded queues, so that no subscriber slows a payment."""

    def __init__(self, clock: Clock, *, queue_length: int = DEFAULT_QUEUE_LENGTH) -> None:
        """Prepare an empty bus.

        Args:
            clock: stamps the events.
            queue_length: how many events may wait for one subscriber before the newest are dropped.
        """
        self._clock = clock
        self._queue_length = queue_length
        self._subscribers: list[_Subscriber] = []
        self._workers: set[asyncio.Task[None]] = set()

    def publish(self, event_type: str, **data: Any) -> Event:
        """Tell every subscriber of this type; returns at once.

        Args:
            event_type: for example "payment.finalized".
            data: JSON-serialisable facts, without secrets.
        """
        event = Event(event_type, data, self._clock.now())
        for subscriber in self._subscribers:
            subscriber.offer(event)
        return event

    def has_listener(self, event_type: str) -> bool:
        """Return whether anyone asked for a type, so that facts need not be gathered for nobody."""
        return any(subscriber.event_type in (ALL_EVENTS, event_type) for subscriber in self._subscribers)

    def subscribe(self, event_type: str, handler: EventHandler) -> Callable[[], None]:
        """Call `handler` for each event of a type, one after another.

        Args:
            event_type: a type, or "*" for all.
            handler: an async callable; what it raises is logged.

        Returns:
            A function that ends the subscription.
        """
        subscriber = _Subscriber(event_type, self._queue_length, has_handler=True)
        self._subscribers.append(subscriber)
        worker = asyncio.create_task(self._serve(subscriber, handler))
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)

        def unsubscribe() -> None:
            self._remove(subscriber)
            worker.cancel()

        return unsubscribe

    @asynccontextmanager
    async def listen(self, event_type: str = ALL_EVENTS) -> AsyncIterator[AsyncIterator[Event]]:
        """Open an iterator over the events of a type that begins when the context is entered."""
        subscriber = _Subscriber(event_type, self._queue_length, has_handler=False)
        self._subscribers.append(subscriber)

        async def events() -> AsyncIterator[Event]:
            while True:
                event = await subscriber.queue.get()
                if event is None:
                    return
                subscriber.queue.task_done()
                yield event

        try:
            yield events()
        finally:
            self._remove(subscriber)

    async def close(self) -> None:
        """Stop every subscription and end every listener; what still waits is not delivered."""
        for subscriber in tuple(self._subscribers):
            self._remove(subscriber)
        for worker in tuple(self._workers):
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def drain(self) -> None:
        """Return once every handler is through with every event published so far."""
        await asyncio.gather(*(s.queue.join() for s in self._subscribers if s.has_handler))

    def _remove(self, subscriber: _Subscriber) -> None:
        with suppress(ValueError):
            self._subscribers.remove(subscriber)
            subscriber.end()

    @staticmethod
    async def _serve(subscriber: _Subscriber, handler: EventHandler) -> None:
        while (event := await subscriber.queue.get()) is not None:
            try:
                await handler(event)
            except Exception:
                logger.exception("a handler of %s failed", event.type)
            finally:
                subscriber.queue.task_done()
