"""Which credits are spent first: lots by priority, expiry and age, as rules without a database.

Owns what happens to the lots of an account when its balance moves. Credits in no lot are the pool: what a
balance holds beyond its lots. It has the default priority, never expires, and is older than every lot of
its kind; a debt is in it alone, until the next free lot pays it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import UUID

from deal_sdk.records.lot_tables import DEFAULT_LOT_PRIORITY

_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_POOL_TURN: Final = (DEFAULT_LOT_PRIORITY, _NEVER, UUID(int=0))


class Holder(Protocol):
    """What the rules read of an account, and keep of it."""

    id: UUID
    balance: int
    held: int
    in_lots: int


@dataclass(slots=True)
class Lot:
    """Credits that were granted together."""

    id: UUID
    """Of the transfer that granted it."""
    account_id: UUID
    priority: int
    amount: int
    remaining: int
    held: int
    expires_at: datetime | None
    created_at: datetime
    expired_at: datetime | None = None
    """When its first expiry was entered; what comes back to it later expires then."""
    is_new: bool = False
    changed: bool = False

    @property
    def free(self) -> int:
        """Return what is left of it and in no hold."""
        return self.remaining - self.held

    @property
    def turn(self) -> tuple[int, datetime, UUID]:
        """Return when it is spent: by priority, then expiry, then age, with which ids rise."""
        return self.priority, self.expires_at or _NEVER, self.id

    def has_lapsed(self, now: datetime) -> bool:
        """Return whether its time is over."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(slots=True)
class Burn:
    """What a debit took of a lot, and what refunds gave back to it."""

    transfer_id: UUID
    lot_id: UUID
    amount: int
    returned: int = 0
    is_new: bool = False
    changed: bool = False


