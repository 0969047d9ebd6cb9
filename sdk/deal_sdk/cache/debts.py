"""Removals that the store was not told, because it was down when they were due.

Owns them until it was told. An entry whose source changed while the store was away would otherwise be served
when the store comes back, as if nothing had happened.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

from deal_sdk.cache.entries import Entries
from deal_sdk.cache.link import StoreLink
from deal_sdk.clock import Clock
from deal_sdk.errors import StoreUnavailableError

logger = logging.getLogger(__name__)

MAX_DEBTS: Final = 100_000
RETRY_SECONDS: Final = 1.0


class Debts:
    """Remembers what is still to be removed, and removes it as soon as the store answers."""

    def __init__(self, entries: Entries, link: StoreLink, clock: Clock) -> None:
        """Keep the parts; nothing runs before something is owed."""
        self._entries = entries
        self._link = link
        self._clock = clock
        # The number tells a debt from a later one of the same name, which an earlier removal does not pay.
        self._numbers = itertools.count()
        self._keys: dict[str, tuple[int | None, int]] = {}
        self._tags: dict[str, int] = {}
        self._settling = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def __bool__(self) -> bool:
        """Say whether anything is owed."""
        return bool(self._keys or self._tags)

    def owe(self, versions: Mapping[str, int | None], tags: Iterable[str] = ()) -> None:
        """Remember entries and tags that are to be removed.

        Args:
            versions: for each key the version of its change, if any.
            tags: to be ended.
        """
        for key, version in versions.items():
            known, _ = self._keys.pop(key, (None, 0))
            self._keys[key] = (_newest(version, known), next(self._numbers))
        for tag in tags:
            self._tags[tag] = next(self._numbers)
        while len(self._keys) > MAX_DEBTS:
            # What is forgotten is served at most until its lifetime ends.
            del self._keys[next(iter(self._keys))]
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._retry())

    async def settle(self) -> None:
        """Remove what is owed; a reader does so before it trusts the store again.

        Raises:
            StoreUnavailableError: when the store is still down; everything stays owed.
        """
        async with self._settling:
            keys, tags = dict(self._keys), dict(self._tags)
            if not keys and not tags:
                return
            versions = {key: version for key, (version, _) in keys.items()}
            await self._link.through(lambda: self._remove(versions, tags))
            self._keys = {key: debt for key, debt in self._keys.items() if keys.get(key) != debt}
            self._tags = {tag: debt for tag, debt in self._tags.items() if tags.get(tag) != debt}

    async def close(self) -> None:
        """Try once more and stop; what is still owed is served at most until its lifetime ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with suppress(StoreUnavailableError):
            await self.settle()
        if self:
            logger.warning(
                "%d cached entries could not be removed from the store", len(self._keys) + len(self._tags)
            )

    async def _retry(self) -> None:
        while self:
            await self._clock.sleep(RETRY_SECONDS)
            with suppress(StoreUnavailableError):
                await self.settle()

    async def _remove(self, keys: Mapping[str, int | None], tags: Iterable[str]) -> None:
        await asyncio.gather(self._entries.drop(keys), *(self._entries.end_tag(tag) for tag in tags))


def _newest(left: int | None, right: int | None) -> int | None:
    return left if right is None else right if left is None else max(left, right)
