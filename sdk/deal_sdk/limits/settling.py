"""How reservations end: which keys they lie under, in which order, and in how few commands.

Owns the settle script. Never decides whether a payment happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Literal

from deal_sdk.limits.decisions import Reservation, Settled
from deal_sdk.limits.ids import check_id, encode
from deal_sdk.limits.parts import Part, tags_elsewhere
from deal_sdk.limits.programs import settle_script
from deal_sdk.limits.rules import KeySpace
from deal_sdk.limits.store import Store

MAX_RESERVATIONS_PER_COMMAND: Final = 256

Verb = Literal["commit", "cancel"]
Turn = Literal["first", "last"]


class Settlement:
    """Ends reservations, those in several slots part by part."""

    def __init__(self, store: Store, keys: KeySpace) -> None:
        """Keep the parts; nothing is asked of the store yet."""
        self._store = store
        self._keys = keys

    async def settle(self, verb: Verb, reservations: Sequence[Reservation]) -> list[Settled]:
        """End many reservations, and say of each what became of it.

        The home of one in several slots is ended after its other parts: as long as it is there, a repeated
        call finds them.

        Raises:
            StoreUnavailableError: when the store failed; some may be ended.
        """
        for reservation in reservations:
            check_id("reservation_id", reservation.reservation_id)
            check_id("user_id", str(reservation.user_id))
        tags = [encode(str(reservation.user_id)) for reservation in reservations]
        ids = [reservation.reservation_id for reservation in reservations]
        replies = await self._end_all(verb, tags, ids, "first")
        for place, reply in enumerate(replies):
            if others := tags_elsewhere(reply):
                await self._end_all(verb, others, [ids[place]] * len(others), "last")
                (replies[place],) = await self._end_all(verb, [tags[place]], [ids[place]], "last")
        return [Settled(reply) for reply in replies]

    async def undo(self, parts: Sequence[Part], reservation_id: str) -> None:
        """Give back parts that were taken just now, the home last.

        Raises:
            StoreUnavailableError: when the store failed; what is left stays taken.
        """
        for part in reversed(parts):
            await self._end_all("cancel", [part.tag], [reservation_id], "last")

    async def _end_all(self, verb: Verb, tags: Sequence[str], ids: Sequence[str], turn: Turn) -> list[str]:
        keys = [self._keys.reservation_part(tag, name) for tag, name in zip(tags, ids, strict=True)]
        groups: dict[str, list[int]] = {}
        for place, tag in enumerate(tags):
            groups.setdefault(tag if self._store.has_slots else "", []).append(place)
        chunks = [
            places[start : start + MAX_RESERVATIONS_PER_COMMAND]
            for places in groups.values()
            for start in range(0, len(places), MAX_RESERVATIONS_PER_COMMAND)
        ]
        # Nobody is left to themselves when one chunk fails: all have ended before the error is raised.
        calls = [self._end(verb, [keys[place] for place in chunk], turn) for chunk in chunks]
        ended = await asyncio.gather(*calls, return_exceptions=True)
        replies = [""] * len(keys)
        for chunk, answers in zip(chunks, ended, strict=True):
            if isinstance(answers, BaseException):
                raise answers
            for place, answer in zip(chunk, answers, strict=True):
                replies[place] = answer
        return replies

    async def _end(self, verb: Verb, keys: Sequence[str], turn: Turn) -> list[str]:
        arguments = [verb, self._store.script_time(), turn]
        replies: list[bytes] = await self._store.run(settle_script(), keys, arguments)
        return [reply.decode() for reply in replies]
