"""The few calls of LiteSVM that the rest depends on, as a seam that a test can stand in for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from solders.account import Account
from solders.pubkey import Pubkey


class AccountSource(Protocol):
    """Reads and overwrites the newest state of an account."""

    def get_account(self, address: Pubkey) -> Account | None:
        """Return the account, or None when there never was one."""

    def set_account(self, address: Pubkey, account: Account) -> None:
        """Overwrite the account."""


class UnloadableProgramError(ValueError):
    """Says that an account claims to be a program, and that its code cannot be loaded."""


@contextmanager
def refused_programs(address: Pubkey) -> Iterator[None]:
    """Turn what LiteSVM raises at an account that it cannot load as a program into one error.

    Raises:
        UnloadableProgramError: in its place.
    """
    try:
        yield
    except Exception as error:
        # LiteSVM's own type of error has no name that could be imported.
        raise UnloadableProgramError(f"{address}: no program that can be loaded ({error})") from None
