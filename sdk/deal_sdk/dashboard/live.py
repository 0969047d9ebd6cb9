"""The stream that pages are live by: each event is encoded once, and one frame goes to every reader.

Owns the log that a reader resumes from and the bounded queue of each reader. It never waits for a reader:
one that falls behind is told to load everything anew, and dropped.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final

import orjson

from deal_sdk.clock import Clock, Timer

logger = logging.getLogger(__name__)

DEFAULT_LOG_EVENTS: Final = 10_000
DEFAULT_QUEUE_FRAMES: Final = 256
DEFAULT_MAX_READERS: Final = 250
DEFAULT_FLUSH_SECONDS: Final = 0.02
"""Events of this time leave in one frame: it bounds the sends a second, whatever the events a second."""
SLOW_READER: Final = "slow_reader"
UNKNOWN_POSITION: Final = "unknown_position"
SERVER_RESTARTED: Final = "server_restarted"
_MAX_ID_LENGTH: Final = 64
_EPOCH_BYTES: Final = 6


@dataclass(frozen=True, slots=True)
class Position:
    """An event's id: the server's start, the number since then, and the last event of the wallets' record.

    The last part outlives a restart, because the wallets' events are kept in the database.
    """

    epoch: str
    number: int
    watch_id: int

    def __str__(self) -> str:
        """Return the id as text."""
        return f"{self.epoch}-{self.number}-{self.watch_id}"


def parse_position(text: str) -> Position | None:
    """Read an id that a reader hands back; None when it is none of ours."""
    epoch, *numbers = text[: _MAX_ID_LENGTH + 1].split("-")
    if (
        len(text) > _MAX_ID_LENGTH
        or len(numbers) != 2
        or not all(n.isascii() and n.isdigit() for n in numbers)
    ):
        return None
    return Position(epoch, int(numbers[0]), int(numbers[1]))


@dataclass(frozen=True, slots=True)
class EarlierEvent:
    """An event of the wallets' record that another start of the server told of, or none did."""

    watch_id: int
    type: str
    data: Mapping[str, Any]
    timestamp: datetime


class Reader:
    """One connection's queue of frames."""

    def __init__(self, max_frames: int) -> None:
        """Start empty."""
        self._frames: deque[str] = deque()
        self._max_frames = max_frames
        self._woken = asyncio.Event()
        self.is_behind = False
        """It was too slow, and what it missed is gone."""
        self._is_ended = False

    def offer(self, frame: str) -> None:
        """Queue a frame, or note that the reader is too slow for it."""
        if self.is_behind:
            return
        if len(self._frames) >= self._max_frames:
            self.is_behind = True
            self._frames.clear()
            self._frames.append(resync_frame(SLOW_READER))
        else:
            self._frames.append(frame)
        self._woken.set()

    async def next(self) -> str | None:
        """Return the next frame, once there is one; None when there is never one more."""
        while not self._frames:
            if self._is_ended:
                return None
            self._woken.clear()
            await self._woken.wait()
        return self._frames.popleft()

    def end(self) -> None:
        """Let it read what waits, and nothing after it."""
        self._is_ended = True
        self._woken.set()

    @property
    def waiting(self) -> int:
        """Return how many frames wait."""
        return len(self._frames)


