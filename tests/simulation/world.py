"""One run: a prepared world, a story, faults, deaths and reopenings, and time that moves only by hand.

Everything is on one thread and one event loop. Time advances when nothing else can happen, so that a run
follows from its seed alone; what varies between two runs of a seed is only the order in which Python walks
through sets of objects, on which no request and no commit depends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar
from unittest import mock
from uuid import UUID

import fakeredis

import deal_sdk.payments.admission
from deal_localnet import Localnet
from deal_sdk import Deal
from deal_sdk.client import GivenBackends
from deal_sdk.clock import ManualClock
from deal_sdk.errors import TokenError
from tests.simulation import faults
from tests.simulation.faults import Fault, Misfortune, draw_faults
from tests.simulation.life import Life, bury
from tests.simulation.network import Network, SimulatedTransport
from tests.simulation.prepared import (
    SETTINGS,
    SLOT_SECONDS,
    Prepared,
    database_url,
    localnet_config,
)
from tests.simulation.rest import SimulationLoop, current_loop
from tests.simulation.storage import SqliteConnections, StoreClient, open_store_client
from tests.simulation.story import PAYMENTS, Wish, draw_wishes, pursue

T = TypeVar("T")

STEP_SECONDS: Final = 0.1
STEPS_PER_SLOT: Final = round(SLOT_SECONDS / STEP_SECONDS)
MAX_STORY_SECONDS: Final = 600.0
MAX_SETTLING_SECONDS: Final = 600.0
MAX_PASSAGES_TO_DEATH: Final = 60
FINALITY_SECONDS: Final = 8.0
REOPEN_PAUSE_SECONDS: Final = 1.0


class StuckError(AssertionError):
    """The run did not come to its end in a time that is ample."""


class World:
    """A chain, a network, a store and a database's file, and the processes that come and go."""

    def __init__(
        self,
        directory: Path,
        prepared: Prepared,
        *,
        seed: int,
        clock: ManualClock,
        planned: Sequence[Fault] | None = None,
        wishes: Sequence[Wish] | None = None,
        kill_at: int | None = None,
    ) -> None:
        self.seed = seed
        self.directory = directory
        self.prepared = prepared
        self.random = Random(seed)
        self.clock = clock
        self.wishes = draw_wishes(self.random, prepared, PAYMENTS) if wishes is None else list(wishes)
        self.planned = draw_faults(self.random) if planned is None else list(planned)
        self.kill_at = kill_at
        self.localnet = Localnet(localnet_config(clock, directory / "ledger"))
        self.misfortune = Misfortune(clock, self.planned)
        self.network = Network(self.localnet, clock, Random(seed + 1), self.misfortune)
        self.connections = SqliteConnections(self.misfortune)
        self.store_server = fakeredis.FakeServer()
        self.deaths: list[str] = []
        self.story_passages: list[str] = []
        self.deal: Deal | None = None
        self._client: StoreClient | None = None
        self._main: asyncio.Task[None] | None = None
        self._own: set[asyncio.Task[Any]] = set()
        self._steps = 0
        self._ids = Random(seed + 2)

    @property
    def life(self) -> Life:
        """Return the life of the process that runs now."""
        return self.connections.life

    def opened(self) -> Deal:
        """Return the running process's Deal."""
        assert self.deal is not None, "the process is not open"
        return self.deal

    async def play(self) -> None:
        """Let the story happen under faults, then heal everything and let it come to rest."""
        first_life = self.life if self._main is not None else self.begin()
        if not await self.pass_time(self._is_told, MAX_STORY_SECONDS):
            raise StuckError(f"callers still wait: {[w.name for w in self.wishes if not w.is_settled]}")
        self.network.heal()
        if not await self.pass_time(self._is_settled, MAX_SETTLING_SECONDS):
            raise StuckError(f"payments stay open: {self.opened()._pipeline._progress}")
        self.story_passages = first_life.passed.copy()
        await self.result_of(lambda: self.opened().reconcile())
        if not await self.pass_time(self._is_settled, MAX_SETTLING_SECONDS):
            raise StuckError("payments that reconciling took up stay open")
        await self.pass_time(lambda: False, FINALITY_SECONDS)

    def begin(self) -> Life:
        """Start the first process and return its life."""
        self._own.add(self._current())
        self.localnet.bank.journal = None
        self._begin(Life(ends_at=self.kill_at))
        return self.life

    async def pass_time(self, until: Callable[[], bool], limit_seconds: float) -> bool:
        """Let time pass until something holds, and return whether it came to hold in time."""
        loop = current_loop()
        end = self.clock.monotonic() + limit_seconds
        while True:
            await loop.rest()
            if self.life.is_over:
                await self._bury_and_reopen()
                continue
            if until():
                return True
            if self.clock.monotonic() >= end:
                return False
            await self.clock.advance(STEP_SECONDS)
            self._tick()

    async def result_of(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Let time pass until some work on a healed world is done."""
        task = asyncio.create_task(work())
        assert await self.pass_time(task.done, MAX_SETTLING_SECONDS), "the work is not done in time"
        return task.result()

    async def close(self) -> None:
        """Close the process in order."""
        await self.result_of(self.opened().close)

    async def abandon(self) -> None:
        """Kill what still runs, and let go of the chain."""
        self.life.end("the run is over")
        await bury(())
        self.connections.drop()
        await self.localnet.close()

    def new_id(self) -> UUID:
        """Draw a payment's id from the seed."""
        return UUID(int=self._ids.getrandbits(128), version=4)

    @staticmethod
    def _current() -> asyncio.Task[Any]:
        task = asyncio.current_task()
        assert task is not None
        return task

    def _tick(self) -> None:
        self._steps += 1
        if self._steps % STEPS_PER_SLOT == 0:
            self.localnet.advance_slots()
            self.network.slot_passed()
        if self.misfortune.of(faults.CRASH):
            self.life.end_within(self.random, MAX_PASSAGES_TO_DEATH)

    def _is_told(self) -> bool:
        return self.deal is not None and self._main is not None and self._main.done()

    def _is_settled(self) -> bool:
        if self._main is not None and self._main.done() and self._main.exception() is not None:
            raise self._main.exception() or AssertionError
        return self._is_told() and not self.opened()._pipeline._progress and not self.network.tasks

    def _begin(self, life: Life) -> None:
        self.connections.life = life
        self.deal = None
        self._main = asyncio.create_task(self._process(life))

    async def _process(self, life: Life) -> None:
        self._client = StoreClient(self.store_server, life, self.misfortune)
        while self.deal is None:
            given = GivenBackends(
                transport=SimulatedTransport(self.network, life),
                store=open_store_client(self._client, self.clock),
            )
            try:
                self.deal = await Deal.open(
                    clock=self.clock, given=given, database_url=database_url(self.directory), **SETTINGS
                )
            except TokenError:
                await self.clock.sleep(REOPEN_PAUSE_SECONDS)
        await pursue(self.deal, self.clock, self.wishes)

    async def _bury_and_reopen(self) -> None:
        self.deaths.append(self.life.last_words)
        await bury(self._own | self.network.tasks)
        self.connections.drop()
        if self._client is not None:
            await self._client.aclose()
        self._begin(Life())


def simulate(
    world_of: Callable[[ManualClock], World],
    check: Callable[[World], Coroutine[Any, Any, T]],
    before: Callable[[World], Coroutine[Any, Any, None]] | None = None,
) -> T:
    """Play a world on a loop of its own and return what a check says of it.

    Args:
        world_of: makes the world.
        check: looks at it when it came to rest.
        before: begins it and looks at it while its faults last; then the story is played to its end.
    """
    clock = ManualClock()
    world = world_of(clock)

    async def run() -> T:
        await world.localnet.start()
        try:
            if before is not None:
                await before(world)
            await world.play()
            found = await check(world)
            await world.close()
            return found
        finally:
            await world.abandon()

    with ExitStack() as stack:
        stack.enter_context(world.connections.installed())
        stack.enter_context(mock.patch.object(deal_sdk.payments.admission, "uuid4", world.new_id))
        runner = stack.enter_context(asyncio.Runner(loop_factory=lambda: SimulationLoop(clock)))
        return runner.run(run())
