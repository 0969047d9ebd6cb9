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
from solders.pubkey import Pubkey

import deal_sdk.payments.admission
from deal_localnet import Localnet
from deal_sdk import Deal
from deal_sdk.chain.allowance import AllowanceState
from deal_sdk.client import GivenBackends
from deal_sdk.clock import ManualClock
from deal_sdk.errors import TokenError
from deal_sdk.payments import micro_fees, owner_signing
from deal_sdk.payments.allowances import sharing
from deal_sdk.payments.batches import distributor, driver
from tests.simulation import faults
from tests.simulation.charges import allowances_of
from tests.simulation.faults import Fault, Misfortune, draw_faults
from tests.simulation.forms import Form, form_of
from tests.simulation.life import Life, bury, start_for
from tests.simulation.network import Network, SimulatedTransport
from tests.simulation.prepared import (
    SETTINGS,
    SLOT_SECONDS,
    Prepared,
    database_url,
    localnet_config,
)
from tests.simulation.receiver import Receiver, SimulatedSender
from tests.simulation.rest import SimulationLoop, current_loop
from tests.simulation.storage import Files, SqliteConnections, StoreClient, open_store_client
from tests.simulation.story import KINDS, PAYMENTS, Wish, draw_wishes, pursue

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


class Process:
    """One process of the world: its life, its files, and the Deal that it opened."""

    def __init__(self, number: int, life: Life) -> None:
        self.number = number
        self.files = Files(life)
        self.deal: Deal | None = None
        self.main: asyncio.Task[None] | None = None
        self.client: StoreClient | None = None

    @property
    def life(self) -> Life:
        """Return the life that it has."""
        return self.files.life

    def opened(self) -> Deal:
        """Return its Deal."""
        assert self.deal is not None, "the process is not open"
        return self.deal

    @property
    def has_ended(self) -> bool:
        """Tell whether all that its callers wanted is said; what broke there is raised here."""
        if self.main is None or not self.main.done():
            return False
        if not self.main.cancelled() and (error := self.main.exception()) is not None:
            raise error
        return self.deal is not None


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
        form: Form | None = None,
    ) -> None:
        self.seed = seed
        self.directory = directory
        self.prepared = prepared
        self.form = form_of(seed) if form is None else form
        self.random = Random(seed)
        self.clock = clock
        kinds = self.form.kinds or KINDS
        self.wishes = draw_wishes(self.random, prepared, PAYMENTS, kinds) if wishes is None else list(wishes)
        self.planned = draw_faults(self.random) if planned is None else list(planned)
        self.kill_at = kill_at
        self.localnet = Localnet(localnet_config(clock, directory / "ledger"))
        self.misfortune = Misfortune(clock, self.planned)
        self.network = Network(self.localnet, clock, Random(seed + 1), self.misfortune)
        self.connections = SqliteConnections(self.misfortune)
        self.receiver = Receiver(clock, Random(seed + 3))
        self.store_server = fakeredis.FakeServer()
        self.allowances: dict[Pubkey, AllowanceState] = {}
        """As the run found them."""
        self.deaths: list[str] = []
        self.story_passages: list[str] = []
        self.opened_at = 0
        self.processes: list[Process] = []
        self._steps = 0
        self._ids = Random(seed + 2)

    def opened(self) -> Deal:
        """Return the first process's Deal."""
        return self.processes[0].opened()

    async def play(self) -> None:
        """Let the story happen under faults, then heal everything and let it come to rest."""
        if not self.processes:
            self.begin()
        first_life = self.processes[0].life
        if not await self.pass_time(self._is_told, MAX_STORY_SECONDS):
            raise StuckError(f"callers still wait: {[w.name for w in self.wishes if not w.is_settled]}")
        self.network.heal()
        self.receiver.heal()
        await self._come_to_rest()
        self.story_passages = first_life.passed.copy()
        for process in self.processes:
            await self.result_of(process.opened().reconcile, process)
            await self._come_to_rest()
        await self.pass_time(lambda: False, FINALITY_SECONDS)

    def begin(self) -> None:
        """Start the processes."""
        self.localnet.bank.journal = None
        self.allowances = allowances_of(self.localnet)
        for number in range(self.form.processes):
            self._begin(number, Life(ends_at=self.kill_at if number == 0 else None))

    async def pass_time(self, until: Callable[[], bool], limit_seconds: float) -> bool:
        """Let time pass until something holds, and return whether it came to hold in time."""
        loop = current_loop()
        end = self.clock.monotonic() + limit_seconds
        while True:
            await loop.rest()
            dead = [process for process in self.processes if process.life.is_over]
            if dead:
                for process in dead:
                    await self._bury_and_reopen(process)
                continue
            if until():
                return True
            if self.clock.monotonic() >= end:
                return False
            await self.clock.advance(STEP_SECONDS)
            self._tick()

    async def result_of(
        self, work: Callable[[], Coroutine[Any, Any, T]], process: Process | None = None
    ) -> T:
        """Let time pass until some work on a healed world is done, in a process, the first by default."""
        task = start_for(process or self.processes[0], work())
        assert await self.pass_time(task.done, MAX_SETTLING_SECONDS), "the work is not done in time"
        return task.result()

    async def close(self) -> None:
        """Close the processes in order."""
        for process in self.processes:
            await self.result_of(process.opened().close, process)

    async def abandon(self) -> None:
        """Kill what still runs, and let go of the chain."""
        for process in self.processes:
            process.life.end("the run is over")
        await bury(lambda task: True)
        for process in self.processes:
            process.files.drop()
        await self.localnet.close()

    def new_id(self) -> UUID:
        """Draw a payment's id from the seed."""
        return UUID(int=self._ids.getrandbits(128), version=4)

    async def _come_to_rest(self) -> None:
        if not await self.pass_time(self._is_settled, MAX_SETTLING_SECONDS):
            open_payments = [process.deal and process.deal._pipeline._progress for process in self.processes]
            raise StuckError(f"payments stay open: {open_payments}")

    def _tick(self) -> None:
        self._steps += 1
        if self._steps % STEPS_PER_SLOT == 0:
            self.localnet.advance_slots()
            self.network.slot_passed()
        if self.misfortune.of(faults.CRASH):
            victim = self.processes[0] if len(self.processes) == 1 else self.random.choice(self.processes)
            victim.life.end_within(self.random, MAX_PASSAGES_TO_DEATH)

    def _is_told(self) -> bool:
        return all(process.has_ended for process in self.processes)

    def _is_settled(self) -> bool:
        if not self._is_told() or self.network.tasks:
            return False
        return all(not process.opened()._pipeline._progress for process in self.processes)

    def _begin(self, number: int, life: Life) -> None:
        process = Process(number, life)
        self.processes[number : number + 1] = [process]
        process.main = start_for(process, self._live(process))

    async def _live(self, process: Process) -> None:
        process.client = StoreClient(self.store_server, process.life, self.misfortune)
        while process.deal is None:
            given = GivenBackends(
                transport=None if self.form.has_pool else SimulatedTransport(self.network, process.life),
                transports=[
                    SimulatedTransport(self.network, process.life, number)
                    for number in (range(faults.ENDPOINTS) if self.form.has_pool else ())
                ],
                store=open_store_client(process.client, self.clock),
                webhook_sender=SimulatedSender(self.receiver, process.life),
                random=Random(self.seed + 4),
            )
            try:
                process.deal = await Deal.open(
                    clock=self.clock,
                    given=given,
                    database_url=database_url(self.directory),
                    **{**SETTINGS, **self.form.settings},
                )
            except TokenError:
                await self.clock.sleep(REOPEN_PAUSE_SECONDS)
        if self.opened_at == 0:
            self.opened_at = process.life.passages
        lanes = self.form.processes
        wishes = [wish for wish in self.wishes if wish.callers > 1 or wish.index % lanes == process.number]
        await pursue(process.deal, self.clock, wishes, lanes=lanes)

    async def _bury_and_reopen(self, process: Process) -> None:
        self.deaths.append(process.life.last_words)
        loop = current_loop()
        await bury(lambda task: loop.owner_of(task) is process)
        process.files.drop()
        if process.client is not None:
            await process.client.aclose()
        self._begin(process.number, Life())


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
        for module in (deal_sdk.payments.admission, driver, distributor, micro_fees, owner_signing, sharing):
            stack.enter_context(mock.patch.object(module, "uuid4", world.new_id))
        runner = stack.enter_context(asyncio.Runner(loop_factory=lambda: SimulationLoop(clock)))
        return runner.run(run())
