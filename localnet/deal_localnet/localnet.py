"""The embedded validator: one chain with its clock, behind JSON-RPC and PubSub in process."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from solders.account import Account
from solders.pubkey import Pubkey

from .bank import Bank
from .block_replies import BlockReplies
from .chain_time import ChainTime
from .config import LocalnetConfig
from .endpoint import Endpoint, HttpReply
from .engine import refused_programs
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
    put_accounts,
)
from .ledger import LEDGER_FILE, Ledger
from .pubsub import Broker
from .pubsub_session import SubscriptionSession
from .records import TransactionRecord
from .registry import Node
from .setup_errors import AccountFileError, LedgerError
from .slots import Commitment
from .snapshot_files import write_snapshot
from .snapshots import Snapshot
from .stored_chain import StoredChain, read_chain
from .wire import transaction_of_wire


class Localnet:
    """Runs a chain of its own in this process.

    Nothing happens in the constructor; `start` (or `async with`) brings the chain up and `close` ends it.
    """

    def __init__(self, config: LocalnetConfig | None = None) -> None:
        self.config = config or LocalnetConfig()
        self._time = ChainTime(self.config.wall_clock)
        # Blocks are stamped with a time that tests can send ahead.
        self._timed = replace(self.config, wall_clock=self._time.now)
        self._seed = b""
        self.is_resumed = False
        """Whether it went on with a chain that was kept."""
        self._node: Node | None = None
        self._ledger: Ledger | None = None
        self._broker: Broker | None = None
        self._clock: asyncio.Task[None] | None = None
        self._running = asyncio.Event()
        self._dropped: dict[str, TransactionRecord] = {}
        self.held_snapshots: dict[int, Snapshot] = {}
        """What clients asked to remember over the wire, by number."""
        self.endpoint = self.new_endpoint()
        """The door that `handle_http` and every server without one of its own use."""

    async def start(self) -> None:
        """Bring the chain up and start its slot clock.

        Raises:
            SetupError: when its ledger, its snapshot file, or an account or program that it begins with
                cannot be used.
        """
        if self._node is not None:
            raise RuntimeError("the localnet is already started")
        self._seed, bank = self._load()
        faucet = Faucet(faucet_keypair(self._seed))
        bank.index([faucet.address])
        self._broker = Broker(bank)
        bank.observers.append(self._broker)
        identity = str(identity_keypair(self._seed).pubkey())
        steered = self if self.config.test_methods else None
        self._node = Node(bank, faucet, identity, BlockReplies(), steered)
        self._running.set()
        if self.config.auto_advance:
            self._clock = asyncio.create_task(self._tick(), name="localnet-slot-clock")

    def _load(self) -> tuple[bytes, Bank]:
        if self.config.ledger_directory is not None:
            return self._load_ledger(self.config.ledger_directory)
        if self.config.snapshot_file is not None:
            stored = read_chain(self.config.snapshot_file)
            return stored.seed, self._resume(stored)
        return self._begin(new_seed())

    def _begin(self, seed: bytes) -> tuple[bytes, Bank]:
        svm = new_svm(self.config.programs, self.config.slots_per_epoch)
        fund_faucet(svm, seed, self.config.faucet_lamports)
        put_accounts(svm, self.config.accounts, AccountFileError)
        return seed, Bank(svm, self._timed, first_blocks(seed, self._timed), genesis_hash(seed))

    def _genesis_addresses(self, seed: bytes) -> list[Pubkey]:
        given = [address for address, _ in (*self.config.programs, *self.config.accounts)]
        return [faucet_keypair(seed).pubkey(), *given]

    def _load_ledger(self, directory: Path) -> tuple[bytes, Bank]:
        self._ledger = ledger = Ledger(directory / LEDGER_FILE)
        try:
            ledger.open(reset=self.config.reset_ledger)
            stored = ledger.stored_chain()
            if stored is not None:
                seed, bank = stored.seed, self._resume(stored)
            else:
                seed, bank = self._begin(new_seed())
                genesis = [(key, bank.accounts.current(key)) for key in self._genesis_addresses(seed)]
                ledger.begin(seed, bank.slots_per_epoch, [bank.chain.block_at(Commitment.FINALIZED)], genesis)
        except BaseException:
            self._ledger = None
            ledger.close()
            raise
        bank.journal = ledger
        return seed, bank

    def _resume(self, stored: StoredChain) -> Bank:
        """Go on with a chain that was kept; its own accounts stand above the configuration's."""
        self.is_resumed = True
        svm = new_svm(self.config.programs, stored.slots_per_epoch)
        fund_faucet(svm, stored.seed, self.config.faucet_lamports)
        put_accounts(svm, stored.accounts, LedgerError)
        last = stored.blocks[-1]
        self._time.not_before(last.time)
        self._timed = replace(self._timed, slots_per_epoch=stored.slots_per_epoch)
        blocks = [*stored.blocks, next_block(last, self._timed)]
        bank = Bank(svm, self._timed, blocks, genesis_hash(stored.seed))
        bank.restore(stored.blocks, stored.accounts)
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
        """Answer a POST as `endpoint` does, with status, headers and body."""
        return await self.endpoint.handle_http(body)

    def new_endpoint(self) -> Endpoint:
        """Return another door to the chain, with a lag and faults of its own."""
        return Endpoint(lambda: self.node, max_lag_slots=self.config.max_lag_slots)

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

    def warp_to_slot(self, slot: int) -> int:
        """Close the open slot and go on with a later one; the slots between stay skipped, without a block.

        Blockhashes live by blocks, so none expires by it, and time does not move.

        Args:
            slot: the slot that is open then, later than the open one.

        Raises:
            ValueError: for a slot that is over.
        """
        if slot <= self.bank.chain.open.slot:
            raise ValueError(f"slot {slot} does not lie ahead of slot {self.bank.chain.open.slot}")
        return self.bank.advance(slot).slot

    def warp_to_epoch(self, epoch: int) -> int:
        """Go on with the first slot of a later epoch, and return it; see `warp_to_slot`."""
        return self.warp_to_slot(epoch * self.bank.slots_per_epoch)

    def advance_time(self, seconds: float) -> int:
        """Send the chain's clock ahead and close the open slot, so that the next one shows the new time.

        Slots keep their length, and no more of them pass: blockhashes live on.

        Args:
            seconds: how far ahead, at least 0.

        Returns:
            The chain's time in seconds since 1970.
        """
        self._time.advance(seconds)
        return self.bank.advance().time

    @property
    def is_paused(self) -> bool:
        """Tell whether the slot clock is held."""
        return not self._running.is_set()

    def pause(self) -> None:
        """Hold the slot clock; transactions still land in the open slot."""
        self._running.clear()

    def resume(self) -> None:
        """Let the slot clock run again."""
        self._running.set()

    def rollback(self, to_slot: int) -> list[str]:
        """Drop the unfinalized slots above one and return the signatures that vanished with them.

        `land_again` brings them back; whoever sent them may also send them again, until they expire.

        Raises:
            ValueError: for a slot below the finalized one.
        """
        records = self.bank.rollback(to_slot)
        self.node.block_replies.clear()
        self._dropped |= {record.signature: record for record in records}
        return [record.signature for record in records]

    def land_again(self, signatures: Iterable[str] | None = None) -> list[str]:
        """Land transactions in the open slot that a rollback dropped, as a fork that wins takes them over.

        Args:
            signatures: which of them, in this order; all by default, in the order in which they had landed.

        Returns:
            Those that landed. One whose blockhash vanished with its slot or expired stays out for good, and
            so does one that landed meanwhile.

        Raises:
            ValueError: for a signature that no rollback dropped.
        """
        wanted = list(self._dropped) if signatures is None else list(signatures)
        unknown = [signature for signature in wanted if signature not in self._dropped]
        if unknown:
            raise ValueError(f"no rollback dropped {unknown[0]}")
        records = [self._dropped.pop(signature) for signature in wanted]
        return [record.signature for record in records if self._land(record)]

    def _land(self, record: TransactionRecord) -> bool:
        transaction = transaction_of_wire(record.wire, self.bank.lookup_table)
        return self.bank.process(transaction) is not None

    def snapshot(self) -> Snapshot:
        """Remember the chain as it is now, for `restore`; it costs no copy of the accounts."""
        return Snapshot(self.bank, self._time)

    def restore(self, snapshot: Snapshot) -> None:
        """Make the chain what it was: accounts, history, slots and time; a snapshot can be used again.

        Subscribers are told nothing: to them the slots start again from an older one.

        Raises:
            ValueError: when it is one of another chain.
        """
        if not snapshot.is_of(self.bank):
            raise ValueError("the snapshot is one of another chain")
        snapshot.put_back()
        self.node.block_replies.clear()
        self._dropped.clear()

    def save_snapshot(self, path: Path) -> None:
        """Close the open slot and write the whole chain to a file, which replaces one that is there.

        A chain goes on from it by `LocalnetConfig(snapshot_file=path)`: with the same genesis hash, keys,
        history and time, and with everything in it final.

        Raises:
            LedgerError: when the file cannot be written.
        """
        self.bank.advance()
        write_snapshot(path, self._seed, self.bank)

    def set_account(self, address: Pubkey, account: Account | None) -> None:
        """Overwrite an account in the open slot; None deletes it.

        Raises:
            UnloadableProgramError: (a ValueError) for a program that cannot be loaded; the account is as
                it was.
        """
        with refused_programs(address):
            self.bank.set_account(address, account)
