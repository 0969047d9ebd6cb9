"""A process killed at every await of a payment is carried on by the next one, and the payment made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from deal_sdk.clock import ManualClock
from tests.simulation.playing import Played, play
from tests.simulation.prepared import Prepared
from tests.simulation.story import Wish
from tests.simulation.world import World

PARTS = 8


def one_purchase(prepared: Prepared) -> Wish:
    """Want one payment that takes a limit, a reservation, an attempt and a settlement."""
    return Wish(
        index=0,
        kind="purchase",
        payer=prepared.users[0],
        payee=prepared.users[1],
        amount_base_units=123_456_789,
        at_seconds=0.0,
        wait_for="finalized",
        callers=1,
        gives_up_after_seconds=None,
        has_key=True,
    )


def play_one(prepared: Prepared, directory: Path, kill_at: int | None) -> Played:
    """Play a single payment whose process dies at a passage."""

    def make(folder: Path, world: Prepared, seed: int, clock: ManualClock) -> World:
        return World(
            folder,
            world,
            seed=seed,
            clock=clock,
            planned=(),
            wishes=[one_purchase(world)],
            kill_at=kill_at,
        )

    return play(prepared, directory, 0, make)


def is_harmless(passage: str) -> bool:
    """Tell whether a passage only moves what was read already, so that its kill equals its neighbour's."""
    return passage.split()[-1] in {"cursor", "close", "create_function", "fetchall", "fetchone"}


@pytest.mark.parametrize("part", range(PARTS))
def test_a_kill_at_every_await_changes_nothing(
    prepared: Prepared, directory: Path, part: int, request: pytest.FixtureRequest
) -> None:
    undisturbed = play_one(prepared, directory, None)
    assert not undisturbed.broken
    assert not undisturbed.deaths
    is_thorough = request.config.getoption("--long")
    moments = [
        number
        for number, passage in enumerate(undisturbed.passages, 1)
        if is_thorough or not is_harmless(passage)
    ]
    assert len(moments) > 100
    for kill_at in moments[part::PARTS]:
        played = play_one(prepared, directory, kill_at)
        assert not played.broken, f"killed at passage {kill_at}, {played.deaths}: {played.broken}"
        assert len(played.deaths) == 1
