"""The chain on disk: each closed slot is one SQLite transaction, a killed process loses only the open slot.

Writes happen in order on a thread of their own; nothing is read back before the next start.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import orjson
from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey

from .ledger_rows import States, account_rows, block_row, record_of, transaction_row
from .records import TransactionRecord
from .slots import Block

LEDGER_FILE: Final = "ledger.sqlite3"
MAX_PENDING_WRITES: Final = 1_000
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocks (
    slot INTEGER PRIMARY KEY, parent_slot INTEGER, height INTEGER, blockhash BLOB, time INTEGER
);
CREATE TABLE IF NOT EXISTS transactions (
    slot INTEGER, place INTEGER, signature TEXT, wire BLOB, facts BLOB, PRIMARY KEY (slot, place)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS accounts (
    address BLOB PRIMARY KEY, lamports BLOB, data BLOB, owner BLOB, executable INTEGER, rent_epoch BLOB
) WITHOUT ROWID;
"""


class Ledger:
    """Keeps one chain in one folder."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / LEDGER_FILE
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="localnet-ledger")
        self._connection: sqlite3.Connection | None = None
        self._pending: list[Future[None]] = []

    def open(self, *, reset: bool) -> None:
        """Open the folder's chain, or begin one; `reset` forgets what was there."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if reset:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(LEDGER_FILE + suffix).unlink(missing_ok=True)
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        # A killed process loses nothing that the kernel has; only a power cut may cost the last slots.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(SCHEMA)
        self._connection = connection

    def close(self) -> None:
        """Wait for the last write and close the file."""
        self._writer.shutdown(wait=True)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        for write in self._pending:
            write.result()

    @property
    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the ledger is not open")
        return self._connection

    def seed(self) -> bytes | None:
        """Return the randomness that the chain began with; None for a new ledger."""
        row = self._database.execute("SELECT value FROM meta WHERE name = 'seed'").fetchone()
        return row[0] if row is not None else None

    def begin(self, seed: bytes, blocks: Iterable[Block]) -> None:
        """Write a new chain's seed and first blocks."""
        with _transaction(self._database):
            self._database.execute("INSERT INTO meta VALUES ('seed', ?)", (seed,))
            self._database.executemany(INSERT_BLOCK, [block_row(block) for block in blocks])

    def blocks(self) -> list[Block]:
        """Return all blocks with their transactions, oldest first."""
        query = "SELECT slot, parent_slot, height, blockhash, time FROM blocks ORDER BY slot"
        blocks: list[Block] = []
        by_slot: dict[int, Block] = {}
        for slot, parent, height, blockhash, time in self._database.execute(query):
            block = Block(slot, parent, height, Hash.from_bytes(blockhash), time, 0)
            blocks.append(block)
            by_slot[slot] = block
        for record in self._records():
            by_slot[record.slot].records.append(record)
        for parent_block, block in pairwise(blocks):
            block.transactions_before = parent_block.transaction_count
        return blocks

    def _records(self) -> Iterator[TransactionRecord]:
        query = "SELECT slot, place, signature, wire, facts FROM transactions ORDER BY slot, place"
        for slot, place, signature, wire, facts in self._database.execute(query):
            yield record_of(slot, place, signature, wire, orjson.loads(facts))

    def accounts(self) -> Iterator[tuple[Pubkey, Account]]:
        """Iterate over all accounts that the chain ever changed."""
        query = "SELECT address, lamports, data, owner, executable, rent_epoch FROM accounts"
        for address, lamports, data, owner, executable, epoch in self._database.execute(query):
            account = Account(
                int.from_bytes(lamports, "little"),
                data,
                Pubkey.from_bytes(owner),
                bool(executable),
                int.from_bytes(epoch, "little"),
            )
            yield Pubkey.from_bytes(address), account

    def block_closed(self, block: Block, accounts: States) -> None:
        """Queue a closed block and what it changed as one transaction."""
        records = [transaction_row(record) for record in block.records]
        self._submit(_write_block, block_row(block), records, account_rows(accounts))

    def rolled_back(self, slot: int, accounts: States) -> None:
        """Queue the removal of the blocks above a slot."""
        self._submit(_write_rollback, slot, account_rows(accounts))

    def _submit(self, write: Any, *arguments: Any) -> None:
        self._pending = [future for future in self._pending if not future.done() or _failed(future)]
        if len(self._pending) > MAX_PENDING_WRITES:
            self._pending.pop(0).result()
        self._pending.append(self._writer.submit(write, self._database, *arguments))


def _failed(future: "Future[None]") -> bool:
    error = future.exception()
    if error is not None:
        raise error
    return False


class _transaction:
    """Wraps statements in one SQLite transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


INSERT_BLOCK: Final = "INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?)"
INSERT_TRANSACTION: Final = "INSERT OR REPLACE INTO transactions VALUES (?, ?, ?, ?, ?)"
INSERT_ACCOUNT: Final = "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?)"


def _write_block(
    connection: sqlite3.Connection, block: tuple[Any, ...], records: list[Any], accounts: list[Any]
) -> None:
    with _transaction(connection):
        connection.execute(INSERT_BLOCK, block)
        connection.executemany(INSERT_TRANSACTION, records)
        connection.executemany(INSERT_ACCOUNT, accounts)


def _write_rollback(connection: sqlite3.Connection, slot: int, accounts: list[Any]) -> None:
    with _transaction(connection):
        connection.execute("DELETE FROM blocks WHERE slot > ?", (slot,))
        connection.execute("DELETE FROM transactions WHERE slot > ?", (slot,))
        connection.executemany(INSERT_ACCOUNT, accounts)
