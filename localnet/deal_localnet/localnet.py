"""The embedded validator: one chain with its clock, behind JSON-RPC and PubSub in process."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from solders.account import Account
from solders.pubkey import Pubkey

from .bank import Bank
from .block_replies import BlockReplies
from .config import MAX_REQUEST_BODY_BYTES, LocalnetConfig
from .dispatch import answer
from .faucet import Faucet
from .genesis import (
    faucet_keypair,
    first_blocks,
    fund_faucet,
    genesis_hash,
    identity_keypair,
    new_seed,
    new_svm,
    next_block,
)
from .ledger import Ledger
from .pubsub import Broker
from .pubsub_session import SubscriptionSession
from .registry import Node
from .slots import Commitment

JSON_HEADERS: Final = {"content-type": "application/json; charset=utf-8"}
TEXT_HEADERS: Final = {"content-type": "text/plain; charset=utf-8"}
BODY_TOO_LARGE: Final = b"request body size exceeds allowed maximum"

HttpReply = tuple[int, dict[str, str], bytes]


class Localnet:
    """Runs a chain of its own in this process.

    Nothing happens in the constructor; `start` (or `async with`) brings the chain up and `close` ends it.
    """

    def __init__(self, config: LocalnetConfig | None = None) -> None:
        self.config = config or LocalnetConfig()
        self._node: Node | None = None
        self._ledger: Ledger | None = None
        self._broker: Broker | None = None
        self._clock: asyncio.Task[None] | None = None
        self._running = asyncio.Event()

    async def start(self) -> None:
        """Bring the chain up and start its slot clock."""
        if self._node is not None:
            raise RuntimeError("the localnet is already started")
        seed, bank = self._load() if self.config.ledger_directory is not None else self._begin(new_seed())
        faucet = Faucet(faucet_keypair(seed))
        bank.index([faucet.address])
        self._broker = Broker(bank)
        bank.observers.append(self._broker)
        self._node = Node(bank, faucet, str(identity_keypair(seed).pubkey()), BlockReplies())
        self._running.set()
        if self.config.auto_advance:
            self._clock = asyncio.create_task(self._tick(), name="localnet-slot-clock")

    def _begin(self, seed: bytes) -> tuple[bytes, Bank]:
        svm = new_svm(self.config.programs)
        fund_faucet(svm, seed, self.config.faucet_lamports)
        return seed, Bank(svm, self.config, first_blocks(seed, self.config), genesis_hash(seed))

    def _load(self) -> tuple[bytes, Bank]:
        self._ledger = ledger = Ledger(self.config.ledger_directory or Path())
        ledger.open(reset=self.config.reset_ledger)
        seed = ledger.seed()
        if seed is None:
            seed, bank = self._begin(new_seed())
            ledger.begin(seed, [bank.chain.block_at(Commitment.FINALIZED)])
        else:
            bank = self._resume(ledger, seed)
        bank.journal = ledger
        return seed, bank

    def _resume(self, ledger: Ledger, seed: bytes) -> Bank:
        svm = new_svm(self.config.programs)
        fund_faucet(svm, seed, self.config.faucet_lamports)
        accounts = list(ledger.accounts())
        for key, account in accounts:
            svm.set_account(key, account)
        blocks = ledger.blocks()
        bank = Bank(svm, self.config, [*blocks, next_block(blocks[-1], self.config)], genesis_hash(seed))
        bank.restore(blocks, accounts)
        return bank

    async def close(self) -> None:
        """Stop the clock; closing twice does no harm."""
        clock, self._clock = self._clock, None
        if clock is not None:
            clock.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await clock
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def node(self) -> Node:
        """Return the running chain with its faucet."""
        if self._node is None:
            raise RuntimeError("the localnet is not started")
        return self._node

    @property
    def bank(self) -> Bank:
        """Return the running chain."""
        return self.node.bank

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.config.slot_seconds
        while True:
            await asyncio.sleep(deadline - loop.time())
            await self._running.wait()
            self.bank.advance()
            # A host that was busy loses slots rather than getting a burst of them.
            deadline = max(deadline, loop.time() - self.config.slot_seconds) + self.config.slot_seconds

    async def handle(self, body: bytes) -> bytes | None:
        """Answer one JSON-RPC request or batch, as its HTTP body would be answered."""
        return (await self.handle_http(body))[2] or None

    async def handle_http(self, body: bytes) -> HttpReply:
        """Answer a POST with status, headers and body; a body over Agave's 50 KiB gets status 413."""
        if len(body) > MAX_REQUEST_BODY_BYTES:
            return 413, TEXT_HEADERS, BODY_TOO_LARGE
        reply = await answer(self.node, body)
        return 200, JSON_HEADERS, reply or b""

    def open_subscription_session(self, send: Callable[[str], None]) -> SubscriptionSession:
        """Open what a WebSocket connection would be: `send` gets replies and notifications as text."""
        if self._broker is None:
            raise RuntimeError("the localnet is not started")
        return SubscriptionSession(self.node, self._broker, send)

    def advance_slots(self, count: int = 1) -> int:
        """Close slots by hand and return the slot that is open then."""
        for _ in range(count):
            self.bank.advance()
        return self.bank.chain.open.slot

    def pause(self) -> None:
        """Hold the slot clock; transactions still land in the open slot."""
        self._running.clear()

    def resume(self) -> None:
        """Let the slot clock run again."""
        self._running.set()

    def rollback(self, to_slot: int) -> list[str]:
        """Drop the unfinalized slots above one and return the signatures that vanished with them."""
        return [record.signature for record in self.bank.rollback(to_slot)]

    def set_account(self, address: Pubkey, account: Account | None) -> None:
        """Overwrite an account in the open slot; None deletes it."""
        self.bank.set_account(address, account)
