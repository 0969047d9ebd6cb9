"""The few calls of LiteSVM that the rest depends on, as a seam that a test can stand in for."""

from typing import Protocol

from solders.account import Account
from solders.pubkey import Pubkey


class AccountSource(Protocol):
    """Reads and overwrites the newest state of an account."""

    def get_account(self, address: Pubkey) -> Account | None:
        """Return the account, or None when there never was one."""

    def set_account(self, address: Pubkey, account: Account) -> None:
        """Overwrite the account."""
