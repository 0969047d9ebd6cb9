"""Entries in Redis, each with a lease against stale fills and, where wanted, a version.

Owns the keys and the scripts of one cache. A fill is stored only by the lease that was taken at the miss;
every write and removal takes that lease away. Knows nothing of what a value means.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from deal_sdk.errors import InvalidInputError, StoreUnavailableError
from deal_sdk.limits.ids import check_id, encode
from deal_sdk.limits.scripts import load_script
from deal_sdk.limits.store import Store

DEFAULT_PREFIX: Final = "deal:"
DEFAULT_LEASE_SECONDS: Final = 30.0
"""How long a load may take for its result to be stored."""
KEEP_VERSION_SECONDS: Final = 3_600
"""How long the newest version is remembered after the last write; no reading is that late."""
MAX_TTL_SECONDS: Final = 366 * 86_400.0
MAX_VERSION: Final = 2**64 - 1
MAX_KEYS_PER_COMMAND: Final = 256
SEEN_BYTES: Final = 256
"""How much of a value tells it from another one: its head says when it was stored."""
TAG_MARK: Final = "#"
_MILLISECONDS: Final = 1000
_WRONG_TYPE: Final = "WRONGTYPE"
_PACKAGE: Final = "deal_sdk.cache"


@dataclass(frozen=True, slots=True)
class Read:
    """What was found: the value, if any, and the token of the lease under way, or ''."""

    text: bytes | None
    lease: str


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to who wants to load: a lease, somebody else's, or a value that arrived meanwhile."""

    token: str = ""
    holder: str = ""
    age_seconds: float = 0.0
    """How long the holder has had the lease."""
    text: bytes | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """A value that is to be stored."""

    text: bytes
    keep_seconds: float
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """Whether a write was taken, and the value that holds now."""

    done: bool
    text: bytes | None


