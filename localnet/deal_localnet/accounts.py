"""Accounts in versions, so that reads by commitment and rollbacks come from one structure.

LiteSVM holds the newest state. Only accounts that changed since the finalized slot have versions here, oldest
first, the first being the state at finality; once all changes are final the versions are dropped again.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from solders.account import Account
from solders.pubkey import Pubkey

from .addresses import SYSTEM_PROGRAM, TOKEN_PROGRAMS
from .engine import AccountSource
from .records import MINT_TYPE_BYTE, TOKEN_ACCOUNT_BYTES

BASE_SLOT: Final = -1
MAX_U64: Final = 2**64 - 1
DELEGATE_TAG: Final = slice(72, 76)
NO_DELEGATE: Final = b"\0\0\0\0"

Identity = tuple[Pubkey, bytes, bytes, bytes]
Keys = dict[Pubkey, None]


def identity_of(account: Account) -> Identity:
    """Return what an account is found by: program, mint, token owner and delegate (empty when none)."""
    owner = account.owner
    if owner not in TOKEN_PROGRAMS:
        return (owner, b"", b"", b"")
    data = account.data
    if len(data) < TOKEN_ACCOUNT_BYTES or data[108] == 0:
        return (owner, b"", b"", b"")
    if len(data) > TOKEN_ACCOUNT_BYTES and data[TOKEN_ACCOUNT_BYTES] == MINT_TYPE_BYTE:
        return (owner, b"", b"", b"")
    delegate = b"" if data[DELEGATE_TAG] == NO_DELEGATE else data[76:108]
    return (owner, data[:32], data[32:64], delegate)


def empty_account() -> Account:
    """Return what stands in LiteSVM for an account that does not exist."""
    return Account(0, b"", SYSTEM_PROGRAM, False, MAX_U64)


class AccountIndex:
    """Finds addresses by program, mint, token owner and delegate, a superset of what any commitment sees."""

    def __init__(self) -> None:
        self._maps: tuple[dict[Pubkey | bytes, Keys], ...] = ({}, {}, {}, {})

    def add(self, key: Pubkey, identity: Identity) -> None:
        """Enter an address under each part of its identity."""
        self._maps[0].setdefault(identity[0], {})[key] = None
        for part, table in zip(identity[1:], self._maps[1:], strict=True):
            if part:
                table.setdefault(part, {})[key] = None

    def discard(self, key: Pubkey, identity: Identity, kept: Iterable[Identity]) -> None:
        """Remove an address from the parts of an identity that none of the kept ones shares."""
        kept = list(kept)
        for position in range(4):
            part = identity[position]
            if all(other[position] != part for other in kept):
                self._forget(position, part, key)

    def _forget(self, position: int, part: Pubkey | bytes, key: Pubkey) -> None:
        table = self._maps[position]
        members = table.get(part)
        if members is not None:
            members.pop(key, None)
            if not members:
                del table[part]

    def of_program(self, program: Pubkey) -> list[Pubkey]:
        """Return the addresses that a program owns or owned lately."""
        return list(self._maps[0].get(program, ()))

    def of_mint(self, mint: Pubkey) -> list[Pubkey]:
        """Return the token accounts of a mint."""
        return list(self._maps[1].get(bytes(mint), ()))

    def of_token_owner(self, owner: Pubkey) -> list[Pubkey]:
        """Return the token accounts of a wallet."""
        return list(self._maps[2].get(bytes(owner), ()))

    def of_delegate(self, delegate: Pubkey) -> list[Pubkey]:
        """Return the token accounts that a delegate may spend from."""
        return list(self._maps[3].get(bytes(delegate), ()))


class AccountStore:
    """Records every change by slot, on top of the newest state that LiteSVM holds."""

    def __init__(self, source: AccountSource) -> None:
        self._source = source
        self._versions: dict[Pubkey, list[tuple[int, Account | None]]] = {}
        self._touched: dict[int, Keys] = {}
        # Addresses whose identity changed: only these can leave stale entries in the index.
        self._restless: set[Pubkey] = set()
        self.index = AccountIndex()

    def current(self, key: Pubkey) -> Account | None:
        """Return the newest state; an account without lamports does not exist."""
        account = self._source.get_account(key)
        return account if account is not None and account.lamports else None

    def at(self, key: Pubkey, slot: int) -> Account | None:
        """Return the state at the end of a slot that is final or newer."""
        versions = self._versions.get(key)
        if versions is None:
            return self.current(key)
        for version_slot, account in reversed(versions):
            if version_slot <= slot:
                return account
        return versions[0][1]

    def differs(self, key: Pubkey, slot: int) -> bool:
        """Tell whether an account changed after a slot."""
        versions = self._versions.get(key)
        return versions is not None and versions[-1][0] > slot

    def record(self, slot: int, key: Pubkey, before: Account | None, after: Account | None) -> None:
        """Enter a change that LiteSVM already holds."""
        versions = self._versions.setdefault(key, [(BASE_SLOT, before)])
        replaced = [versions.pop()] if versions[-1][0] == slot else []
        versions.append((slot, after))
        self._touched.setdefault(slot, {})[key] = None
        old = identity_of(before) if before is not None else None
        new = identity_of(after) if after is not None else None
        if old != new:
            self._restless.add(key)
            if new is not None:
                self.index.add(key, new)
            self._reindex(key, replaced, versions)

    def touched(self, slot: int) -> Iterator[Pubkey]:
        """Iterate over the addresses that changed in a slot that is not compacted yet."""
        return iter(self._touched.get(slot, ()))

    def finalize(self, slot: int) -> None:
        """Forget the versions that a final slot replaced."""
        for key in self._touched.pop(slot, ()):
            versions = self._versions[key]
            keep = next((i for i in range(len(versions) - 1, 0, -1) if versions[i][0] <= slot), 0)
            dropped, kept = versions[:keep], versions[keep:]
            self._settle(key, kept)
            if key in self._restless:
                self._reindex(key, dropped, kept)

    def _settle(self, key: Pubkey, kept: list[tuple[int, Account | None]]) -> None:
        if len(kept) > 1:
            self._versions[key] = kept
        else:
            del self._versions[key]

    def _reindex(
        self, key: Pubkey, dropped: list[tuple[int, Account | None]], kept: list[tuple[int, Account | None]]
    ) -> None:
        living = [identity_of(account) for _, account in kept if account is not None]
        for identity in {identity_of(account) for _, account in dropped if account is not None}:
            self.index.discard(key, identity, living)
        if len(kept) == 1:
            self._restless.discard(key)

    def rollback(self, slot: int) -> list[Pubkey]:
        """Put every account back to its state at a slot, and return those that changed."""
        dropped_slots = [touched for touched in self._touched if touched > slot]
        keys = dict.fromkeys(key for touched in dropped_slots for key in self._touched.pop(touched))
        for key in keys:
            self._restore(key, slot)
        return list(keys)

    def _restore(self, key: Pubkey, slot: int) -> None:
        versions = self._versions[key]
        kept = [version for version in versions if version[0] <= slot]
        dropped = versions[len(kept) :]
        self._source.set_account(key, kept[-1][1] or empty_account())
        self._settle(key, kept)
        if key in self._restless:
            self._reindex(key, dropped, kept)
