"""Health: whether the database, the chain and the limits store answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import sqlalchemy as sa

from deal_sdk.client.backends import Backends
from deal_sdk.clock import Clock, wait_within
from deal_sdk.errors import TokenError

ANSWER_SECONDS: Final = 3.0
NO_ANSWER: Final = "no_answer"
BROKEN: Final = "internal"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Whether one backend answered, how long it took, and otherwise the error's code."""

    ok: bool
    duration_seconds: float
    problem: str | None


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Every backend's check by name."""

    checks: dict[str, HealthCheck]

    @property
    def ok(self) -> bool:
        """Return whether all of them answered."""
        return all(check.ok for check in self.checks.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the report for a JSON document; it names codes and no URL, which may hold a secret."""
        checks = {name: asdict(check) for name, check in self.checks.items()}
        return {"status": "ok" if self.ok else "unavailable", "checks": checks}


class Health:
    """Asks each backend a question that costs it nothing."""

    def __init__(self, backends: Backends, clock: Clock) -> None:
        """Keep what to ask."""
        self._backends = backends
        self._clock = clock

    async def check(self) -> HealthReport:
        """Ask all at once and wait for each at most `ANSWER_SECONDS`; never raises."""
        questions: dict[str, Callable[[], Awaitable[object]]] = {
            "database": self._ask_database,
            "chain": self._backends.rpc.get_slot,
            "limits": self._backends.store.ping,
        }
        answers = await asyncio.gather(*(self._ask(question) for question in questions.values()))
        return HealthReport(dict(zip(questions, answers, strict=True)))

    async def _ask(self, question: Callable[[], Awaitable[object]]) -> HealthCheck:
        started_seconds = self._clock.monotonic()
        asking = asyncio.ensure_future(question())
        try:
            answered = await wait_within(self._clock, asking, ANSWER_SECONDS)
            problem = _problem_of(asking) if answered else NO_ANSWER
        finally:
            asking.cancel()
        return HealthCheck(problem is None, self._clock.monotonic() - started_seconds, problem)

    async def _ask_database(self) -> None:
        async with self._backends.database.reading() as connection:
            await connection.execute(sa.select(sa.literal(1)))


def _problem_of(asked: asyncio.Future[object]) -> str | None:
    error = asked.exception()
    if error is None:
        return None
    return error.code if isinstance(error, TokenError) else BROKEN
