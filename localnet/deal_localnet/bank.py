"""The bank: takes transactions into the open slot, closes slots and rolls them back.

Blockhashes and duplicates are judged here, by block height, because LiteSVM knows only its latest blockhash.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from solders.account import Account
from solders.clock import Clock
from solders.hash import Hash
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from .accounts import AccountStore
from .addresses import (
    GENESIS_ADDRESSES,
    LOOKUP_TABLE_PROGRAM,
    SYSVAR_CLOCK,
    SYSVAR_RECENT_BLOCKHASHES,
    SYSVAR_SLOT_HASHES,
)
from .config import LocalnetConfig
from .execution import Executor
from .fees import LAMPORTS_PER_SIGNATURE
from .genesis import next_block
from .history import History
from .live_accounts import AccountState, LiveAccounts, empty_account
from .nonces import NonceUse, lives_by_nonce, moves_nonces, next_nonce, nonce_use
from .records import Execution, TransactionRecord, WireTransaction, writable_indexes
from .slots import MAX_SLOT_HASHES, Block, Chain, Commitment
from .timeless import is_timeless

MAX_RECENT_BLOCKHASHES: Final = 150
SLOT_SYSVARS: Final = frozenset({SYSVAR_CLOCK, SYSVAR_SLOT_HASHES})


class Observer(Protocol):
    """Hears of everything that subscribers may want to know."""

    def transaction_landed(self, record: TransactionRecord) -> None:
        """Hear of a transaction in the open slot."""

    def slot_opened(self, block: Block) -> None:
        """Hear of a new open slot."""

    def block_reached(self, block: Block, commitment: Commitment) -> None:
        """Hear of a block that became confirmed or final."""


class Journal(Protocol):
    """Keeps what must outlive the process."""

    def block_closed(self, block: Block, accounts: Sequence[tuple[Pubkey, Account | None]]) -> None:
        """Keep a closed block and the accounts that it changed."""

    def rolled_back(self, slot: int, accounts: Sequence[tuple[Pubkey, Account | None]]) -> None:
        """Forget the blocks above a slot and put the accounts back."""


class Bank:
    """Owns the state of the chain; everything here happens at once and never awaits."""

    def __init__(self, svm: LiteSVM, config: LocalnetConfig, blocks: list[Block], genesis_hash: Hash) -> None:
        self.svm = svm
        self.genesis_hash = genesis_hash
        self._live = LiveAccounts(svm)
        self.accounts = AccountStore(self._live)
        self.history = History()
        self.observers: list[Observer] = []
        self.journal: Journal | None = None
        self.slots_per_epoch = config.slots_per_epoch
        self.drops_transactions = False
        self.chain = Chain(
            blocks,
            confirm_slots=config.confirm_slots,
            finality_slots=config.finality_slots,
            lifetime=config.blockhash_lifetime_blocks,
        )
        self._config = config
        self._executor = Executor(svm, self._live, self.accounts)
        self.slot_hashes = [(b.slot, b.blockhash) for b in self.chain.last_blocks(MAX_SLOT_HASHES + 1)[1:]]
        self._stale_sysvars = True
        self.index([*GENESIS_ADDRESSES, *(address for address, _ in (*config.programs, *config.accounts))])

    def index(self, keys: Iterable[Pubkey]) -> None:
        """Enter accounts that were there before the first transaction, so that they are listed."""
        for key in keys:
            account = self.accounts.current(key)
            if account is not None:
                self.accounts.index.add(key, AccountState(account).identity)

    def restore(self, blocks: Iterable[Block], accounts: Iterable[tuple[Pubkey, Account]]) -> None:
        """Take in what a ledger brought back: history, and the index of the accounts."""
        for block in blocks:
            for record in block.records:
                self.history.add(record)
        self.index(key for key, _ in accounts)

    def lookup_table(self, table: Pubkey) -> bytes | None:
        """Return the addresses of a lookup table as one run of bytes; None when there is no such table."""
        account = self.accounts.current(table)
        if account is None or account.owner != LOOKUP_TABLE_PROGRAM:
            return None
        return account.data[56:]

    def refusal(self, transaction: WireTransaction, commitment: Commitment) -> str | None:
        """Return why a transaction may not run in the bank of a commitment, before anything is executed."""
        if self._is_duplicate(transaction, commitment):
            return "AlreadyProcessed"
        if self.chain.is_blockhash_valid(transaction.blockhash, commitment):
            return None
        use = nonce_use(transaction.message, transaction.keys, transaction.writable)
        return None if self.is_nonce_usable(use, transaction.blockhash, commitment) else "BlockhashNotFound"

    def is_nonce_usable(self, use: NonceUse | None, named: Hash, commitment: Commitment) -> bool:
        """Tell whether a message may live by the nonce that it names, in the bank of a commitment."""
        block = self.chain.block_at(commitment)
        following = next_nonce(self.chain, block)
        return lives_by_nonce(use, named, lambda key: self.accounts.at(key, block.slot), following)

    def _is_duplicate(self, transaction: WireTransaction, commitment: Commitment) -> bool:
        record = self.history.find(transaction.signature)
        return (
            record is not None
            and record.slot <= self.chain.slot_at(commitment)
            and self.chain.is_blockhash_valid(transaction.blockhash, Commitment.PROCESSED)
        )

    def process(self, transaction: WireTransaction) -> TransactionRecord | None:
        """Land a transaction in the open slot; None when the chain drops it without a trace."""
        if self.drops_transactions or self.refusal(transaction, Commitment.PROCESSED) is not None:
            return None
        if self.history.find(transaction.signature) is not None:
            return None
        self._show_sysvars(transaction)
        block = self.chain.open
        moves = moves_nonces(transaction.message, transaction.keys)
        following = next_nonce(self.chain, block) if moves else None
        execution = self._executor.land(transaction, block.slot, following)
        if execution is None:
            return None
        record = TransactionRecord(
            transaction.signature,
            block.slot,
            len(block.records),
            transaction.wire,
            transaction.keys,
            transaction.loaded_writable,
            transaction.loaded_readonly,
            execution,
        )
        block.records.append(record)
        self.history.add(record)
        for observer in self.observers:
            observer.transaction_landed(record)
        return record

    def simulate(
        self, transaction: WireTransaction, commitment: Commitment, *, check_blockhash: bool = True
    ) -> tuple[Execution, dict[Pubkey, Account | None]]:
        """Run a transaction on the accounts of a commitment and leave no trace."""
        slot = self.chain.slot_at(commitment)
        refusal = self.refusal(transaction, commitment) if check_blockhash else None
        newest = [key for key in dict.fromkeys(transaction.keys) if self.accounts.differs(key, slot)]
        if refusal is not None:
            states = [AccountState.of(self.accounts.at(key, slot)) for key in transaction.keys]
            return self._executor.refused(refusal, states), {}
        self._show_sysvars(transaction)
        saved = [(key, self.accounts.current(key)) for key in newest]
        self._put((key, self.accounts.at(key, slot)) for key in newest)
        try:
            return self._executor.simulate(transaction)
        finally:
            self._put(saved)

    def _put(self, accounts: Iterable[tuple[Pubkey, Account | None]]) -> None:
        for key, account in accounts:
            self._live.set_account(key, account or empty_account())

    def set_account(self, key: Pubkey, account: Account | None) -> None:
        """Overwrite an account in the open slot, outside of any transaction."""
        before = self._live.state(key)
        self._put([(key, account)])
        self.accounts.record(self.chain.open.slot, key, before, self._live.state(key))

    def advance(self, to_slot: int | None = None) -> Block:
        """Close the open slot and open the next one, or a later one: the slots between stay skipped."""
        closed = self.chain.open
        if self.journal is not None:
            self.journal.block_closed(closed, self._states(self.accounts.touched(closed.slot), closed.slot))
        self.slot_hashes = [(closed.slot, closed.blockhash), *self.slot_hashes[: MAX_SLOT_HASHES - 1]]
        heights = {level: self.chain.height_at(level) for level in Commitment}
        self._open_after(closed, closed.slot + 1 if to_slot is None else to_slot)
        self._tell_progress(heights)
        return self.chain.open

    def _states(self, keys: Iterable[Pubkey], slot: int) -> list[tuple[Pubkey, Account | None]]:
        return [(key, self.accounts.at(key, slot)) for key in keys]

    def _open_after(self, parent: Block, slot: int) -> None:
        block = next_block(parent, self._config, slot)
        self.chain.append(block)
        self._stale_sysvars = True
        for observer in self.observers:
            observer.slot_opened(block)

    def _tell_progress(self, heights: dict[Commitment, int]) -> None:
        for level in (Commitment.CONFIRMED, Commitment.FINALIZED):
            for height in range(heights[level] + 1, self.chain.height_at(level) + 1):
                block = self.chain.block_of_height(height)
                if block is None:
                    continue
                for observer in self.observers:
                    observer.block_reached(block, level)
                if level is Commitment.FINALIZED:
                    self._forget_versions(height)

    def _forget_versions(self, final_height: int) -> None:
        block = self.chain.block_of_height(final_height - self._config.max_lag_slots)
        if block is not None:
            self.accounts.finalize(block.slot)

    def _show_sysvars(self, transaction: WireTransaction | None = None) -> None:
        """Let programs see the open slot, unless a transaction's cannot tell one from another."""
        if not self._stale_sysvars or (transaction is not None and is_timeless(transaction)):
            return
        self._stale_sysvars = False
        block = self.chain.open
        epoch = block.slot // self.slots_per_epoch
        self.svm.set_clock(
            Clock(
                slot=block.slot,
                epoch_start_timestamp=self.chain.first_block_from(epoch * self.slots_per_epoch).time,
                epoch=epoch,
                leader_schedule_epoch=epoch + 1,
                unix_timestamp=block.time,
            )
        )
        # Programs read this sysvar only at its full length, which LiteSVM has only when it is full.
        unused = [(0, Hash.default())] * (MAX_SLOT_HASHES - len(self.slot_hashes))
        self.svm.set_slot_hashes([*self.slot_hashes, *unused])

    @property
    def milliseconds(self) -> int:
        """Return the time by the chain's clock, in milliseconds since 1970."""
        return int(self._config.wall_clock() * 1000)

    def account_at(self, key: Pubkey, slot: int) -> Account | None:
        """Return an account at the end of a slot; sysvars are those of the open slot."""
        if key in SLOT_SYSVARS:
            self._show_sysvars()
        if key == SYSVAR_RECENT_BLOCKHASHES:
            return self._recent_blockhashes()
        return self.accounts.at(key, slot)

    def _recent_blockhashes(self) -> Account | None:
        account = self.accounts.current(SYSVAR_RECENT_BLOCKHASHES)
        if account is None:
            return None
        hashes = [block.blockhash for block in self.chain.last_blocks(MAX_RECENT_BLOCKHASHES + 1)[1:]]
        fee = LAMPORTS_PER_SIGNATURE.to_bytes(8, "little")
        data = len(hashes).to_bytes(8, "little") + b"".join(bytes(one) + fee for one in hashes)
        padded = data.ljust(len(account.data), b"\0")
        return Account(account.lamports, padded, account.owner, False, account.rent_epoch)

    def put_slot_hashes_back(self, slot_hashes: list[tuple[int, Hash]]) -> None:
        """Show programs the slot hashes of another moment from the next transaction on."""
        self.slot_hashes = list(slot_hashes)
        self._stale_sysvars = True

    def lowest_price(self, block: Block, keys: set[Pubkey]) -> int:
        """Return the price per compute unit that a block asked of who writes to the keys.

        It is the highest of the lowest prices: of the whole block, and of those that wrote to each key.
        """
        lowest: dict[Pubkey | None, int] = {}
        for record in block.records:
            price = record.execution.micro_lamports_per_unit
            for key in (None, *(keys & _written(record) if keys.intersection(record.keys) else ())):
                lowest[key] = min(lowest.get(key, price), price)
        return max(lowest.values(), default=0)

    def rollback(self, slot: int) -> list[TransactionRecord]:
        """Drop the blocks above a slot, as a losing fork would vanish, and return their transactions."""
        dropped = self.chain.drop_above(slot)
        if not dropped:
            return []
        records = [record for block in dropped for record in block.records]
        for record in reversed(records):
            self.history.remove(record)
        keys = self.accounts.rollback(slot)
        parent = self.chain.open
        if self.journal is not None:
            self.journal.rolled_back(slot, self._states(keys, slot))
        self.slot_hashes = [entry for entry in self.slot_hashes if entry[0] < parent.slot]
        self.slot_hashes.insert(0, (parent.slot, parent.blockhash))
        self._open_after(parent, dropped[-1].slot + 1)
        return records


def _written(record: TransactionRecord) -> set[Pubkey]:
    message = VersionedTransaction.from_bytes(record.wire).message
    static = len(record.keys) - record.loaded_writable - record.loaded_readonly
    return {record.keys[index] for index in writable_indexes(message, static, record.loaded_writable)}
