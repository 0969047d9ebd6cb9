"""Many entries at once: looked up, leased, loaded and stored in one round trip each.

Owns the order of these steps. Who may load and what is stored is decided as for a single entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from deal_sdk.cache.entries import Entries, Grant, Write
from deal_sdk.cache.link import StoreLink
from deal_sdk.cache.loading import FIRST_POLL_SECONDS, OUTAGE, Found, Loader, Tokens
from deal_sdk.cache.sealing import Sealer
from deal_sdk.errors import StoreUnavailableError

LoadMany: TypeAlias = Callable[[Sequence[str]], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class BatchParts:
    """What a batch works with, of one cache."""

    entries: Entries
    link: StoreLink
    loader: Loader[bytes]
    sealer: Sealer
    accept: Callable[[str, bytes], Awaitable[Found[bytes] | None]]


@dataclass(slots=True)
class Batch:
    """The missing entries of one call.

    Attributes:
        parts: of the cache.
        load_many: reads the source; what it leaves out does not exist, and is not cached.
        tags: for each key the tags that its entry carries.
        ttl_seconds: the entries' lifetime.
        bodies: the JSON of each value that was found or loaded.
    """

    parts: BatchParts
    load_many: LoadMany
    tags: Mapping[str, Sequence[str]]
    ttl_seconds: float
    bodies: dict[str, bytes] = field(default_factory=dict)

    async def run(self, seen: Mapping[str, bytes | None]) -> None:
        """Load what is missing, or wait for those who load it already.

        Args:
            seen: for each missing key the useless value that was found; None for none.
        """
        pending, poll_seconds = dict(seen), FIRST_POLL_SECONDS
        while pending:
            grants, tokens = await self._ask(pending)
            mine = {key: grant for key, grant in grants.items() if grant.token or grant.holder == OUTAGE}
            others = {key: grant for key, grant in grants.items() if key not in mine}
            waiting = await self._waiting(others)
            too_old = {key: others[key] for key in waiting if self._is_too_old(others[key])}
            await self._load(mine | too_old, tokens)
            pending = {key: seen_now for key, seen_now in waiting.items() if key not in too_old}
            if any(others[key].holder for key in pending):
                oldest_seconds = max(others[key].age_seconds for key in pending)
                next_seconds = await self.parts.loader.next_poll(oldest_seconds, poll_seconds)
                poll_seconds = next_seconds or poll_seconds

    async def _ask(self, pending: Mapping[str, bytes | None]) -> tuple[dict[str, Grant], Tokens | None]:
        try:
            return await self.parts.link.through(lambda: self._ask_store(pending))
        except StoreUnavailableError:
            return dict.fromkeys(pending, Grant(holder=OUTAGE)), None

    async def _ask_store(self, pending: Mapping[str, bytes | None]) -> tuple[dict[str, Grant], Tokens]:
        # In one trip: a tag's token that is older than the lease can only make a miss, never a stale hit.
        tags = sorted({tag for key in pending for tag in self.tags.get(key, ())})
        grants, tokens = await asyncio.gather(
            asyncio.gather(*(self.parts.entries.lease(key, seen) for key, seen in pending.items())),
            self.parts.sealer.join(tags, self.ttl_seconds),
        )
        return dict(zip(pending, grants, strict=True)), tokens

    async def _waiting(self, others: Mapping[str, Grant]) -> dict[str, bytes | None]:
        waiting: dict[str, bytes | None] = {}
        for key, grant in others.items():
            found = None
            if grant.text is not None:
                found = await self.parts.accept(key, grant.text)
            if found is not None:
                self.bodies[key] = found.value
            else:
                waiting[key] = grant.text
        return waiting

    def _is_too_old(self, grant: Grant) -> bool:
        return bool(grant.holder) and grant.age_seconds >= self.parts.loader.wait_seconds

    async def _load(self, grants: Mapping[str, Grant], tokens: Tokens | None) -> None:
        if not grants:
            return
        writes: dict[str, Write | None] = {}
        try:
            values = await self.load_many(list(grants))
            for key in grants:
                if key in values:
                    own = None if tokens is None else {tag: tokens[tag] for tag in self.tags.get(key, ())}
                    loaded = self.parts.sealer.seal(values[key], self.ttl_seconds, own)
                    self.bodies[key], writes[key] = loaded.value, loaded.write
        except BaseException:
            writes = {}
            raise
        finally:
            await asyncio.gather(
                *(self.parts.loader.finish(key, grant, writes.get(key)) for key, grant in grants.items())
            )
