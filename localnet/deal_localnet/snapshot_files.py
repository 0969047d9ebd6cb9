"""A whole chain written to one file, in the form of a ledger."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from solders.account import Account
from solders.pubkey import Pubkey

from .addresses import GENESIS_ADDRESSES, SYSVAR_OWNER
from .bank import Bank
from .genesis import new_svm
from .ledger_rows import account_rows, block_row, transaction_row
from .setup_errors import LedgerError
from .stored_chain import SCHEMA, begin_chain, write_rows


def write_snapshot(path: Path, seed: bytes, bank: Bank) -> None:
    """Write the blocks that are closed and the newest accounts; a file that is there is replaced at once.

    Raises:
        LedgerError: when the file cannot be written; one that was there is as it was.
    """
    blocks = list(reversed(bank.chain.last_blocks(bank.chain.open.height + 1)))[:-1]
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            connection.executescript(SCHEMA)
            connection.execute("BEGIN")
            begin_chain(connection, seed, bank.slots_per_epoch, ())
            records = [transaction_row(record) for block in blocks for record in block.records]
            accounts = account_rows(list(_kept_accounts(bank)))
            write_rows(connection, records, accounts, [block_row(block) for block in blocks])
            connection.execute("COMMIT")
            connection.execute("VACUUM INTO ?", (str(partial),))
        os.replace(partial, path)
    except (OSError, sqlite3.Error) as error:
        partial.unlink(missing_ok=True)
        raise LedgerError(f"{path}: cannot be written ({error})") from None


def _kept_accounts(bank: Bank) -> Iterator[tuple[Pubkey, Account | None]]:
    """Iterate over all accounts but those that are as in every chain or that LiteSVM writes by itself."""
    fresh = new_svm((), bank.slots_per_epoch)
    for key in dict.fromkeys((*GENESIS_ADDRESSES, *bank.accounts.index.addresses())):
        account = bank.accounts.current(key)
        is_given = key in GENESIS_ADDRESSES and account is not None and account == fresh.get_account(key)
        if not is_given and (account is None or account.owner != SYSVAR_OWNER):
            yield key, account
