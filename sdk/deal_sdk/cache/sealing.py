"""What is stored of a value: its lifetime, its tags' tokens, and whether it is kept at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from deal_sdk.cache.entries import MAX_TTL_SECONDS, Entries, Write, milliseconds, version_text
from deal_sdk.cache.link import StoreLink
from deal_sdk.cache.loading import Loaded, Tokens
from deal_sdk.cache.policy import CachePolicy
from deal_sdk.cache.values import Envelope, encode_value
from deal_sdk.errors import InvalidInputError, StoreUnavailableError
from deal_sdk.limits.ids import check_id

logger = logging.getLogger(__name__)

MAX_TAGS: Final = 16
_MILLISECONDS: Final = 1000
_NULL: Final = b"null"


@dataclass(frozen=True, slots=True)
class Versioned:
    """What a source said, and its version: an older one never replaces a newer one."""

    value: Any
    version: int


class Sealer:
    """Makes entries of values, by the policy of one cache."""

    def __init__(
        self,
        entries: Entries,
        link: StoreLink,
        policy: CachePolicy,
        *,
        namespace: str,
        default_ttl_seconds: float,
        now_ms: Callable[[], int],
        random: Random,
    ) -> None:
        """Keep the parts.

        Args:
            entries: where tags are joined.
            link: the way there.
            policy: lifetimes and bounds.
            namespace: the cache's name, for the log.
            default_ttl_seconds: the lifetime where none is given.
            now_ms: tells the time that entries are stamped with.
            random: spreads lifetimes.

        Raises:
            InvalidInputError: for a lifetime out of range.
        """
        milliseconds(default_ttl_seconds)
        self._entries = entries
        self._link = link
        self._policy = policy
        self._namespace = namespace
        self._default_ttl_seconds = default_ttl_seconds
        self._now_ms = now_ms
        self._random = random

    def lifetime(self, ttl_seconds: float | None) -> float:
        """Return the lifetime that is meant.

        Raises:
            InvalidInputError: for one out of range.
        """
        seconds = self._default_ttl_seconds if ttl_seconds is None else ttl_seconds
        milliseconds(seconds)
        return seconds

    async def join(self, tags: Sequence[str], ttl_seconds: float) -> Tokens:
        """Return the tokens of tags, which then outlive an entry of that lifetime.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        keep_seconds = min(ttl_seconds + self._policy.stale_seconds, MAX_TTL_SECONDS)
        tokens = await asyncio.gather(*(self._entries.join_tag(tag, keep_seconds) for tag in tags))
        return dict(zip(tags, tokens, strict=True))

    async def try_join(self, tags: Sequence[str], ttl_seconds: float) -> Tokens | None:
        """Return the tokens of tags, or None when the store failed."""
        if not tags:
            return {}
        with suppress(StoreUnavailableError):
            return await self._link.through(lambda: self.join(tags, ttl_seconds))
        return None

    def seal(self, value: Any, ttl_seconds: float, tokens: Tokens | None) -> Loaded[bytes]:
        """Make an entry of what a source said.

        Args:
            value: JSON, or a `Versioned` one.
            ttl_seconds: its lifetime.
            tokens: of its tags from before the load; None when they are not known, so that nothing is kept.

        Raises:
            InvalidInputError: for a value that is no JSON, or a version out of range.
        """
        version = None
        if isinstance(value, Versioned):
            value, version = value.value, value.version
            version_text(version)
        body = encode_value(value)
        if tokens is None or not self.fits(body):
            return Loaded(body, None)
        return Loaded(body, self.write(body, ttl_seconds, tokens, version))

    def write(self, body: bytes, ttl_seconds: float, tokens: Tokens, version: int | None) -> Write:
        """Make an entry of a value's JSON."""
        negative_seconds = self._policy.negative_ttl_seconds
        if body == _NULL and negative_seconds is not None:
            ttl_seconds = min(ttl_seconds, negative_seconds)
        ttl_ms = milliseconds(ttl_seconds * (1 - self._random.random() * self._policy.ttl_spread))
        stale_ms = round(self._policy.stale_seconds * _MILLISECONDS)
        envelope = Envelope(self._now_ms(), ttl_ms, stale_ms, tokens, body, None)
        keep_seconds = min((ttl_ms + stale_ms) / _MILLISECONDS, MAX_TTL_SECONDS)
        return Write(envelope.to_text(), keep_seconds, version)

    def fits(self, body: bytes) -> bool:
        """Say whether a value is small enough to be kept, and log it when it is not."""
        limit_bytes = self._policy.max_value_bytes
        if len(body) > limit_bytes:
            logger.warning(
                "the cache %s does not keep a value of %d bytes; the most is %d",
                self._namespace,
                len(body),
                limit_bytes,
            )
        return len(body) <= limit_bytes


def check_tags(tags: Sequence[str]) -> None:
    """Accept the tags of an entry.

    Raises:
        InvalidInputError: for a single text, more than 16, or a tag that is no id.
    """
    if isinstance(tags, str) or len(tags) > MAX_TAGS:
        raise InvalidInputError(f"tags are a sequence of at most {MAX_TAGS}")
    for tag in tags:
        check_id("tag", tag)
