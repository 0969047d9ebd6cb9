"""Whether users are members of the operator's channel: asked of the caller, within bounds, and cached."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from deal_sdk.clock import Clock, wait_within

logger = logging.getLogger(__name__)

DEFAULT_MEMBERSHIP_TTL_SECONDS: Final = 600.0
ANSWER_TIMEOUT_SECONDS: Final = 10.0
MAX_QUESTIONS_AT_ONCE: Final = 16


class Member(NamedTuple):
    """Who is asked about."""

    user_id: UUID
    external_id: str | None


class ChannelMembership(Protocol):
    """Knows who has subscribed to the channel; the caller supplies it."""

    async def is_member(self, user_id: UUID, external_id: str | None) -> bool:
        """Return whether a user is a member now.

        An error, or no answer in 10 seconds, means that the user is not eligible now and is asked about
        again later.

        Args:
            user_id: the user.
            external_id: the user's id elsewhere, a chat's say.
        """
        ...


class AnswerCache(Protocol):
    """Keeps answers for a while; a cache that is down has none, and raises nothing."""

    async def get_many(self, keys: Sequence[str]) -> Mapping[str, Any]:
        """Return the answers that are kept, by key."""
        ...

    async def set_many(self, values: Mapping[str, Any], *, ttl_seconds: float | None = None) -> bool:
        """Keep answers, and return whether all are kept."""
        ...

    async def delete(self, *keys: str) -> bool:
        """Forget answers, and return whether they are gone."""
        ...


class Memberships:
    """Asks about many users at once, and about none twice within the lifetime of an answer."""

    def __init__(
        self,
        source: ChannelMembership | None,
        *,
        clock: Clock,
        cache: AnswerCache | None = None,
        ttl_seconds: float = DEFAULT_MEMBERSHIP_TTL_SECONDS,
    ) -> None:
        """Keep the parts.

        Args:
            source: who knows; without one there is never an answer.
            clock: bounds the wait for an answer.
            cache: keeps answers; without one each is asked for.
            ttl_seconds: how long an answer is kept.
        """
        self.source = source
        self._clock = clock
        self._cache = cache
        self._ttl_seconds = ttl_seconds

    async def answers(self, members: Sequence[Member]) -> dict[UUID, bool | None]:
        """Return for each user whether it is a member; None where that cannot be told now."""
        found: dict[UUID, bool | None] = dict.fromkeys((member.user_id for member in members), None)
        if self.source is None or not members:
            return found
        known = (
            {} if self._cache is None else await self._cache.get_many([_key(one.user_id) for one in members])
        )
        found |= {one.user_id: known[_key(one.user_id)] for one in members if _key(one.user_id) in known}
        asked = await self._ask_all([one for one in members if found[one.user_id] is None])
        fresh = {_key(user_id): answer for user_id, answer in asked.items() if answer is not None}
        if fresh and self._cache is not None:
            await self._cache.set_many(fresh, ttl_seconds=self._ttl_seconds)
        return found | asked

    async def forget(self, user_id: UUID) -> None:
        """Ask about a user again, whatever was answered before."""
        if self._cache is not None:
            await self._cache.delete(_key(user_id))

    async def _ask_all(self, members: Sequence[Member]) -> dict[UUID, bool | None]:
        found: dict[UUID, bool | None] = {}
        for start in range(0, len(members), MAX_QUESTIONS_AT_ONCE):
            part = members[start : start + MAX_QUESTIONS_AT_ONCE]
            answers = await asyncio.gather(*(self._ask(member) for member in part))
            found |= {member.user_id: answer for member, answer in zip(part, answers, strict=True)}
        return found

    async def _ask(self, member: Member) -> bool | None:
        assert self.source is not None
        question = asyncio.ensure_future(self._answer(self.source, member))
        try:
            if await wait_within(self._clock, question, ANSWER_TIMEOUT_SECONDS):
                return question.result()
        finally:
            question.cancel()
        logger.warning("no answer in %g s whether a user is in the channel", ANSWER_TIMEOUT_SECONDS)
        return None

    @staticmethod
    async def _answer(source: ChannelMembership, member: Member) -> bool | None:
        try:
            answer = await source.is_member(member.user_id, member.external_id)
        except Exception as error:
            logger.warning("it cannot be told whether a user is in the channel: %s", type(error).__name__)
            return None
        return answer if isinstance(answer, bool) else None


def _key(user_id: UUID) -> str:
    return f"channel:{user_id}"