class LiveHub:
    """Takes events in, numbers them, and hands frames to every reader."""

    def __init__(
        self,
        clock: Clock,
        *,
        log_events: int = DEFAULT_LOG_EVENTS,
        queue_frames: int = DEFAULT_QUEUE_FRAMES,
        max_readers: int = DEFAULT_MAX_READERS,
        flush_seconds: float = DEFAULT_FLUSH_SECONDS,
    ) -> None:
        """Prepare an empty hub.

        Args:
            clock: times the frames.
            log_events: how many past events a reader may resume from.
            queue_frames: how many frames may wait for one reader.
            max_readers: how many readers there may be at once.
            flush_seconds: how long an event waits for others to leave with.
        """
        self._clock = clock
        self._epoch = secrets.token_hex(_EPOCH_BYTES)
        self._log: deque[bytes] = deque(maxlen=log_events)
        self._number = 0
        self._watch_id = 0
        self._pending: list[bytes] = []
        self._timer: Timer | None = None
        self._readers: set[Reader] = set()
        self._queue_frames = queue_frames
        self._max_readers = max_readers
        self._flush_seconds = flush_seconds

    @property
    def position(self) -> Position:
        """Return where the stream stands."""
        return Position(self._epoch, self._number, self._watch_id)

    @property
    def readers(self) -> int:
        """Return how many readers there are."""
        return len(self._readers)

    @property
    def is_full(self) -> bool:
        """Return whether no further reader may join."""
        return len(self._readers) >= self._max_readers

    def start_at(self, watch_id: int) -> None:
        """Take note of the wallets' last event before anything is published."""
        self._watch_id = watch_id

    def skip_to(self, watch_id: int) -> None:
        """Go on after a later event of the wallets' record, and have every page load itself anew."""
        self._flush()
        self._watch_id = watch_id
        for reader in self._readers:
            reader.offer(resync_frame(UNKNOWN_POSITION))

    def publish(
        self, event_type: str, data: Mapping[str, Any], timestamp: datetime, *, watch_id: int | None = None
    ) -> None:
        """Number an event and send it with the next frame.

        Args:
            event_type: what happened.
            data: JSON-serialisable facts.
            timestamp: when.
            watch_id: the event's number in the wallets' record, when it is one of those.

        Raises:
            TypeError: for facts that are not JSON; nothing is published then.
        """
        position = Position(self._epoch, self._number + 1, self._watch_id if watch_id is None else watch_id)
        # Numbered only once it is encoded, because the numbers count what the log holds.
        encoded = encode_event(position, event_type, data, timestamp)
        self._number, self._watch_id = position.number, position.watch_id
        self._log.append(encoded)
        self._pending.append(encoded)
        if self._timer is None:
            self._timer = self._clock.call_later(self._flush_seconds, self._flush)

    def join(self, after: str | None, earlier: Sequence[EarlierEvent] = ()) -> Reader:
        """Add a reader, whose first frame says where the stream stands and whether anything is missing.

        Args:
            after: the id of the last event that it has seen; None for a page that was just loaded.
            earlier: what the wallets' record tells of the time before this server's start; what this
                server told of itself is left out.
        """
        # What is pending is in the log already, so it must leave before the reader is added.
        self._flush()
        reader = Reader(self._queue_frames)
        missed, reason = self._missed(after)
        reader.offer(hello_frame(self.position, reason))
        told = [one for one in earlier if one.watch_id <= self._watch_id]
        missed = [*missed, *(encode_event(self.position, one.type, one.data, one.timestamp) for one in told)]
        if missed:
            reader.offer(events_frame(missed))
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Forget a reader; harmless when it is gone."""
        self._readers.discard(reader)

    def close(self) -> None:
        """Send what is pending, and end every reader."""
        self._flush()
        for reader in self._readers:
            reader.end()

    def _missed(self, after: str | None) -> tuple[Sequence[bytes], str | None]:
        if after is None:
            return (), None
        position = parse_position(after)
        if position is None:
            return (), UNKNOWN_POSITION
        if position.epoch != self._epoch:
            return (), SERVER_RESTARTED
        count = self._number - position.number
        if not 0 <= count <= len(self._log):
            return (), UNKNOWN_POSITION
        return list(islice(self._log, len(self._log) - count, None)), None

    def _flush(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        if self._readers:
            frame = events_frame(pending)
            for reader in self._readers:
                reader.offer(frame)


def encode_event(position: Position, event_type: str, data: Mapping[str, Any], timestamp: datetime) -> bytes:
    """Write an event in the envelope {id, type, data, timestamp}."""
    event = {"id": str(position), "type": event_type, "data": data, "timestamp": timestamp}
    return orjson.dumps(event, default=str)


def hello_frame(position: Position, resync_reason: str | None) -> str:
    """Write the first frame of a connection."""
    document = {"type": "hello", "position": str(position), "resync": resync_reason}
    return orjson.dumps(document).decode()


def events_frame(encoded: Sequence[bytes]) -> str:
    """Put encoded events into one frame."""
    return (b'{"type":"events","events":[' + b",".join(encoded) + b"]}").decode()


def resync_frame(reason: str) -> str:
    """Tell a page to load everything anew."""
    return orjson.dumps({"type": "resync", "reason": reason}).decode()
