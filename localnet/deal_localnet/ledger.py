"""The chain on disk: each closed slot is one SQLite transaction, a killed process loses only the open slot.

Writes happen in order on a thread of their own; nothing is read back before the next start.
"""

import sqlite3
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from .ledger_rows import States, account_rows, block_row, transaction_row
from .setup_errors import LedgerError
from .slots import Block
from .stored_chain import SCHEMA, StoredChain, begin_chain, stored_chain, write_rows

LEDGER_FILE: Final = "ledger.sqlite3"
MAX_PENDING_WRITES: Final = 1_000
LOCK_SECONDS: Final = 0.5
"""How long a ledger that another process closes just now is waited for."""


class Ledger:
    """Keeps one chain in one file, which belongs to one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="localnet-ledger")
        self._connection: sqlite3.Connection | None = None
        self._pending: list[Future[None]] = []

    def open(self, *, reset: bool) -> None:
        """Open the file's chain, or begin one; `reset` forgets what was there.

        Raises:
            LedgerError: when another process has it, or it is no ledger.
        """
        try:
            self._open(reset=reset)
        except OSError as error:
            raise LedgerError(f"{self._path}: {error.strerror or error}") from None
        except sqlite3.OperationalError as error:
            raise LedgerError(
                f"{self._path}: cannot be opened ({error}); is another chain using it?"
            ) from None
        except sqlite3.DatabaseError as error:
            raise LedgerError(f"{self._path}: not a ledger of a localnet ({error})") from None

    def _open(self, *, reset: bool) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not reset:
            self._connect()
            return
        # A chain that still runs on it must not lose its file: only who holds the lock may begin anew.
        if self._path.exists():
            self._lock_once()
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._connect()

    def _lock_once(self) -> None:
        try:
            self._connect()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            pass  # what is damaged is nobody's, and may go
        finally:
            self._disconnect()

    def _connect(self) -> None:
        self._connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=LOCK_SECONDS
        )
        self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._connection.execute("PRAGMA journal_mode=WAL")
        # A killed process loses nothing that the kernel has; only a power cut may cost the last slots.
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(SCHEMA)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Wait for the last write and close the file."""
        self._writer.shutdown(wait=True)
        self._disconnect()
        for write in self._pending:
            write.result()

    @property
    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the ledger is not open")
        return self._connection

    def stored_chain(self) -> StoredChain | None:
        """Return the chain that the file holds; None for a new ledger.

        Raises:
            LedgerError: when the file is damaged.
        """
        try:
            stored = stored_chain(self._database)
        except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
            raise LedgerError(f"{self._path}: is damaged ({error})") from None
        if stored is not None and not stored.blocks:
            raise LedgerError(f"{self._path}: is damaged (it holds no block)")
        return stored

    def begin(self, seed: bytes, slots_per_epoch: int, blocks: Iterable[Block], accounts: States) -> None:
        """Write a new chain's beginning, with the accounts and programs that were given to it."""
        with _transaction(self._database):
            begin_chain(self._database, seed, slots_per_epoch, blocks)
            write_rows(self._database, (), account_rows(accounts))

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


def _write_block(
    connection: sqlite3.Connection, block: tuple[Any, ...], records: list[Any], accounts: list[Any]
) -> None:
    with _transaction(connection):
        write_rows(connection, records, accounts, [block])


def _write_rollback(connection: sqlite3.Connection, slot: int, accounts: list[Any]) -> None:
    with _transaction(connection):
        connection.execute("DELETE FROM blocks WHERE slot > ?", (slot,))
        connection.execute("DELETE FROM transactions WHERE slot > ?", (slot,))
        write_rows(connection, (), accounts)
