"""A user's credits as a plain model: lots in a list, spent in their turn, ended as time goes on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from deal_sdk.accounting import CreditLot

HOLD_SECONDS = 30
_NEVER = datetime.max.replace(tzinfo=UTC)

Parts = list[tuple["Lot", int]]


@dataclass(eq=False)
class Lot:
    """Credits of one grant; the pool is the lot of all that have no other."""

    priority: int
    expires_at: datetime | None
    age: int
    remaining: int
    held: int = 0

    @property
    def free(self) -> int:
        return self.remaining - self.held


@dataclass
class Hold:
    """A hold, and what it took from where."""

    amount: int
    expires_at: datetime
    parts: Parts
    state: str = "live"
    taken: int = 0


@dataclass
class Wallet:
    """A user's credits."""

    now: datetime
    spent: int = 0
    pool: Lot = field(default_factory=lambda: Lot(50, None, -1, 0))
    lots: list[Lot] = field(default_factory=list)
    holds: dict[UUID, Hold] = field(default_factory=dict)
    debits: dict[UUID, Parts] = field(default_factory=dict)
    """What may still be given back, in the order in which it was taken."""
    made_at: dict[UUID, datetime] = field(default_factory=dict)
    folded: dict[UUID, Parts] = field(default_factory=dict)

    @classmethod
    def taken_over(cls, now: datetime, lots: Sequence[CreditLot], spent: int) -> Wallet:
        wallet = cls(now, spent)
        for age, lot in enumerate(lots):
            if lot.id is None:
                wallet.pool.remaining = lot.remaining
            else:
                wallet.lots.append(Lot(lot.priority, lot.expires_at, age, lot.remaining))
        return wallet

    @property
    def balance(self) -> int:
        return sum(lot.remaining for lot in self.everything)

    @property
    def held(self) -> int:
        return sum(hold.amount for hold in self.holds.values() if hold.state == "live")

    @property
    def available(self) -> int:
        return self.balance - self.held

    @property
    def everything(self) -> list[Lot]:
        lots = [self.pool, *self.lots]
        return sorted(lots, key=lambda lot: (lot.priority, lot.expires_at or _NEVER, lot.age))

    def shown(self) -> list[tuple[int, datetime | None, int]]:
        shown = [lot for lot in self.everything if lot.remaining or lot.held]
        return [(lot.priority, lot.expires_at, lot.remaining) for lot in shown]

    def grant(self, amount: int, lifetime: int | None, priority: int) -> None:
        if lifetime is None and priority == 50:
            self.pool.remaining += amount
            return
        expires_at = None if lifetime is None else self.now + timedelta(seconds=lifetime)
        self.lots.append(Lot(priority, expires_at, len(self.lots) + 1_000, amount))

    def debit(self, entry_id: UUID, amount: int) -> None:
        self.spent += amount
        self.made_at[entry_id] = self.now
        self.debits[entry_id] = self._take(((lot, lot.free) for lot in self.everything), amount)

    def reset(self, balance: int) -> None:
        change = balance - self.balance
        if change > 0:
            self.pool.remaining += change
        self._take(((lot, lot.free) for lot in self.everything), max(0, -change))

    def refundable(self, entry_id: UUID) -> int:
        return sum(part for _, part in self.debits[entry_id])

    def refund(self, entry_id: UUID, amount: int) -> None:
        kept: Parts = []
        for lot, part in reversed(self.debits[entry_id]):
            given = min(part, amount)
            lot.remaining += given
            amount -= given
            kept.insert(0, (lot, part - given))
        self.debits[entry_id] = kept

    def fold(self) -> None:
        old = [entry_id for entry_id in self.debits if self.made_at[entry_id] < self.now]
        self.folded.update((entry_id, self.debits.pop(entry_id)) for entry_id in old)

    def hold(self, hold_id: UUID, amount: int) -> None:
        parts = self._draw(((lot, lot.free) for lot in self.everything), amount)
        for lot, part in parts:
            lot.held += part
        self.holds[hold_id] = Hold(amount, self.now + timedelta(seconds=HOLD_SECONDS), parts)

    def post(self, hold_id: UUID, entry_id: UUID, amount: int) -> None:
        hold = self.holds[hold_id]
        self._end(hold, "posted")
        hold.taken = amount
        self.spent += amount
        self.made_at[entry_id] = self.now
        self.debits[entry_id] = self._take(hold.parts, amount)

    def void(self, hold_id: UUID) -> None:
        if self.holds[hold_id].state == "live":
            self._end(self.holds[hold_id], "voided")

    def live_until(self, now: datetime) -> None:
        """Let holds and lots end when their time comes, one after another."""
        live = [hold for hold in self.holds.values() if hold.state == "live" and hold.expires_at <= now]
        for hold in sorted(live, key=lambda hold: hold.expires_at):
            self._end(hold, "expired")
            self._settle(hold.expires_at)
        self._settle(now)
        self.now = now

    def _settle(self, at: datetime) -> None:
        for lot in self.lots:
            if lot.expires_at is not None and lot.expires_at <= at:
                lot.remaining = lot.held
        for lot in self.everything:
            if lot is not self.pool and self.pool.remaining < 0:
                paid = min(lot.free, -self.pool.remaining)
                lot.remaining -= paid
                self.pool.remaining += paid

    def _end(self, hold: Hold, state: str) -> None:
        hold.state = state
        for lot, part in hold.parts:
            lot.held -= part

    def _take(self, sources: Iterable[tuple[Lot, int]], amount: int) -> Parts:
        parts = self._draw(sources, amount)
        for lot, part in parts:
            lot.remaining -= part
        return parts

    def _draw(self, sources: Iterable[tuple[Lot, int]], amount: int) -> Parts:
        """Share an amount out in turn; what nothing covers is the pool's debt, wherever the pool stands."""
        shares: dict[Lot, int] = {}
        for lot, available in sources:
            part = max(0, min(available, amount))
            amount -= part
            if part or lot is self.pool:
                shares[lot] = part
        if amount:
            shares[self.pool] = shares.get(self.pool, 0) + amount
        return [(lot, part) for lot, part in shares.items() if part]
