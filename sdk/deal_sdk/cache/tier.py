"""Entries that this process keeps for itself, and when they may not be trusted any more.

Owns a bounded set of entries, the oldest unused one leaving first. Nothing is served that was changed more
than a known time ago: without a sign of life from the store's feed of changes, nothing is served at all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import orjson

from deal_sdk.cache.values import Envelope, is_scalar
from deal_sdk.clock import Clock

MAX_LOCAL_VALUE_BYTES: Final = 64 * 1024
"""Larger values stay in the store alone, so that the tier's memory is bounded by its number of entries."""
HITS_PER_REPORT: Final = 64
_NEVER: Final = float("-inf")


class Held:
    """One entry of the tier; what callers could change is copied for each of them."""

    __slots__ = ("copy", "ends_seconds", "stored_seconds", "tags", "value")

    def __init__(self, envelope: Envelope, *, stored_seconds: float, ends_seconds: float) -> None:
        """Hold an entry that was stored and ends at these moments of the monotonic clock."""
        # The envelope's own value belongs to whoever read it.
        self.value: Any = orjson.loads(envelope.body)
        self.copy = _copier(self.value, envelope.body)
        """Makes a copy; None for a scalar, which needs none."""
        self.tags = tuple(envelope.tags)
        self.stored_seconds = stored_seconds
        self.ends_seconds = ends_seconds


def _copier(value: Any, body: bytes) -> Callable[[], Any] | None:
    if is_scalar(value):
        return None
    inner = value.values() if isinstance(value, dict) else value
    if all(map(is_scalar, inner)):
        copy: Callable[[], Any] = value.copy
        return copy
    return partial(orjson.loads, body)


class LocalTier:
    """Serves entries from this process's memory."""

    def __init__(
        self,
        capacity: int,
        ttl_seconds: float,
        clock: Clock,
        report: Callable[[int, float], None],
    ) -> None:
        """Start empty, and untrusted until the feed of changes is heard.

        Args:
            capacity: how many entries are kept.
            ttl_seconds: how long one is served at most.
            clock: its monotonic time measures lifetimes.
            report: told of hits, a number of them at a time, with the age of the last one.
        """
        self._capacity = capacity
        self._ttl_seconds = ttl_seconds
        self._monotonic = clock.monotonic
        self._report = report
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._keys_by_tag: dict[str, set[str]] = {}
        self._marks: dict[str, object] = {}
        self._unreported_hits = 0
        self._last: Held | None = None
        self._trusted_until_seconds = _NEVER

    def __len__(self) -> int:
        """Return how many entries are held."""
        return len(self._held)

    def find(self, key: str) -> Held | None:
        """Return an entry that may be served; None sends the caller to the store."""
        try:
            held = self._held[key]
        except (KeyError, TypeError):
            return None
        now_seconds = self._monotonic()
        if now_seconds >= held.ends_seconds or now_seconds >= self._trusted_until_seconds:
            return None
        self._held.move_to_end(key)
        self._last = held
        self._unreported_hits += 1
        if self._unreported_hits == HITS_PER_REPORT:
            self.report()
        return held

    def begin(self, key: str) -> object | None:
        """Mark a reading of the store; a change that is heard before its end takes the mark away.

        Returns:
            The mark; None while the tier is not trusted, because changes may go unheard.
        """
        if self._monotonic() >= self._trusted_until_seconds:
            return None
        mark = self._marks[key] = object()
        return mark

    def end(self, key: str, mark: object | None) -> bool:
        """End a reading, and say whether nothing changed meanwhile."""
        if mark is None or self._marks.get(key) is not mark:
            return False
        del self._marks[key]
        return True

    def keep(self, key: str, envelope: Envelope, age_seconds: float, left_seconds: float) -> None:
        """Hold an entry that was read while nothing changed.

        Args:
            key: of the entry.
            envelope: as stored.
            age_seconds: how old it is.
            left_seconds: how long it is fresh.
        """
        if len(envelope.body) > MAX_LOCAL_VALUE_BYTES or left_seconds <= 0:
            return
        self.drop(key)
        now_seconds = self._monotonic()
        held = Held(
            envelope,
            stored_seconds=now_seconds - age_seconds,
            ends_seconds=now_seconds + min(left_seconds, self._ttl_seconds),
        )
        self._held[key] = held
        for tag in held.tags:
            self._keys_by_tag.setdefault(tag, set()).add(key)
        if len(self._held) > self._capacity:
            self.drop(next(iter(self._held)))

    def drop(self, key: str) -> None:
        """Forget an entry, and what is being read of it."""
        self._marks.pop(key, None)
        held = self._held.pop(key, None)
        if held is None:
            return
        for tag in held.tags:
            keys = self._keys_by_tag[tag]
            keys.discard(key)
            if not keys:
                del self._keys_by_tag[tag]

    def end_tag(self, tag: str) -> None:
        """Forget all entries that carry a tag."""
        # What is being read may carry it as well.
        self._marks.clear()
        for key in tuple(self._keys_by_tag.get(tag, ())):
            self.drop(key)

    def clear(self) -> None:
        """Forget everything; what is being read is not kept either."""
        self._held.clear()
        self._keys_by_tag.clear()
        self._marks.clear()

    def trust(self, until_seconds: float) -> None:
        """Serve entries until a moment of the monotonic clock."""
        self._trusted_until_seconds = until_seconds

    def distrust(self) -> None:
        """Forget everything and serve nothing until `trust`."""
        self._trusted_until_seconds = _NEVER
        self.clear()

    def report(self) -> None:
        """Tell of the hits that were not told of yet."""
        hits, self._unreported_hits = self._unreported_hits, 0
        if hits and self._last is not None:
            self._report(hits, self._monotonic() - self._last.stored_seconds)
