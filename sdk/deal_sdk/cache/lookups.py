"""Looking entries up: what the store holds, judged by its age and by the tags that it carries.

Owns what is a hit, a stale value and a miss, and counts them. Loads nothing and writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from deal_sdk.cache.debts import Debts
from deal_sdk.cache.entries import Entries
from deal_sdk.cache.link import StoreLink
from deal_sdk.cache.loading import OUTAGE, state_of
from deal_sdk.cache.values import Envelope, parse_envelope
from deal_sdk.clock import Clock
from deal_sdk.errors import StoreUnavailableError
from deal_sdk.metrics import Metrics

MAX_HINTS: Final = 10_000
_MILLISECONDS: Final = 1000

Outcome = Literal["hit", "local", "stale", "miss", "error"]


@dataclass(frozen=True, slots=True)
class Hit:
    """A cached value, which may be None, and how old it is."""

    value: Any
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Lookup:
    """What was found under a key.

    Attributes:
        outcome: "hit" for a fresh value, "stale" for one past its lifetime that may still be served.
        envelope: the value of a hit or a stale one.
        age_ms: its age.
        seen: the text that was found, of whatever use.
        state: what is gone once the entry changes; `OUTAGE` when the store did not answer.
    """

    outcome: Outcome
    envelope: Envelope | None = None
    age_ms: int = 0
    seen: bytes | None = None
    state: str = ""

    @property
    def hit(self) -> Hit | None:
        """Return the value if it is fresh."""
        if self.outcome != "hit" or self.envelope is None:
            return None
        return Hit(self.envelope.value, self.age_ms / _MILLISECONDS)


_OUTAGE: Final = Lookup("error", state=OUTAGE)


class Lookups:
    """Looks up the entries of one cache."""

    def __init__(
        self, entries: Entries, link: StoreLink, debts: Debts, *, name: str, clock: Clock, metrics: Metrics
    ) -> None:
        """Keep the parts.

        Args:
            entries: the store's.
            link: the way there.
            debts: settled before anything is read.
            name: the metrics' label.
            clock: tells the age of entries.
            metrics: counts outcomes and measures ages.
        """
        self._entries = entries
        self._link = link
        self._debts = debts
        self._name = name
        self._clock = clock
        self._metrics = metrics
        self._hints: dict[str, tuple[str, ...]] = {}

    async def find_many(
        self, tags_by_key: Mapping[str, Sequence[str]], *, serves_stale: bool = False
    ) -> dict[str, Lookup]:
        """Look entries up, in one round trip if their tags are known; when the store fails, all are outages.

        Args:
            tags_by_key: for each key the tags that its entry is likely to carry.
            serves_stale: return values past their lifetime as well; else they are misses.
        """
        try:
            if self._debts:
                await self._debts.settle()
            found = await self._link.through(lambda: self._find_all(tags_by_key))
        except StoreUnavailableError:
            found = dict.fromkeys(tags_by_key, _OUTAGE)
        for key, lookup in found.items():
            if lookup.outcome == "stale" and not serves_stale:
                found[key] = Lookup("miss", seen=lookup.seen, state=lookup.state)
            self._measure(found[key])
        return found

    async def judge(self, text: bytes | None, key: str) -> Lookup:
        """Say what a text that is stored under a key is worth.

        Raises:
            StoreUnavailableError: when the store failed to tell its tags.
        """
        envelope, known = parse_envelope(text), dict[str, str]()
        await self._complete(known, [envelope])
        return self._weigh(key, text, envelope, known)

    def now_ms(self) -> int:
        """Return the present time as entries hold it."""
        return epoch_ms(self._clock.now())

    def count(self, outcome: Outcome, times: int = 1) -> None:
        """Count requests."""
        self._metrics.cache_requests.labels(cache=self._name, outcome=outcome).inc(times)

    def measure_age(self, age_seconds: float) -> None:
        """Measure how old a served value was."""
        self._metrics.cache_staleness_seconds.observe(age_seconds)

    def _measure(self, lookup: Lookup) -> None:
        self.count(lookup.outcome)
        if lookup.envelope is not None:
            self.measure_age(lookup.age_ms / _MILLISECONDS)

    async def _find_all(self, tags_by_key: Mapping[str, Sequence[str]]) -> dict[str, Lookup]:
        keys = list(tags_by_key)
        hinted = sorted({tag for key, tags in tags_by_key.items() for tag in self._hinted(key, tags)})
        known: dict[str, str] = {}
        if hinted:
            # Entries are asked for first: a tag that ends between the two makes a miss, never a hit.
            reads, known = await asyncio.gather(self._entries.read_many(keys), self._tokens(hinted))
        else:
            reads = await self._entries.read_many(keys)
        envelopes = [parse_envelope(read.text) for read in reads]
        await self._complete(known, envelopes)
        found: dict[str, Lookup] = {}
        for key, read, envelope in zip(keys, reads, envelopes, strict=True):
            state = state_of(read.lease, {tag: known[tag] for tag in tags_by_key[key]})
            found[key] = self._weigh(key, read.text, envelope, known, state)
        return found

    async def _complete(self, known: dict[str, str], envelopes: Sequence[Envelope | None]) -> None:
        unknown = {tag for envelope in envelopes if envelope for tag in envelope.tags if tag not in known}
        if unknown:
            known |= await self._tokens(sorted(unknown))

    def _weigh(
        self,
        key: str,
        text: bytes | None,
        envelope: Envelope | None,
        known: Mapping[str, str],
        state: str = "",
    ) -> Lookup:
        if envelope is not None and self._carries_living_tags(key, envelope, known):
            age_ms = envelope.age_ms(self.now_ms())
            if age_ms < envelope.ttl_ms:
                return Lookup("hit", envelope, age_ms, text, state)
            if age_ms < envelope.ttl_ms + envelope.stale_ms:
                return Lookup("stale", envelope, age_ms, text, state)
        return Lookup("miss", seen=text, state=state)

    def _carries_living_tags(self, key: str, envelope: Envelope, known: Mapping[str, str]) -> bool:
        if envelope.tags:
            self._remember_hint(key, tuple(envelope.tags))
        return all(token and known[tag] == token for tag, token in envelope.tags.items())

    async def _tokens(self, tags: Sequence[str]) -> dict[str, str]:
        tokens = await asyncio.gather(*(self._entries.tag_token(tag) for tag in tags))
        return dict(zip(tags, tokens, strict=True))

    def _hinted(self, key: str, tags: Sequence[str]) -> tuple[str, ...]:
        return tuple(tags) or self._hints.get(key, ())

    def _remember_hint(self, key: str, tags: tuple[str, ...]) -> None:
        if self._hints.get(key) != tags:
            if len(self._hints) >= MAX_HINTS:
                self._hints.clear()
            self._hints[key] = tags


def epoch_ms(moment: datetime) -> int:
    """Return a moment as milliseconds since 1970."""
    return int(moment.timestamp() * _MILLISECONDS)
