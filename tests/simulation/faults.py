"""What can go wrong in a run, and when: drawn from a seed, before anything happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from random import Random
from typing import Final

from deal_sdk.clock import Clock

# Of one request.
LOSE_REQUEST: Final = "lose_request"
LOSE_REPLY: Final = "lose_reply"
DELAY: Final = "delay"
LATE: Final = "late"
DUPLICATE: Final = "duplicate"
REORDER: Final = "reorder"
SHUFFLE: Final = "shuffle"
RATE_LIMIT: Final = "rate_limit"
UNAVAILABLE: Final = "unavailable"
GARBAGE: Final = "garbage"
NULL_STATUS: Final = "null_status"
FAIL: Final = "fail"
DROP: Final = "drop"
# For a while.
LAG: Final = "lag"
OUTAGE: Final = "outage"
FORGET: Final = "forget"
BLACKOUT: Final = "blackout"
# Of one transaction, through its whole life.
CENSOR: Final = "censor"
# Of the chain, the database, the store and the process.
FORK: Final = "fork"
COMMIT_LOST: Final = "commit_lost"
DISK_REFUSES: Final = "disk_refuses"
SLOW_DISK: Final = "slow_disk"
STORE_DOWN: Final = "store_down"
STORE_REPLY_LOST: Final = "store_reply_lost"
CRASH: Final = "crash"

SEND: Final = "sendTransaction"
STATUSES: Final = "getSignatureStatuses"
ANY: Final = ""

_WEIGHTS: Final = {
    LOSE_REQUEST: 3,
    LOSE_REPLY: 5,
    DELAY: 2,
    LATE: 4,
    DUPLICATE: 3,
    REORDER: 3,
    SHUFFLE: 1,
    RATE_LIMIT: 2,
    UNAVAILABLE: 3,
    GARBAGE: 4,
    NULL_STATUS: 3,
    FAIL: 4,
    DROP: 3,
    LAG: 4,
    OUTAGE: 2,
    BLACKOUT: 1,
    FORGET: 2,
    CENSOR: 3,
    FORK: 3,
    COMMIT_LOST: 1,
    DISK_REFUSES: 1,
    SLOW_DISK: 2,
    STORE_DOWN: 1,
    STORE_REPLY_LOST: 1,
    CRASH: 5,
}
KINDS: Final = frozenset(_WEIGHTS)
_ONLY_FOR: Final = {NULL_STATUS: STATUSES, FORGET: STATUSES, FAIL: SEND, DROP: SEND, CENSOR: SEND}
_FOR_A_WHILE: Final = {LAG, OUTAGE, FORGET, BLACKOUT, SLOW_DISK}
_OF_NO_REQUEST: Final = {FORK, COMMIT_LOST, DISK_REFUSES, SLOW_DISK, STORE_DOWN, STORE_REPLY_LOST, CRASH}
LIMIT_DISTURBING: Final = {COMMIT_LOST, DISK_REFUSES, STORE_DOWN, STORE_REPLY_LOST, CRASH}
"""After these a limit may stay used by a payment that was never recorded; it is never given back unproven."""

ENDPOINTS: Final = 2
FORGETFUL: Final = 1
"""Only ever this endpoint: when all of them forget, nobody can tell."""
MIN_FAULTS: Final = 9
MAX_FAULTS: Final = 16
FAULTY_SECONDS: Final = 10.0


@dataclass(slots=True)
class Fault:
    """One fault: from when it waits for its chance, how often it strikes, and on which method."""

    kind: str
    at_seconds: float
    strikes: int = 1
    lasts_seconds: float = 0.0
    method: str = ANY
    depth: int = 0
    endpoint: int = 0
    """Which endpoint it strikes where there are several; where there is one, that one."""
    has_struck: bool = False

    def applies_to(self, methods: set[str], now_seconds: float) -> bool:
        """Tell whether it strikes a request that is made now."""
        if now_seconds < self.at_seconds or (self.method and self.method not in methods):
            return False
        if self.kind in _FOR_A_WHILE:
            return now_seconds < self.at_seconds + self.lasts_seconds
        return self.strikes > 0


class Misfortune:
    """Hands a run's faults to those whom they strike."""

    def __init__(self, clock: Clock, planned: Sequence[Fault]) -> None:
        self._clock = clock
        self._waiting = list(planned)
        self.struck: list[Fault] = []

    @property
    def kinds(self) -> set[str]:
        """Return what has struck so far."""
        return {fault.kind for fault in self.struck}

    def heal(self) -> None:
        """End every fault."""
        self._waiting.clear()

    def of_request(self, methods: set[str], endpoint: int | None = None) -> Fault | None:
        """Return the fault that strikes a request now.

        Args:
            methods: what is asked.
            endpoint: of whom, where there are several.
        """

        def is_meant(fault: Fault) -> bool:
            if fault.kind in _OF_NO_REQUEST:
                return False
            # A node that lost its ledger can only be found out by another.
            return fault.kind != FORGET if endpoint is None else fault.endpoint == endpoint

        return self._take(is_meant, methods)

    def of(self, *kinds: str, methods: AbstractSet[str] = frozenset()) -> Fault | None:
        """Return the fault of some kinds that strikes now."""
        return self._take(lambda fault: fault.kind in kinds, set(methods))

    def _take(self, is_meant: Callable[[Fault], bool], methods: set[str]) -> Fault | None:
        now = self._clock.monotonic()
        for fault in self._waiting:
            if is_meant(fault) and fault.applies_to(methods, now):
                fault.strikes -= 1
                if not fault.has_struck:
                    fault.has_struck = True
                    self.struck.append(fault)
                return fault
        return None


def draw_faults(random: Random) -> list[Fault]:
    """Draw a run's faults in the order of their times."""
    kinds = random.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=random.randint(MIN_FAULTS, MAX_FAULTS))
    return sorted((_draw(random, kind) for kind in kinds), key=lambda fault: fault.at_seconds)


def _draw(random: Random, kind: str) -> Fault:
    method = _ONLY_FOR.get(kind) or random.choice((ANY, ANY, SEND, STATUSES))
    if kind in _FOR_A_WHILE or kind in _OF_NO_REQUEST:
        # A process dies at any moment, or about when it sends.
        method = random.choice((ANY, SEND, SEND)) if kind == CRASH else ANY
    return Fault(
        kind=kind,
        at_seconds=round(random.uniform(0.0, FAULTY_SECONDS), 1),
        strikes=1 if kind in (CENSOR, CRASH, FORK) else random.randint(1, 4),
        lasts_seconds=round(random.uniform(20.0, 110.0) if kind == BLACKOUT else random.uniform(1.0, 9.0), 1),
        method=method,
        depth=random.choice((1, 1, 1, random.randint(2, 6))) if kind == FORK else random.randint(1, 6),
        endpoint=FORGETFUL if kind == FORGET else random.randrange(ENDPOINTS),
    )
