"""How far the history of each token account is read, as far as this process knows.

What it says was committed before; it forgets, and then an account is only looked at once more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from deal_sdk.chain import AddressSignature
from deal_sdk.records import TrackedAccount

MAX_ACCOUNTS_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Progress:
    """The slot that an account's history reaches, and what is known to be read of that very slot."""

    signatures: frozenset[str]
    slot: int

    def holds(self, signature: str, slot: int) -> bool:
        """Return whether the history is past a finalized transaction of the account."""
        return slot < self.slot or signature in self.signatures

    def joined(self, earlier: Progress | None) -> Progress:
        """Return this progress with what was known before of the same slot."""
        if earlier is None or earlier.slot != self.slot:
            return self
        return Progress(self.signatures | earlier.signatures, self.slot)


def progress_of(account: TrackedAccount, read: Sequence[AddressSignature]) -> Progress:
    """Return how far an account's history is.

    Args:
        account: as recorded before the reading.
        read: what was read after its cursor, oldest first.
    """
    recorded = frozenset() if account.history_signature is None else {account.history_signature}
    if not read:
        return Progress(frozenset(recorded), account.history_slot)
    slot = read[-1].slot
    found = {entry.signature for entry in read if entry.slot == slot}
    return Progress(frozenset(found | recorded if slot == account.history_slot else found), slot)


class HistoryReach:
    """Remembers the progress of the accounts that were read last."""

    def __init__(self, *, max_accounts: int = MAX_ACCOUNTS_REMEMBERED) -> None:
        """Know nothing yet.

        Args:
            max_accounts: whose progress is remembered, at least 1.
        """
        self._max_accounts = max_accounts
        self._known: OrderedDict[str, Progress] = OrderedDict()

    def note(self, progress: Mapping[str, Progress]) -> dict[str, Progress]:
        """Remember what was committed, and return it with what was known before."""
        joined = {account: found.joined(self._known.get(account)) for account, found in progress.items()}
        for account, found in joined.items():
            self._known[account] = found
            self._known.move_to_end(account)
        while len(self._known) > self._max_accounts:
            self._known.popitem(last=False)
        return joined

    def holds(self, account: str, signature: str, slot: int) -> bool:
        """Return whether an account's history is known to be past a finalized transaction of it."""
        known = self._known.get(account)
        return known is not None and known.holds(signature, slot)
