"""Signing again without waiting for an expiry: transfers would pay twice by it, allowances charge once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.records.tables import payment_attempts
from tests.simulation.charges import landed_charges
from tests.simulation.defects import new_attempt_on_unknown
from tests.simulation.forms import Form
from tests.simulation.prepared import Prepared
from tests.simulation.world import StuckError, World, simulate

SEEDS = range(12)
HURRIED_HEIGHT = 1
"""By which the defect marks what it calls expired."""
CHARGES = Form("charges alone", kinds=("charge", "charge", "charges"))


class Hurried(World):
    """A world whose payments are signed anew as soon as a send was not answered."""

    async def play(self) -> None:
        """Let the story happen; what the records can make of it is not asked."""
        try:
            await super().play()
        except StuckError:
            # A payment whose earlier signature landed after all waits for somebody to look at the chain.
            await self.pass_time(lambda: False, 60.0)


async def charged(world: World) -> tuple[Counter[str], int]:
    """Return how often each payment landed, and how many signatures were given up early."""
    async with world.opened()._database.reading() as connection:
        ended = await connection.scalars(sa.select(payment_attempts.c.evidence))
        hurried = sum((evidence or {}).get("finalized_height") == HURRIED_HEIGHT for evidence in ended)
    return Counter(charge.payment_id for charge in landed_charges(world.localnet)), hurried


def test_a_charge_that_is_signed_again_early_lands_once(prepared: Prepared, directory: Path) -> None:
    """The same haste with transfers is a defect, which the harness finds."""
    hurried = landed = 0
    for seed in SEEDS:
        folder = directory / str(seed)
        prepared.copy_to(folder)

        def make(clock: ManualClock, folder: Path = folder, seed: int = seed) -> World:
            return Hurried(folder, prepared, seed=seed, clock=clock, form=CHARGES)

        with new_attempt_on_unknown():
            counts, early = simulate(make, charged)
        assert max(counts.values(), default=0) <= 1, f"seed {seed}: {counts.most_common(3)}"
        landed += len(counts)
        hurried += early
    assert landed > 0
    assert hurried > 0