@dataclass(slots=True)
class Lots:
    """The lots that one transaction may touch.

    Of an account with many lots only the first ones are known, as many as its operations can spend.
    """

    known: dict[UUID, Lot] = field(default_factory=dict)
    by_account: dict[UUID, list[Lot]] = field(default_factory=dict)
    burns: dict[UUID, list[Burn]] = field(default_factory=dict)
    """By the debit's transfer."""
    reserved: dict[UUID, dict[UUID, int]] = field(default_factory=dict)
    """By hold, what it put aside of each lot."""
    new_holds: set[UUID] = field(default_factory=set)
    fronts: dict[UUID, int] = field(default_factory=dict)
    """What the known lots can still give, of the accounts of which not all are known."""
    held_unknown: dict[UUID, int] = field(default_factory=dict)
    """By account, what holds put aside of lots that are not known."""

    def add(self, lot: Lot) -> None:
        """Know of a lot."""
        self.known[lot.id] = lot
        insort(self.by_account.setdefault(lot.account_id, []), lot, key=_turn)

    def grant(self, account: Holder, lot: Lot) -> None:
        """Make a lot; the account's balance holds it already."""
        lot.is_new = True
        self.add(lot)
        account.in_lots += lot.remaining

    def burn(self, account: Holder, transfer_id: UUID, amount: int) -> None:
        """Take what a debit took of the balance out of the lots whose turn it is."""
        parts = _draw(self._sources(account, amount), self._pool(account) + amount, amount)
        self._take(account, transfer_id, parts)

    def reserve(self, account: Holder, hold_id: UUID, amount: int) -> None:
        """Put aside from lots, in the order in which a debit would burn them; not yet counted as held."""
        parts = list(_draw(self._sources(account, amount), self._pool(account), amount))
        for lot, part in parts:
            lot.held += part
            lot.changed = True
        if parts:
            self.reserved[hold_id] = {lot.id: part for lot, part in parts}
            self.new_holds.add(hold_id)

    def release(self, hold_id: UUID) -> None:
        """Give what a hold put aside back to the same lots."""
        for lot_id, amount in self.reserved.get(hold_id, {}).items():
            lot = self.known[lot_id]
            lot.held -= amount
            lot.changed = True

    def post(self, account: Holder, hold_id: UUID, held: int, transfer_id: UUID, amount: int) -> None:
        """Burn what a hold put aside, or the part of it that was taken; it is released already."""
        parts = self.reserved.get(hold_id, {})
        lots = sorted((self.known[lot_id] for lot_id in parts), key=_turn)
        sources = [(lot, parts[lot.id]) for lot in lots]
        self._take(account, transfer_id, _draw(sources, held - sum(parts.values()), amount))

    def give_back(self, account: Holder, transfer_id: UUID, amount: int, refundable: int) -> None:
        """Return a refund to the lots that its debit burned, the last one burned first.

        Args:
            account: whose debit it was.
            transfer_id: the debit.
            amount: of the refund.
            refundable: what of the debit was not given back before.
        """
        burns = {burn.lot_id: burn for burn in self.burns.get(transfer_id, ())}
        lots = sorted((self.known[lot_id] for lot_id in burns), key=_turn)
        sources = [(lot, burns[lot.id].amount - burns[lot.id].returned) for lot in lots]
        pooled = refundable - sum(left for _, left in sources)
        for lot, part in _draw(sources, pooled, amount, is_reversed=True):
            burns[lot.id].returned += part
            burns[lot.id].changed = True
            _move(account, lot, part)

    def lapsed(self, account: Holder, now: datetime) -> list[Lot]:
        """Return the lots with free credits whose time is over, in their turn."""
        return [lot for lot in self._of(account) if lot.free > 0 and lot.has_lapsed(now)]

    def empty(self, account: Holder, lot: Lot, now: datetime) -> None:
        """Take all that is free out of a lot that has expired."""
        lot.expired_at = lot.expired_at or now
        _move(account, lot, -lot.free)

    def settle(self, account: Holder) -> None:
        """Let free lots pay a debt, in their turn, so that none stands beside credits that could."""
        debt = account.in_lots - account.balance
        if debt > 0:
            for lot, part in _draw([(lot, lot.free) for lot in self._of(account)], 0, debt):
                _move(account, lot, -part)

    def _of(self, account: Holder) -> Sequence[Lot]:
        return self.by_account.get(account.id, ())

    def _sources(self, account: Holder, amount: int) -> list[tuple[Lot, int]]:
        """Return the lots to draw an amount from, in their turn, and how much each can give."""
        if account.id in self.fronts:
            self.fronts[account.id] -= amount
            if self.fronts[account.id] < 0:
                raise RuntimeError("an operation spends lots that were not read")
        return [(lot, lot.free) for lot in self._of(account)]

    def _pool(self, account: Holder) -> int:
        """Return what may be spent of the pool; less than nothing where debts are in it."""
        held_of_lots = sum(lot.held for lot in self._of(account)) + self.held_unknown.get(account.id, 0)
        return account.balance - account.in_lots - (account.held - held_of_lots)

    def _take(self, account: Holder, transfer_id: UUID, parts: Iterable[tuple[Lot, int]]) -> None:
        for lot, part in parts:
            _move(account, lot, -part)
            self.burns.setdefault(transfer_id, []).append(Burn(transfer_id, lot.id, part, is_new=True))


def _turn(lot: Lot) -> tuple[int, datetime, UUID]:
    return lot.turn


def pool_turn() -> tuple[int, datetime, UUID]:
    """Return when the credits in no lot are spent; see `Lot.turn`."""
    return _POOL_TURN


def _move(account: Holder, lot: Lot, change: int) -> None:
    lot.remaining += change
    lot.changed = True
    account.in_lots += change


def _draw(
    sources: list[tuple[Lot, int]], pool: int, amount: int, *, is_reversed: bool = False
) -> Iterator[tuple[Lot, int]]:
    """Yield what of an amount falls to each lot; what is left after the last is the pool's debt.

    Args:
        sources: lots in their turn, and how much each can give.
        pool: how much the pool can give, when its turn comes.
        amount: what is asked for.
        is_reversed: draw in the opposite order.
    """
    turns: list[tuple[Lot | None, int]] = [one for one in sources if one[0].turn < _POOL_TURN]
    late = [one for one in sources if one[0].turn > _POOL_TURN]
    turns += [(None, max(pool, 0)), *late]
    for lot, available in reversed(turns) if is_reversed else turns:
        part = min(available, amount)
        amount -= part
        if lot is not None and part > 0:
            yield lot, part
