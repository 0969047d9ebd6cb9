"""A chain in an SQLite file: the tables that a ledger and a snapshot share, and how they are read."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import orjson
from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey

from .config import DEFAULT_SLOTS_PER_EPOCH
from .ledger_rows import block_row, record_of
from .records import TransactionRecord
from .setup_errors import LedgerError
from .slots import Block

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
INSERT_BLOCK: Final = "INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?)"
INSERT_TRANSACTION: Final = "INSERT OR REPLACE INTO transactions VALUES (?, ?, ?, ?, ?)"
INSERT_ACCOUNT: Final = "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class StoredChain:
    """Holds what a chain goes on from; all of its blocks are closed, and final when it does."""

    seed: bytes
    slots_per_epoch: int
    blocks: list[Block]
    accounts: list[tuple[Pubkey, Account]]


def begin_chain(
    connection: sqlite3.Connection, seed: bytes, slots_per_epoch: int, blocks: Iterable[Block]
) -> None:
    """Write a chain's beginning: its seed, its epochs' length and its first blocks."""
    meta = (("seed", seed), ("slots_per_epoch", slots_per_epoch))
    connection.executemany("INSERT INTO meta VALUES (?, ?)", meta)
    connection.executemany(INSERT_BLOCK, [block_row(block) for block in blocks])


def stored_chain(connection: sqlite3.Connection) -> StoredChain | None:
    """Read a chain; None when the tables are there and empty."""
    meta: dict[str, Any] = dict(connection.execute("SELECT name, value FROM meta"))
    if "seed" not in meta:
        return None
    # Ledgers of older releases do not tell how long an epoch is.
    slots_per_epoch = meta.get("slots_per_epoch", DEFAULT_SLOTS_PER_EPOCH)
    return StoredChain(meta["seed"], slots_per_epoch, _blocks(connection), list(_accounts(connection)))


def read_chain(path: Path) -> StoredChain:
    """Read a snapshot file, which is left as it is.

    Raises:
        LedgerError: when it is none.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            stored = stored_chain(connection)
    except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"{path}: not a snapshot of a localnet ({error})") from None
    if stored is None or not stored.blocks:
        raise LedgerError(f"{path}: holds no chain")
    return stored


def _blocks(connection: sqlite3.Connection) -> list[Block]:
    query = "SELECT slot, parent_slot, height, blockhash, time FROM blocks ORDER BY slot"
    blocks: list[Block] = []
    by_slot: dict[int, Block] = {}
    for slot, parent, height, blockhash, time in connection.execute(query):
        block = Block(slot, parent, height, Hash.from_bytes(blockhash), time, 0)
        blocks.append(block)
        by_slot[slot] = block
    for record in _records(connection):
        by_slot[record.slot].records.append(record)
    for parent_block, block in pairwise(blocks):
        block.transactions_before = parent_block.transaction_count
    return blocks


def _records(connection: sqlite3.Connection) -> Iterator[TransactionRecord]:
    query = "SELECT slot, place, signature, wire, facts FROM transactions ORDER BY slot, place"
    for slot, place, signature, wire, facts in connection.execute(query):
        yield record_of(slot, place, signature, wire, orjson.loads(facts))


def _accounts(connection: sqlite3.Connection) -> Iterator[tuple[Pubkey, Account]]:
    query = "SELECT address, lamports, data, owner, executable, rent_epoch FROM accounts"
    for address, lamports, data, owner, executable, epoch in connection.execute(query):
        account = Account(
            int.from_bytes(lamports, "little"),
            data,
            Pubkey.from_bytes(owner),
            bool(executable),
            int.from_bytes(epoch, "little"),
        )
        yield Pubkey.from_bytes(address), account


def write_rows(
    connection: sqlite3.Connection,
    records: Sequence[Any],
    accounts: Sequence[Any],
    blocks: Sequence[Any] = (),
) -> None:
    """Write rows of transactions, accounts and blocks."""
    connection.executemany(INSERT_BLOCK, blocks)
    connection.executemany(INSERT_TRANSACTION, records)
    connection.executemany(INSERT_ACCOUNT, accounts)
