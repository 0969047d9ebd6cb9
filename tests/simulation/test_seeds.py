"""Whatever a seed lets go wrong, everybody is paid once or is told honestly that they were not."""

from __future__ import annotations

from pathlib import Path

from tests.simulation.playing import play, replay_command
from tests.simulation.prepared import Prepared

MIN_PAYMENTS = 20
MIN_FAULTS = 5


def test_everybody_is_paid_once(prepared: Prepared, directory: Path, seed: int) -> None:
    played = play(prepared, directory, seed)
    assert not played.broken, played.report(replay_command("everybody_is_paid_once", seed))
    assert played.payments >= MIN_PAYMENTS
    assert played.faults >= MIN_FAULTS, f"seed {seed}: only {played.faults} faults struck"
