"""While nobody can tell what became of a payment, nobody is told that anything did."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.records.tables import payment_attempts, token_transactions
from tests.simulation.faults import BLACKOUT, Fault
from tests.simulation.forms import ALONE
from tests.simulation.prepared import Prepared
from tests.simulation.properties import broken_properties
from tests.simulation.story import WISH_PREFIX, draw_wishes
from tests.simulation.world import World, simulate

BEGINS_SECONDS = 2.2
LOOK_AT_SECONDS = 150.0
ENDS_SECONDS = 200.0


@pytest.mark.parametrize("number", range(6))
def test_payments_stay_pending_while_the_chain_is_unreachable(
    prepared: Prepared, directory: Path, number: int
) -> None:
    """The blackout outlives every blockhash; what was sent may have landed and may not."""
    ends: dict[str, int] = {}

    def make(clock: ManualClock) -> World:
        dark = Fault(BLACKOUT, BEGINS_SECONDS, lasts_seconds=ENDS_SECONDS - BEGINS_SECONDS)
        wishes = draw_wishes(Random(number), prepared, 20)
        return World(directory, prepared, seed=number, clock=clock, planned=[dark], wishes=wishes, form=ALONE)

    async def look(world: World) -> None:
        world.begin()
        await world.pass_time(lambda: world.clock.monotonic() >= LOOK_AT_SECONDS, LOOK_AT_SECONDS)
        # Committed by now, an attempt is past its blockhash's life, and still nobody can know.
        async with world.opened()._database.reading() as connection:
            payments = (await connection.execute(sa.select(token_transactions))).mappings().all()
            attempts = (await connection.execute(sa.select(payment_attempts.c.payment_id))).scalars().all()
        rows = [
            row for row in payments if (row["idempotency_key"] or row["reason"] or "").startswith(WISH_PREFIX)
        ]
        assert rows
        assert {row["status"] for row in rows} <= {"pending", "confirmed"}
        assert len(set(attempts)) == len(attempts), "a second attempt without proof of the first one's end"
        answers = {told.answer for wish in world.wishes for told in wish.told}
        assert answers & {"pending", "unknown"}
        assert "not_paid" not in answers
        ends["looked"] = len(rows)

    prepared.copy_to(directory)
    assert simulate(make, broken_properties, look) == []
    assert ends["looked"] > 0
