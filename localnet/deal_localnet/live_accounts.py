"""The newest state of every account, read from LiteSVM once for as long as it stays the same.

Each read out of LiteSVM copies the whole account, and a program's is its whole code; so what was read is
kept, with the facts that executing a transaction asks for again and again.
"""

from collections.abc import Iterable
from typing import Final

from solders.account import Account
from solders.pubkey import Pubkey

from .addresses import (
    SYSTEM_PROGRAM,
    SYSVAR_FEES,
    SYSVAR_OWNER,
    SYSVAR_RECENT_BLOCKHASHES,
    SYSVAR_SLOT_HASHES,
    SYSVAR_STAKE_HISTORY,
    TOKEN_PROGRAMS,
)
from .engine import AccountSource
from .records import MINT_DECIMALS_OFFSET, TOKEN_IDENTITY_BYTES, holds_tokens
from .rent import rent_exempt_minimum

MAX_U64: Final = 2**64 - 1
SYSVAR_BYTES: Final = {
    SYSVAR_RECENT_BLOCKHASHES: 6_008,
    SYSVAR_SLOT_HASHES: 20_488,
    SYSVAR_STAKE_HISTORY: 16_392,
}
MAX_KEPT_ACCOUNTS: Final = 10_000
DELEGATE_TAG: Final = slice(72, 76)
NO_DELEGATE: Final = b"\0\0\0\0"

Identity = tuple[Pubkey, bytes, bytes, bytes]


def empty_account() -> Account:
    """Return what stands in LiteSVM for an account that does not exist."""
    return Account(0, b"", SYSTEM_PROGRAM, False, MAX_U64)


def on_chain(address: Pubkey, account: Account | None) -> Account | None:
    """Return a sysvar as large and as rich as a validator's, where LiteSVM keeps one lamport and no more.

    The sysvar of fees is gone from Agave for good.
    """
    if account is None or account.owner != SYSVAR_OWNER:
        return account
    if address == SYSVAR_FEES:
        return None
    data = account.data.ljust(SYSVAR_BYTES.get(address, 0), b"\0")
    return Account(rent_exempt_minimum(len(data)), data, SYSVAR_OWNER, False, account.rent_epoch)


class AccountState:
    """Keeps one account and what is asked of it for each transaction.

    `head` is mint, owner and amount of a token account, as its first bytes; None for anything else.
    `identity` is what the account is found by: program, mint, token owner and delegate (empty when none).
    """

    __slots__ = ("account", "data_bytes", "decimals", "head", "identity", "lamports", "owner")

    def __init__(self, account: Account) -> None:
        self.account = account
        self.lamports: int = account.lamports
        self.owner = owner = account.owner
        data = account.data
        self.data_bytes = len(data)
        self.decimals = data[MINT_DECIMALS_OFFSET] if len(data) > MINT_DECIMALS_OFFSET else 0
        self.head: bytes | None = None
        self.identity: Identity = (owner, b"", b"", b"")
        if owner in TOKEN_PROGRAMS and holds_tokens(data):
            delegate = b"" if data[DELEGATE_TAG] == NO_DELEGATE else data[76:108]
            self.head = data[:TOKEN_IDENTITY_BYTES]
            self.identity = (owner, data[:32], data[32:64], delegate)

    @classmethod
    def of(cls, account: Account | None) -> "AccountState | None":
        """Return an account's state, or None when there is no account."""
        return None if account is None else cls(account)


class LiveAccounts:
    """Reads and overwrites accounts; who runs a program must `forget` what it may have changed."""

    def __init__(self, source: AccountSource) -> None:
        self._source = source
        self._kept: dict[Pubkey, AccountState] = {}

    def state(self, address: Pubkey) -> AccountState | None:
        """Return an account's newest state; one without lamports does not exist."""
        kept = self._kept.get(address)
        if kept is not None:
            return kept
        account = on_chain(address, self._source.get_account(address))
        if account is None or not account.lamports:
            return None
        state = AccountState(account)
        # LiteSVM writes sysvars by itself.
        if state.owner != SYSVAR_OWNER:
            if len(self._kept) >= MAX_KEPT_ACCOUNTS:
                self._kept.clear()
            self._kept[address] = state
        return state

    def get_account(self, address: Pubkey) -> Account | None:
        """Return the account as it stands in LiteSVM, without keeping it."""
        kept = self._kept.get(address)
        return kept.account if kept is not None else on_chain(address, self._source.get_account(address))

    def set_account(self, address: Pubkey, account: Account) -> None:
        """Overwrite an account."""
        self._kept.pop(address, None)
        self._source.set_account(address, account)

    def forget(self, addresses: Iterable[Pubkey]) -> None:
        """Read accounts anew the next time."""
        for address in addresses:
            self._kept.pop(address, None)
