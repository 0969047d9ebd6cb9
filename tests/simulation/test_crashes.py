"""A process killed at every await of a payment is carried on by the next one, and the payment made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from deal_sdk.clock import ManualClock
from tests.simulation.forms import ALLOWED, ALONE, SHARED, TABLED, TOLD, Form
from tests.simulation.playing import Played, play
from tests.simulation.prepared import Prepared
from tests.simulation.story import Wish
from tests.simulation.world import World


@dataclass(frozen=True)
class Flow:
    """One thing that a caller wants, in a world of some form."""

    kind: str
    form: Form = ALONE
    parts: int = 2
    """How many tests share the moments."""
    opens: bool = False
    """Whether the process is also killed while it opens."""
    every: int = 2
    """Of the moments, every so many is one at which it is killed; --long takes them all."""


FLOWS = {
    "purchase": Flow("purchase", parts=6, opens=True, every=1),
    "refund": Flow("refund"),
    "delegated": Flow("delegated"),
    "batch": Flow("batch"),
    "own wallet": Flow("prepared"),
    "accrued fee": Flow("accrued"),
    "lookup table": Flow("airdrop", TABLED, every=4),
    "charge": Flow("charge", ALLOWED, parts=1, every=3),
    "charges together": Flow("charges", ALLOWED, every=4),
    "told by webhooks": Flow("transfer", TOLD),
    "one of two processes": Flow("transfer", SHARED),
}
CASES = [
    pytest.param(flow, part, id=f"{name}-{part}")
    for name, flow in FLOWS.items()
    for part in range(flow.parts)
]
HARMLESS = {"cursor", "close", "create_function", "fetchall", "fetchone"}
MIN_MOMENTS = 25


def one_wish(prepared: Prepared, kind: str) -> Wish:
    """Want one thing; a purchase takes a limit, a reservation, an attempt and a settlement."""
    return Wish(
        index=0,
        kind=kind,
        payer=prepared.users[0],
        payee=prepared.users[1],
        amount_base_units=123_456_788,
        at_seconds=0.0,
        wait_for="finalized",
        callers=1,
        gives_up_after_seconds=None,
        has_key=True,
    )


def play_one(prepared: Prepared, directory: Path, flow: Flow, kill_at: int | None) -> Played:
    """Play a single wish whose process dies at a passage."""

    def make(folder: Path, world: Prepared, seed: int, clock: ManualClock) -> World:
        return World(
            folder,
            world,
            seed=seed,
            clock=clock,
            planned=(),
            wishes=[one_wish(world, flow.kind)],
            kill_at=kill_at,
            form=flow.form,
        )

    return play(prepared, directory, 0, make)


def moments_of(played: Played, flow: Flow, *, is_thorough: bool) -> list[int]:
    """Return the passages at which a process is to be killed.

    Nothing lasting changes between what one passage ended and what the next begins, so that one kill
    stands for both; one that only moves what was read already equals its neighbour's. The opening, which
    all flows have in common, is left to the first one, which is killed at every moment; most of the others'
    are left to --long.
    """
    if is_thorough:
        return list(range(1, len(played.passages) + 1))
    moments, before = [], "before"
    for number, passage in enumerate(played.passages, 1):
        is_new = not passage.startswith("before") or before.startswith("before")
        if is_new and passage.split()[-1] not in HARMLESS and (flow.opens or number > played.opened_at):
            moments.append(number)
        before = passage
    return moments[:: flow.every]


@pytest.mark.parametrize(("flow", "part"), CASES)
def test_a_kill_at_every_await_changes_nothing(
    prepared: Prepared, directory: Path, flow: Flow, part: int, request: pytest.FixtureRequest
) -> None:
    undisturbed = play_one(prepared, directory, flow, None)
    assert not undisturbed.broken
    assert not undisturbed.deaths
    moments = moments_of(undisturbed, flow, is_thorough=request.config.getoption("--long"))
    assert len(moments) >= MIN_MOMENTS
    for kill_at in moments[part :: flow.parts]:
        played = play_one(prepared, directory, flow, kill_at)
        assert not played.broken, f"killed at passage {kill_at}, {played.deaths}: {played.broken}"
        assert len(played.deaths) == 1
