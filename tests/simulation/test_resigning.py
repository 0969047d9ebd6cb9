"""Charges that are signed again after a moment, while the last transaction may still land, charge once."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.payments.attempt_ends import AttemptEnds
from deal_sdk.records.tables import payment_attempts
from tests.simulation.forms import Form
from tests.simulation.prepared import Prepared
from tests.simulation.properties import broken_properties
from tests.simulation.world import World, simulate

SEEDS = range(4)
HURRY_SECONDS = 0.8
CHARGES = Form("charges alone", kinds=("charge", "charge", "charges"))


async def what_is_left(world: World) -> tuple[list[str], int]:
    """Return what broke, and how many attempts were made after the first of their payments."""
    broken = await broken_properties(world)
    async with world.opened()._database.reading() as connection:
        later = sa.select(sa.func.count()).where(payment_attempts.c.number > 1)
        return broken, await connection.scalar(later) or 0


def test_a_hurry_charges_nobody_twice_and_loses_nobody(prepared: Prepared, directory: Path) -> None:
    """The same hurry with transfers is a defect, which the harness finds."""
    again = 0
    with mock.patch.dict(AttemptEnds.__init__.__kwdefaults__, early_seconds=HURRY_SECONDS):
        for seed in SEEDS:
            folder = directory / str(seed)
            prepared.copy_to(folder)

            def make(clock: ManualClock, folder: Path = folder, seed: int = seed) -> World:
                return World(folder, prepared, seed=seed, clock=clock, form=CHARGES)

            broken, later = simulate(make, what_is_left)
            assert broken == [], f"seed {seed}"
            again += later
    assert again >= len(SEEDS)
