"""The world before each run: a chain with DEAL on it, and a database with users who hold some.

It is made once in a session and copied for each run; every key and id in it follows from its name.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest import mock
from uuid import UUID, uuid5

from pydantic import SecretStr
from solders.hash import Hash
from solders.keypair import Keypair

import deal_localnet.localnet
from deal_localnet import Localnet, LocalnetConfig
from deal_sdk import Deal
from deal_sdk.amounts import parse_amount
from deal_sdk.chain import Keystore, LocalnetTransport
from deal_sdk.chain.allowance import embedded_programs
from deal_sdk.client import GivenBackends
from deal_sdk.client.backends import INITIAL_SUPPLY_BASE_UNITS
from deal_sdk.clock import ManualClock, SystemClock
from deal_sdk.payments import RewardLine
from deal_sdk.records import Database
from deal_sdk.settings import TokenProgram
from tests.simulation.charges import CHARGED_USERS, open_allowances
from tests.simulation.faults import Misfortune
from tests.simulation.rest import SimulationLoop, current_loop
from tests.simulation.storage import SqliteConnections

SLOT_SECONDS: Final = 0.4
FINALITY_SLOTS: Final = 8
KDF_COST: Final = 2**4
PASSPHRASE: Final = "simulated"
CHAIN_SEED: Final = bytes(Hash.hash(b"the simulated chain"))
USER_COUNT: Final = 5
USER_TOKENS: Final = "20"
REWARD_TOKENS: Final = "1000"
DELEGATING_USER: Final = 4
CROWD: Final = 24
"""Strangers who have token accounts, so that a lookup table can hold them."""
CROWD_TOKENS: Final = "0.5"
BALANCES_BEFORE: Final = {
    "treasury": INITIAL_SUPPLY_BASE_UNITS
    - USER_COUNT * parse_amount(USER_TOKENS)
    - parse_amount(REWARD_TOKENS),
    "reward": parse_amount(REWARD_TOKENS) - CROWD * parse_amount(CROWD_TOKENS),
    **{f"wallet {index}": parse_amount(USER_TOKENS) for index in range(USER_COUNT)},
    **{f"crowd {index}": parse_amount(CROWD_TOKENS) for index in range(CROWD)},
}
"""What each named key's token account holds when a run begins, in base units."""
NAMESPACE: Final = UUID(int=0)
DATABASE_FILE: Final = "deal.db"
LEDGER_FOLDER: Final = "ledger"

SETTINGS: Final[dict[str, Any]] = {
    "keystore_passphrase": SecretStr(PASSPHRASE),
    "status_poll_interval_seconds": 0.5,
    "history_poll_interval_seconds": 2.0,
    "confirm_timeout_seconds": 15.0,
    "lease_seconds": 12.0,
    "webhook_delivery": False,
    "webhook_poll_interval_seconds": 10.0,
}
APPROVED_TOKENS: Final = "5"
WEBHOOK_URL: Final = "https://receiver.example/deal"
PROGRAMS: Final[tuple[TokenProgram, ...]] = ("classic", "token-2022")


def database_url(directory: Path) -> str:
    """Return the URL of a folder's database."""
    return f"sqlite+aiosqlite:///{directory / DATABASE_FILE}"


def keypair_of(name: str) -> Keypair:
    """Return the key that a name stands for."""
    return Keypair.from_seed(bytes(Hash.hash(name.encode())))


def crowd_address(index: int) -> str:
    """Return the wallet of one of the crowd."""
    return str(keypair_of(f"crowd {index}").pubkey())


def localnet_config(clock: ManualClock, ledger_directory: Path) -> LocalnetConfig:
    """Configure the chain: its slots pass by hand and its times are the clock's."""
    return LocalnetConfig(
        slot_seconds=SLOT_SECONDS,
        auto_advance=False,
        finality_slots=FINALITY_SLOTS,
        ledger_directory=ledger_directory,
        wall_clock=lambda: clock.now().timestamp(),
        programs=embedded_programs(),
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """A folder with the prepared chain and database, and who is in them."""

    directory: Path
    users: tuple[UUID, ...]
    seconds: float

    def copy_to(self, directory: Path, token_program: TokenProgram = "classic") -> None:
        """Copy the chain and the database of a mint's program into a run's own folder."""
        shutil.copytree(self.directory / token_program, directory, dirs_exist_ok=True)


def prepare(directory: Path) -> Prepared:
    """Make the world that every run begins with."""
    for program in PROGRAMS:
        folder = directory / program
        folder.mkdir()
        asyncio.run(_prepare_database(folder))
        clock = ManualClock()
        with asyncio.Runner(loop_factory=partial(SimulationLoop, clock)) as runner:
            runner.run(_prepare_chain(folder, clock, program))
    users = tuple(user_id(index) for index in range(USER_COUNT))
    return Prepared(directory, users, clock.monotonic())


def user_id(index: int) -> UUID:
    """Return the id of a user."""
    return uuid5(NAMESPACE, f"user {index}")


async def _prepare_database(directory: Path) -> None:
    # Migrations run an event loop of their own on a thread, which a simulation's loop has none of.
    database = await Database.open(database_url(directory), clock=SystemClock())
    keystore = Keystore(database, SecretStr(PASSPHRASE), clock=SystemClock(), kdf_cost=KDF_COST)
    for name in ("treasury", "reward", "mint"):
        await keystore.import_key(bytes(keypair_of(name)), name)
    await database.close()


@contextmanager
def ticking(localnet: Localnet, clock: ManualClock) -> Iterator[None]:
    """Let slots and time pass while nothing else is to be done."""

    async def tick() -> None:
        while True:
            await current_loop().rest()
            await clock.advance(SLOT_SECONDS)
            localnet.advance_slots()

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()


async def _prepare_chain(directory: Path, clock: ManualClock, program: TokenProgram) -> None:
    with mock.patch.object(deal_localnet.localnet, "new_seed", return_value=CHAIN_SEED):
        localnet = Localnet(localnet_config(clock, directory / LEDGER_FOLDER))
        await localnet.start()
    with SqliteConnections(Misfortune(clock, ())).installed(), ticking(localnet, clock):
        given = GivenBackends(transport=LocalnetTransport(localnet, clock=clock))
        async with Deal.open(
            clock=clock,
            given=given,
            create_mint=True,
            token_program=program,
            database_url=database_url(directory),
            **SETTINGS,
        ) as deal:
            for index in range(USER_COUNT):
                user = await deal.users.create(user_id=user_id(index), tier="Business")
                await deal.wallets.import_custodial(user.id, bytes(keypair_of(f"wallet {index}")))
                await deal.tokens.transfer("treasury", user.id, USER_TOKENS)
            await deal.tokens.transfer("treasury", "reward", REWARD_TOKENS)
            crowd = [RewardLine(crowd_address(index), CROWD_TOKENS, "crowd") for index in range(CROWD)]
            await deal.rewards.distribute_batch(crowd, batch_key="crowd")
            await deal.tokens.approve(user_id(DELEGATING_USER), "treasury", APPROVED_TOKENS)
            await open_allowances(deal, [user_id(index) for index in range(CHARGED_USERS)])
            await deal.webhooks.add(WEBHOOK_URL, secret="a secret of the simulation's")
            assert await deal.settled()
            await deal.reconcile()
            report = await deal.verify()
            assert report.ok, report
    localnet.advance_slots(FINALITY_SLOTS + 2)
    await localnet.close()
