"""Accounts in versions, so that reads by commitment and rollbacks come from one structure.

LiteSVM holds the newest state. Only accounts that changed since the finalized slot have versions here, oldest
first, the first being the state at finality; once all changes are final the versions are dropped again.
"""

from collections.abc import Iterable, Iterator
from typing import Final
from weakref import WeakSet

from solders.account import Account
from solders.pubkey import Pubkey

from .engine import AccountSource
from .live_accounts import AccountState, Identity, empty_account

BASE_SLOT: Final = -1

Keys = dict[Pubkey, None]
Version = tuple[int, AccountState | None]


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

    def addresses(self) -> list[Pubkey]:
        """Return every address once, also those that are gone by now at some commitment."""
        return list({key: None for members in self._maps[0].values() for key in members})

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


class AccountsCopy:
    """Keeps what the accounts were at one moment: those that changed since, and the versions of then."""

    def __init__(self, versions: dict[Pubkey, list[Version]], touched: dict[int, Keys]) -> None:
        self.versions = versions
        self.touched = touched
        self.changed: dict[Pubkey, AccountState | None] = {}


class AccountStore:
    """Records every change by slot, on top of the newest state that LiteSVM holds."""

    def __init__(self, source: AccountSource) -> None:
        self._source = source
        self._versions: dict[Pubkey, list[Version]] = {}
        self._touched: dict[int, Keys] = {}
        # Addresses whose identity changed: only these can leave stale entries in the index.
        self._restless: set[Pubkey] = set()
        # Each hears of the first change of every account, for as long as somebody holds it.
        self._copies: WeakSet[AccountsCopy] = WeakSet()
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
        for version_slot, state in reversed(versions):
            if version_slot <= slot:
                return _account(state)
        return _account(versions[0][1])

    def differs(self, key: Pubkey, slot: int) -> bool:
        """Tell whether an account changed after a slot."""
        versions = self._versions.get(key)
        return versions is not None and versions[-1][0] > slot

    def record(self, slot: int, key: Pubkey, before: AccountState | None, after: AccountState | None) -> None:
        """Enter a change that LiteSVM already holds."""
        self._tell_copies(key, before)
        versions = self._versions.setdefault(key, [(BASE_SLOT, before)])
        replaced = [versions.pop()] if versions[-1][0] == slot else []
        versions.append((slot, after))
        self._touched.setdefault(slot, {})[key] = None
        old = before.identity if before is not None else None
        new = after.identity if after is not None else None
        if old != new:
            self._restless.add(key)
            if new is not None:
                self.index.add(key, new)
            self._reindex(key, replaced, versions)

    def _tell_copies(self, key: Pubkey, before: AccountState | None) -> None:
        if self._copies:
            for copy in self._copies:
                copy.changed.setdefault(key, before)

    def copied(self) -> AccountsCopy:
        """Return what the accounts are now, for `put_back`; it costs no more than what is not final yet."""
        copy = AccountsCopy(_copied_lists(self._versions), _copied_keys(self._touched))
        self._copies.add(copy)
        return copy

    def put_back(self, copy: AccountsCopy) -> list[Pubkey]:
        """Become again what a copy was taken of, and return the accounts that changed by it."""
        changed = dict(copy.changed)
        for key, state in changed.items():
            newest = AccountState.of(self.current(key))
            self._tell_copies(key, newest)
            self._source.set_account(key, _account(state) or empty_account())
            self._exchange(key, newest, [state, *(version for _, version in copy.versions.get(key, ()))])
        self._versions = _copied_lists(copy.versions)
        self._touched = _copied_keys(copy.touched)
        # Which identities changed is not kept: every account with versions is looked at once more.
        self._restless = set(self._versions)
        copy.changed.clear()
        return list(changed)

    def _exchange(
        self, key: Pubkey, newest: AccountState | None, states: Iterable[AccountState | None]
    ) -> None:
        living = [state.identity for state in states if state is not None]
        if newest is not None:
            self.index.discard(key, newest.identity, living)
        for identity in living:
            self.index.add(key, identity)

    def touched(self, slot: int) -> Iterator[Pubkey]:
        """Iterate over the addresses that changed in a slot that is not compacted yet."""
        return iter(self._touched.get(slot, ()))

    def finalize(self, slot: int) -> None:
        """Forget the versions that a final slot replaced."""
        for key in self._touched.pop(slot, ()):
            versions = self._versions[key]
            keep = len(versions) - 1
            while keep and versions[keep][0] > slot:
                keep -= 1
            dropped, kept = versions[:keep], versions[keep:]
            self._settle(key, kept)
            if key in self._restless:
                self._reindex(key, dropped, kept)

    def _settle(self, key: Pubkey, kept: list[Version]) -> None:
        if len(kept) > 1:
            self._versions[key] = kept
        else:
            del self._versions[key]

    def _reindex(self, key: Pubkey, dropped: list[Version], kept: list[Version]) -> None:
        living = [state.identity for _, state in kept if state is not None]
        for identity in {state.identity for _, state in dropped if state is not None}:
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
        self._tell_copies(key, versions[-1][1])
        kept = [version for version in versions if version[0] <= slot]
        dropped = versions[len(kept) :]
        self._source.set_account(key, _account(kept[-1][1]) or empty_account())
        self._settle(key, kept)
        if key in self._restless:
            self._reindex(key, dropped, kept)


def _copied_lists(versions: dict[Pubkey, list[Version]]) -> dict[Pubkey, list[Version]]:
    return {key: list(kept) for key, kept in versions.items()}


def _copied_keys(touched: dict[int, Keys]) -> dict[int, Keys]:
    return {slot: dict(keys) for slot, keys in touched.items()}


def _account(state: AccountState | None) -> Account | None:
    return None if state is None else state.account
