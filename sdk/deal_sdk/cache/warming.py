"""Loads what is missing about many users, in batches, and tells how far it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args
from uuid import UUID

from deal_sdk.errors import InvalidInputError

logger = logging.getLogger(__name__)

UserFact: TypeAlias = Literal["profile", "credit_balance", "channel_subscription", "deal_balance"]
DEFAULT_FACTS: Final[tuple[UserFact, ...]] = ("profile", "credit_balance")
MAX_BATCH_SIZE: Final = 1_000
MAX_BATCHES_IN_FLIGHT: Final = 64

ReadMany: TypeAlias = Callable[[Sequence[Any]], Awaitable[Mapping[UUID, Any]]]
Batch: TypeAlias = tuple[UserFact, Sequence[UUID]]


@dataclass(frozen=True, slots=True)
class WarmProgress:
    """How far a warming is; a user counts once for each fact.

    Attributes:
        done: facts that were looked at.
        total: facts that were asked for.
        warm: facts that are cached now.
        absent: facts that do not exist, as of users that do not.
        failed: facts whose source failed.
    """

    done: int
    total: int
    warm: int
    absent: int
    failed: int


class Warming:
    """One warming of many users."""

    def __init__(
        self,
        readers: Mapping[UserFact, ReadMany],
        facts: Collection[UserFact],
        *,
        batch_size: int,
        max_in_flight: int,
    ) -> None:
        """Keep the parts.

        Args:
            readers: the batch read of each fact.
            facts: which of them are warmed.
            batch_size: users in one batch.
            max_in_flight: batches at once.

        Raises:
            InvalidInputError: for an unknown fact, or a bound out of range.
        """
        unknown = set(facts) - set(get_args(UserFact))
        if unknown or not facts or isinstance(facts, str):
            raise InvalidInputError(f"facts are some of {', '.join(get_args(UserFact))}")
        if not 1 <= batch_size <= MAX_BATCH_SIZE or not 1 <= max_in_flight <= MAX_BATCHES_IN_FLIGHT:
            raise InvalidInputError(
                f"batch_size must be 1 to {MAX_BATCH_SIZE}, max_in_flight 1 to {MAX_BATCHES_IN_FLIGHT}"
            )
        self._readers = readers
        self._facts = tuple(dict.fromkeys(facts))
        self._batch_size = batch_size
        self._max_in_flight = max_in_flight
        self._warm = self._absent = self._failed = 0

    async def run(self, user_ids: Sequence[UUID], progress: Callable[[WarmProgress], object]) -> WarmProgress:
        """Warm the users and return how it ended; cancelling it stops all batches."""
        users = list(dict.fromkeys(user_ids))
        total = len(users) * len(self._facts)
        batches = self._batches(users)

        async def work() -> None:
            for batch in batches:
                await self._warm_batch(batch)
                progress(self._progress(total))

        async with asyncio.TaskGroup() as group:
            for _ in range(self._max_in_flight):
                group.create_task(work())
        return self._progress(total)

    def _batches(self, users: Sequence[UUID]) -> Iterator[Batch]:
        for start in range(0, len(users), self._batch_size):
            for fact in self._facts:
                yield fact, users[start : start + self._batch_size]

    async def _warm_batch(self, batch: Batch) -> None:
        fact, users = batch
        try:
            found = await self._readers[fact](users)
        except Exception as error:
            # Whatever a source raises, the other users are still to be warmed.
            logger.warning("%s of %d users was not warmed: %s", fact, len(users), type(error).__name__)
            self._failed += len(users)
            return
        self._warm += len(found)
        self._absent += len(users) - len(found)

    def _progress(self, total: int) -> WarmProgress:
        done = self._warm + self._absent + self._failed
        return WarmProgress(done, total, self._warm, self._absent, self._failed)
