"""What goes wrong between a client and the chain: planned by hand or drawn from a seed, before it happens."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, Final

import orjson

SERVER_ERRORS: Final = (500, 502, 503, 504)
DEFAULT_SHARE: Final = 0.1
DEFAULT_DELAY_SECONDS: Final = 0.2
DEFAULT_LAG_SLOTS: Final = 4
DEFAULT_RETRY_AFTER_SECONDS: Final = 1.0


class FaultKind(StrEnum):
    """Names what can befall one request."""

    DELAY = "delay"
    """It arrives late."""
    DUPLICATE = "duplicate"
    """It arrives twice, as over a proxy that tries again; the second reply is handed out."""
    GARBAGE = "garbage"
    """It is carried out, and the reply is no usable JSON-RPC."""
    LAG = "lag"
    """A node that is some slots behind answers it."""
    LOSE_REPLY = "lose_reply"
    """It is carried out, and the connection ends before the reply."""
    LOSE_REQUEST = "lose_request"
    """The connection ends and nothing arrived."""
    LOSE_TRANSACTION = "lose_transaction"
    """What it sends is accepted and never lands; sent once more it may."""
    RATE_LIMIT = "rate_limit"
    """It is refused with HTTP 429 and Retry-After."""
    SERVER_ERROR = "server_error"
    """It is refused with one of HTTP 500, 502, 503 and 504."""


DRAWN_KINDS: Final = tuple(kind for kind in FaultKind if kind is not FaultKind.LAG)
"""What is drawn by default: a lag needs `max_lag_slots`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Plans one fault: on which requests, from which of them on, and how often."""

    kind: FaultKind
    methods: frozenset[str] = frozenset()
    """It strikes requests that call one of these; when empty, all."""
    skip: int = 0
    """How many such requests pass before it strikes."""
    times: int = 1
    seconds: float = DEFAULT_DELAY_SECONDS
    """How late a request arrives, or for a rate limit how long the client is told to wait."""
    slots: int = DEFAULT_LAG_SLOTS
    """How far behind a lagging node is."""

    def __post_init__(self) -> None:
        """Refuse what could never strike, or only by chance."""
        if self.skip < 0 or self.times < 1 or self.slots < 0 or not self.seconds >= 0:
            raise ValueError("a fault needs skip >= 0, times >= 1, slots >= 0 and seconds >= 0")


@dataclass(slots=True)
class _Waiting:
    fault: Fault
    seen: int = 0
    struck: int = 0

    def strikes(self, methods: Collection[str]) -> bool:
        wanted = self.fault.methods
        if wanted and wanted.isdisjoint(methods):
            return False
        self.seen += 1
        return self.seen > self.fault.skip and self.struck < self.fault.times


class FaultScript:
    """Hands each request the fault that befalls it; the same requests in the same order meet the same faults.

    Where several are due on one request the first of the plan strikes and the others wait for the next.
    """

    def __init__(self, planned: Iterable[Fault], *, seed: int = 0) -> None:
        """Keep the plan.

        Args:
            planned: the faults, the first to strike first.
            seed: chooses what a plan leaves open: which server error, which garbage.
        """
        self.planned: Final[Sequence[Fault]] = tuple(planned)
        self.random: Final = Random(seed)
        self.struck: list[Fault] = []
        """What struck so far, in order."""
        self._waiting = [_Waiting(fault) for fault in self.planned]

    @classmethod
    def drawn(
        cls,
        seed: int,
        *,
        requests: int,
        share: float = DEFAULT_SHARE,
        kinds: Sequence[FaultKind] = DRAWN_KINDS,
        methods: Collection[str] = (),
    ) -> "FaultScript":
        """Draw a plan from a seed.

        Args:
            seed: the same one draws the same plan.
            requests: over how many requests it stretches; after them everything goes well.
            share: how many of these are struck, 0 to 1.
            kinds: what may strike.
            methods: strikes requests that call one of these alone, and counts these alone.

        Raises:
            ValueError: for a share out of range, or no kind to draw from.
        """
        if not 0 <= share <= 1 or not kinds:
            raise ValueError("share must lie between 0 and 1, and there must be a kind to draw")
        random = Random(seed)
        named = frozenset(methods)
        positions = [position for position in range(requests) if random.random() < share]
        planned = [Fault(random.choice(list(kinds)), named, skip=position) for position in positions]
        return cls(planned, seed=seed)

    @property
    def is_over(self) -> bool:
        """Tell whether every planned fault has struck as often as it was to."""
        return not self._waiting

    def strike(self, methods: Collection[str]) -> Fault | None:
        """Return the fault that befalls a request, and count the request.

        Args:
            methods: what it calls; a batch may call several.
        """
        due = [waiting for waiting in self._waiting if waiting.strikes(methods)]
        if not due:
            return None
        chosen = due[0]
        chosen.struck += 1
        if chosen.struck == chosen.fault.times:
            self._waiting.remove(chosen)
        self.struck.append(chosen.fault)
        return chosen.fault

    def server_error(self) -> int:
        """Return the HTTP status of a server that fails."""
        return self.random.choice(SERVER_ERRORS)


def garbage(answers: Sequence[dict[str, Any]], random: Random) -> bytes:
    """Return what a broken node or proxy might write in place of some answers.

    Args:
        answers: at least one reply that would have been right.
        random: chooses among nothing, HTML, half of it, foreign ids, values of the wrong form, an answer
            twice, and null.
    """
    whole = orjson.dumps(answers)
    changed = [{**answer, "result": {"value": "?", "context": {}}} for answer in answers]
    return random.choice(
        (
            b"",
            b"<html>bad gateway</html>",
            whole[: len(whole) // 2],
            orjson.dumps([{**answer, "id": 10**9} for answer in answers]),
            orjson.dumps(changed if len(changed) > 1 else changed[0]),
            orjson.dumps([answers[0], answers[0]]),
            b"null",
        )
    )
