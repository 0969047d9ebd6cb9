"""Plays one run from its seed and says what broke, with the command that plays it again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from deal_sdk.clock import ManualClock
from tests.simulation.prepared import Prepared
from tests.simulation.properties import broken_properties
from tests.simulation.world import World, simulate


@dataclass(slots=True)
class Played:
    """What a run came to."""

    seed: int
    broken: list[str]
    faults: int
    kinds: set[str]
    payments: int
    deaths: list[str]
    opened_at: int
    """After how many passages the first process was open."""
    passages: list[str] = field(repr=False)
    trace: list[tuple[float, str]] = field(repr=False)

    def report(self, command: str) -> str:
        """Say what broke and how to see it again."""
        return "\n".join([f"seed {self.seed}:", *self.broken, f"replay: {command}"])


def play(
    prepared: Prepared,
    directory: Path,
    seed: int,
    make: Callable[[Path, Prepared, int, ManualClock], World] | None = None,
) -> Played:
    """Play a run in a folder of its own, which is removed afterwards."""
    worlds: list[World] = []

    def make_world(clock: ManualClock) -> World:
        world = (
            World(directory, prepared, seed=seed, clock=clock)
            if make is None
            else make(directory, prepared, seed, clock)
        )
        prepared.copy_to(directory, world.form.token_program)
        worlds.append(world)
        return world

    try:
        broken = simulate(make_world, broken_properties)
    except AssertionError as error:
        # Whatever a run trips over is a finding, with the seed that shows it.
        broken = [f"{type(error).__name__}: {error}"]
    finally:
        shutil.rmtree(directory)
    world = worlds[0]
    return Played(
        seed=seed,
        broken=broken,
        faults=len(world.misfortune.struck),
        kinds=world.misfortune.kinds,
        payments=sum(wish.payments for wish in world.wishes),
        deaths=world.deaths,
        opened_at=world.opened_at,
        passages=world.story_passages,
        trace=world.network.trace,
    )


def replay_command(test: str, seed: int) -> str:
    """Return the command that plays a seed again."""
    return f"./scripts/test tests/simulation -k {test} --seed {seed}"
