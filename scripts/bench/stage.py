"""One chain with what a benchmark puts on it: stores for the engine, token accounts for the peers."""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from scripts.bench.chains import Chain, Endpoint
from scripts.bench.contestants import Contestant, cpu_seconds_of, python_module
from scripts.bench.measure import Round, Turn, say
from scripts.bench.peers.kit import kit_command
from scripts.bench.peers.token_world import TokenWorld, make_token_world
from tests.servers import PostgresServer, RedisServer

BARE: Final = "bare batches"
SOLANA_PY: Final = "solana-py"
KIT: Final = "@solana/kit"
LITESVM: Final = "bare LiteSVM"
ENGINE: Final = "engine"
STORES: Final = ("sqlite+memory", "sqlite+redis", "postgresql+memory", "postgresql+redis")
"""What the engine records in, and where it keeps its limits."""
_PEER_MODULES: Final = {
    BARE: "scripts.bench.peers.bare_batches",
    LITESVM: "scripts.bench.peers.bare_litesvm",
    SOLANA_PY: "scripts.bench.peers.solana_py",
}


@dataclass(slots=True)
class _Servers:
    directory: Path
    databases: int = 0


class Stage:
    """Starts contenders on one chain, and ends all of them with it."""

    def __init__(self, chain: Chain) -> None:
        """Keep the chain; entering starts it."""
        self._chain = chain
        self._stack = AsyncExitStack()
        self._world: TokenWorld | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Return where the chain answers."""
        return self._chain.endpoint

    async def __aenter__(self) -> Self:
        """Start the chain."""
        # Whatever fails while it starts, its directory goes.
        self._stack.callback(self._chain.remove)
        directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="deal-bench-"))
        self._servers = _Servers(Path(directory))
        try:
            self._chain.start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End everything that was started here."""
        await self._stack.aclose()

    async def start_engine(self, store: str, *, users: int, rpc_url: str | None = None) -> Contestant:
        """Start an engine on stores of its own, with funded users.

        Args:
            store: one of `STORES`.
            users: how many pay one another.
            rpc_url: where it finds the chain, if not directly.
        """
        module = "scripts.bench.payment_engine"
        return await self._start_deal(f"{ENGINE} {store}", module, store, users, rpc_url)

    async def start_payouts(self, store: str, *, recipients: int) -> Contestant:
        """Start an engine with a funded reward wallet and recipients whose token accounts exist."""
        module = "scripts.bench.payout_engine"
        return await self._start_deal(f"payouts {store}", module, store, recipients, None)

    async def _start_deal(
        self, name: str, module: str, store: str, users: int, rpc_url: str | None
    ) -> Contestant:
        database, _, limits = store.partition("+")
        return await self._start(
            Contestant(name, python_module(module)),
            rpc_url=rpc_url or self.endpoint.rpc_url,
            database_url=self._database_url(database),
            redis_url=self._redis_url(limits),
            users=users,
        )

    async def start_peer(self, name: str) -> Contestant:
        """Start a peer with the owners that all peers pay between.

        Raises:
            MissingServerError: when the machine lacks what the peer runs on.
        """
        command = kit_command() if name == KIT else python_module(_PEER_MODULES[name])
        if self._world is None:
            self._world = await make_token_world(self.endpoint.rpc_url)
        return await self._start(
            Contestant(name, command),
            rpc_url=self.endpoint.rpc_url,
            websocket_url=self.endpoint.websocket_url,
            world=self._world.to_dict(),
            slot_seconds=self.endpoint.slot_seconds,
        )

    def turn(self, contestant: Contestant, **arguments: Any) -> Turn:
        """Make a contender's turn out of its command, with the chain's own CPU time beside it."""

        async def take() -> Round:
            chain_before = cpu_seconds_of(self._chain.pid)
            found = Round.from_reply(await contestant.ask("run", **arguments))
            chain_milliseconds = (cpu_seconds_of(self._chain.pid) - chain_before) / found.payments * 1_000
            found = found.with_detail("chain_cpu_milliseconds_per_payment", chain_milliseconds)
            details = ", ".join(f"{name} {value:.4g}" for name, value in found.details.items())
            say(f"{contestant.name}: {found.rate:,.0f}/s, {found.cpu_milliseconds:.2f} ms CPU, {details}")
            return found

        return take

    async def _start(self, contestant: Contestant, **arguments: Any) -> Contestant:
        say(f"starting {contestant.name} on the {self.endpoint.name} chain")
        self._stack.push_async_callback(contestant.close)
        return await contestant.start(**arguments)

    def _database_url(self, database: str) -> str:
        self._servers.databases += 1
        if database == "sqlite":
            return f"sqlite:///{self._servers.directory / f'deal{self._servers.databases}.db'}"
        server = PostgresServer(in_memory=False)
        self._stack.callback(server.remove)
        server.start()
        return server.url(server.create_database())

    def _redis_url(self, limits: str) -> str:
        if limits == "memory":
            return "memory://"
        server = RedisServer()
        self._stack.callback(server.remove)
        server.start()
        return server.url