class Entries:
    """Reads, leases, writes and removes the entries under one prefix."""

    def __init__(
        self,
        store: Store,
        prefix: str,
        *,
        lease_seconds: float = DEFAULT_LEASE_SECONDS,
        tells_changes: bool = True,
    ) -> None:
        """Keep the parts; nothing is asked yet.

        Args:
            store: where entries live.
            prefix: begins every key, and names the channel on which changes are told.
            lease_seconds: how long a load may take for its result to be stored.
            tells_changes: publish them; nobody listens where no process keeps entries for itself.

        Raises:
            InvalidInputError: for a duration out of range.
        """
        self._store = store
        self._prefix = prefix
        self._lease_ms = milliseconds(lease_seconds)
        self.channel = f"{prefix}changes" if tells_changes else ""

    async def read(self, key: str) -> Read:
        """Return an entry's value; a key of another type reads as a value that nobody can use.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        try:
            text, lease = await self._store.command("HMGET", self._key(key), "v", "l")
        except StoreUnavailableError as error:
            if error.facts.get("answer") == _WRONG_TYPE:
                return Read(b"", "")
            raise
        return Read(text, lease.decode() if lease else "")

    async def read_many(self, keys: Sequence[str]) -> list[Read]:
        """Return the values of many entries in their order, a few hundred in each command.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        if len(keys) == 1:
            return [await self.read(keys[0])]
        if self._store.has_slots:
            return list(await asyncio.gather(*(self.read(key) for key in keys)))
        steps = range(0, len(keys), MAX_KEYS_PER_COMMAND)
        parts = [keys[start : start + MAX_KEYS_PER_COMMAND] for start in steps]
        return [read for part in await asyncio.gather(*map(self._read_part, parts)) for read in part]

    async def lease(self, key: str, seen: bytes | None, *, take: bool = False) -> Grant:
        """Ask to be the one who loads.

        Args:
            key: what is missing.
            seen: the value that was found and is of no use; None for none.
            take: take the lease from whoever has it, for a reading that must be newer than all others.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        mode = "take" if take else "wait"
        head = (seen or b"")[:SEEN_BYTES]
        reply = await self._run(key, "lease", uuid.uuid4().hex, self._lease_ms, head, mode)
        if reply[0] == b"value":
            return Grant(text=reply[1])
        if reply[0] == b"lease":
            return Grant(token=reply[1].decode())
        return Grant(holder=reply[1].decode(), age_seconds=int(reply[2]) / _MILLISECONDS)

    async def fill(self, key: str, token: str, write: Write) -> Written:
        """Store what was loaded under a lease, if it still holds.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        return await self._write("fill", key, token, write)

    async def put(self, key: str, write: Write) -> Written:
        """Store a value, unless a newer version was seen.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        return await self._write("put", key, "", write)

    async def release(self, key: str, token: str) -> None:
        """Give a lease back, so that the next one need not wait for its end.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        await self._run(key, "release", token)

    async def drop(self, versions: Mapping[str, int | None]) -> None:
        """Remove entries and their leases, a few hundred in each command where keys need not share a slot.

        Args:
            versions: for each key the version of its change, below which nothing is stored any more.

        Raises:
            StoreUnavailableError: when the store failed; some may be removed.
        """
        changes = list(versions.items())
        size = 1 if self._store.has_slots else MAX_KEYS_PER_COMMAND
        parts = [changes[start : start + size] for start in range(0, len(changes), size)]
        await asyncio.gather(*(self._drop(part) for part in parts))

    async def tag_token(self, tag: str) -> str:
        """Return a tag's token as it is now, or '' when it was invalidated since its last use.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        try:
            token: bytes | None = await self._store.command("GET", self._tag_key(tag))
        except StoreUnavailableError as error:
            if error.facts.get("answer") == _WRONG_TYPE:
                return ""
            raise
        return token.decode() if token else ""

    async def join_tag(self, tag: str, keep_seconds: float) -> str:
        """Return a tag's token for an entry that lives that long, which the tag outlives.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        # The load between this and the fill may take as long as a lease.
        keep_ms = milliseconds(keep_seconds) + 2 * self._lease_ms
        reply = await self._run_tag(tag, "join", uuid.uuid4().hex, keep_ms)
        return str(reply.decode())

    async def end_tag(self, tag: str) -> None:
        """Make a miss of every entry that carries a tag.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        await self._run_tag(tag, "end", "", self.channel, f"{TAG_MARK}{tag}")

    async def _read_part(self, keys: Sequence[str]) -> list[Read]:
        script = load_script("read", "read", package=_PACKAGE)
        found = iter(await self._store.run(script, [self._key(key) for key in keys], ()))
        return [Read(text, lease.decode() if lease else "") for text, lease in zip(found, found, strict=True)]

    async def _write(self, verb: Literal["fill", "put"], key: str, token: str, write: Write) -> Written:
        keep_seconds = write.keep_seconds
        if write.version is not None:
            keep_seconds = max(keep_seconds, KEEP_VERSION_SECONDS)
        done, text = await self._run(
            key,
            verb,
            token,
            write.text,
            version_text(write.version),
            milliseconds(keep_seconds),
            self.channel,
            key,
        )
        return Written(bool(done), text or None)

    async def _drop(self, changes: Sequence[tuple[str, int | None]]) -> None:
        arguments: list[str | int] = [milliseconds(KEEP_VERSION_SECONDS), self.channel]
        for key, version in changes:
            arguments += [version_text(version), key]
        script = load_script("drop", "versions", "drop", package=_PACKAGE)
        await self._store.run(script, [self._key(key) for key, _ in changes], arguments)

    async def _run(self, key: str, verb: str, *arguments: str | bytes | int) -> Any:
        script = load_script("entry", "versions", "entry", package=_PACKAGE)
        words = (verb, self._store.script_time(), *arguments)
        return await self._store.run(script, [self._key(key)], words)

    async def _run_tag(self, tag: str, verb: str, *arguments: str | int) -> Any:
        script = load_script("tag", "tag", package=_PACKAGE)
        return await self._store.run(script, [self._tag_key(tag)], (verb, *arguments))

    def _key(self, key: str) -> str:
        check_id("key", key)
        return f"{self._prefix}entry:{{{encode(key)}}}"

    def _tag_key(self, tag: str) -> str:
        check_id("tag", tag)
        return f"{self._prefix}tag:{{{encode(tag)}}}"


def milliseconds(seconds: float) -> int:
    """Turn a lifetime into milliseconds, rounded up: a TTL of 0 would remove the entry, or be refused.

    Raises:
        InvalidInputError: for one out of range.
    """
    if isinstance(seconds, bool) or not 0 < seconds <= MAX_TTL_SECONDS:
        raise InvalidInputError(f"a lifetime must be above 0 and at most {MAX_TTL_SECONDS:.0f} s")
    return math.ceil(seconds * _MILLISECONDS)


def version_text(version: int | None) -> str:
    """Write a version as scripts compare it; '' for none.

    Raises:
        InvalidInputError: for one that is no integer of 0 to 2**64-1.
    """
    if version is None:
        return ""
    if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version <= MAX_VERSION:
        raise InvalidInputError("a version must be an int of 0 to 2**64-1")
    return str(version)
