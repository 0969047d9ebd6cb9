"""The simulation itself: a seed plays the same again, faults strike, and a loop that hangs says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from deal_sdk.clock import ManualClock
from tests.simulation import faults
from tests.simulation.faults import Fault, Misfortune, draw_faults
from tests.simulation.forms import FORMS, POOLED, form_of
from tests.simulation.life import Life
from tests.simulation.playing import play, replay_command
from tests.simulation.prepared import Prepared
from tests.simulation.rest import SimulationLoop
from tests.simulation.world import World

REPOSITORY = Path(__file__).parents[2]
PLAY_A_SEED = """
import logging, sys
from pathlib import Path
from tests.simulation.playing import play
from tests.simulation.prepared import prepare
logging.disable(logging.CRITICAL)
folder = Path(sys.argv[1])
(folder / "prepared").mkdir(parents=True)
played = play(prepare(folder / "prepared"), folder / "run", int(sys.argv[2]))
print(played.trace, played.deaths, played.broken)
"""


def test_a_seed_plays_the_same_again(prepared: Prepared, directory: Path) -> None:
    first = play(prepared, directory, 7)
    second = play(prepared, directory, 7)
    other = play(prepared, directory, 8)
    assert first.trace == second.trace
    assert first.passages == second.passages
    assert first.trace != other.trace


def test_a_seed_plays_the_same_in_another_process(tmp_path: Path) -> None:
    told = []
    for hash_seed in ("1", "2"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": os.pathsep.join(
                map(str, (REPOSITORY / "sdk", REPOSITORY / "localnet", REPOSITORY))
            ),
        }
        command = [sys.executable, "-c", PLAY_A_SEED, str(tmp_path / hash_seed), "7"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        told.append(done.stdout)
    assert told[0] == told[1]


def test_faults_follow_from_the_seed() -> None:
    assert draw_faults(Random(3)) == draw_faults(Random(3))
    drawn = {fault.kind for seed in range(200) for fault in draw_faults(Random(seed))}
    assert drawn == faults.KINDS


def test_every_kind_of_fault_strikes(prepared: Prepared, directory: Path) -> None:
    def make(folder: Path, world: Prepared, seed: int, clock: ManualClock) -> World:
        # An endpoint that forgets can only be told from the others where there are others.
        return World(folder, world, seed=seed, clock=clock, form=POOLED)

    struck: set[str] = set()
    for seed in range(40):
        struck |= play(prepared, directory, seed, make).kinds
        if struck == faults.KINDS:
            return
    assert struck == faults.KINDS


def test_the_seeds_are_shared_among_every_form_of_a_world() -> None:
    played = {form_of(seed).name for seed in range(300)}
    assert played == {
        "alone",
        "two processes",
        "two endpoints",
        "Token-2022",
        "safety rails",
        "webhooks",
        "allowances",
    }
    assert len(FORMS) <= 10


def test_a_fault_strikes_its_method_as_often_as_it_may() -> None:
    clock = ManualClock()
    misfortune = Misfortune(clock, [Fault(faults.DROP, 0.0, strikes=2, method=faults.SEND)])
    assert misfortune.of_request({faults.STATUSES}) is None
    assert misfortune.of_request({faults.SEND}) is not None
    assert misfortune.of_request({faults.SEND}) is not None
    assert misfortune.of_request({faults.SEND}) is None
    assert misfortune.kinds == {faults.DROP}


def test_a_life_ends_at_its_passage_and_stays_over() -> None:
    life = Life(ends_at=2)
    assert life.passes("first")
    assert not life.passes("second")
    assert not life.passes("third")
    assert (life.last_words, life.passages) == ("second", 2)


def test_a_loop_that_waits_for_nothing_says_so() -> None:
    loop = SimulationLoop(ManualClock())
    try:
        with pytest.raises(AssertionError, match="never comes"):
            loop.run_until_complete(loop.create_future())
    finally:
        loop.close()


def test_a_failing_seed_names_its_replay(prepared: Prepared, directory: Path) -> None:
    played = play(prepared, directory, 7)
    played.broken.append("something")
    report = played.report(replay_command("everybody_is_paid_once", 7))
    assert "./scripts/test tests/simulation -k everybody_is_paid_once --seed 7" in report
