"""What the program must do, said again in plain Python: an allowance's rules and its token account's."""

from __future__ import annotations

from dataclasses import dataclass, field

from deal_sdk.chain.allowance import AllowanceTerms

INSUFFICIENT_FUNDS = "token error 1"
NOT_THE_DELEGATE = "token error 4"


@dataclass(slots=True)
class ModelOwner:
    """An owner, the token account, and the allowance once it was opened."""

    balance: int
    is_delegate: bool = False
    delegated: int = 0
    terms: AllowanceTerms | None = None
    is_open: bool = False
    period_start: int = 0
    spent: int = 0
    next_sequence: int = 0
    total: int = 0

    def approve(self, amount: int, *, is_ours: bool) -> None:
        """Replace the delegate."""
        self.is_delegate, self.delegated = is_ours, amount


@dataclass(slots=True)
class Model:
    """The merchant and its owners; each method returns the refusal, or None and then it has happened."""

    now: int
    owners: list[ModelOwner]
    authority: int = 0
    pending: int | None = None
    is_paused: bool = False
    treasury: int = 0
    paid: dict[int, int] = field(default_factory=dict)

    def govern(self, actor: int) -> str | None:
        """Judge whether an actor may govern."""
        return None if actor == self.authority else "WrongAuthority"

    def accept(self, actor: int) -> str | None:
        """Hand the authority over."""
        if actor != self.pending:
            return "NotProposed"
        self.authority, self.pending = actor, None
        return None

    def open(self, owner: ModelOwner, terms: AllowanceTerms, *, amount: int | None) -> str | None:
        """Open, with an approval of an amount before it in the transaction where one is given."""
        before = (owner.is_delegate, owner.delegated)
        if amount is not None:
            owner.approve(amount, is_ours=True)
        refusal = self._open_refusal(owner, terms)
        if refusal is not None:
            owner.is_delegate, owner.delegated = before
            return refusal
        owner.terms, owner.is_open = terms, True
        owner.period_start, owner.spent = self.now, 0
        return None

    def _open_refusal(self, owner: ModelOwner, terms: AllowanceTerms) -> str | None:
        if self.is_paused:
            return "MerchantPaused"
        if not owner.is_delegate:
            return "NotDelegate"
        if not self._is_possible(terms):
            return "InvalidTerms"
        return "AllowanceOpen" if owner.is_open else None

    def change(self, owner: ModelOwner, terms: AllowanceTerms) -> str | None:
        """Put other terms in place."""
        refusal = self._not_open(owner)
        if refusal is not None:
            return refusal
        if not self._is_possible(terms):
            return "InvalidTerms"
        self._roll(owner)
        owner.terms = terms
        return None

    def close(self, owner: ModelOwner) -> str | None:
        """Close."""
        refusal = self._not_open(owner)
        owner.is_open = False
        return refusal

    def charge(self, actor: int, owner: ModelOwner, amount: int, sequence: int) -> str | None:
        """Charge."""
        if actor != self.authority:
            return "WrongAuthority"
        if owner.terms is None:
            return "WrongAccountOwner"
        start, spent = self._rolled(owner)
        refusal = self._charge_refusal(owner, owner.terms, amount, sequence, spent)
        if refusal is not None:
            return refusal
        owner.period_start, owner.spent = start, spent + amount
        owner.next_sequence += 1
        owner.total += amount
        owner.balance -= amount
        owner.delegated -= amount
        owner.is_delegate = owner.delegated > 0
        self.treasury += amount
        return None

    def _charge_refusal(
        self, owner: ModelOwner, terms: AllowanceTerms, amount: int, sequence: int, spent: int
    ) -> str | None:
        if sequence != owner.next_sequence:
            return "WrongSequence"
        if not owner.is_open:
            return "AllowanceClosed"
        if self.is_paused:
            return "MerchantPaused"
        if terms.expires_at and self.now >= terms.expires_at:
            return "AllowanceExpired"
        if amount == 0:
            return "ZeroAmount"
        if amount > terms.max_per_charge_base_units:
            return "OverChargeLimit"
        if spent + amount > terms.cap_per_period_base_units:
            return "OverPeriodCap"
        if amount > owner.balance:
            return INSUFFICIENT_FUNDS
        if not owner.is_delegate:
            return NOT_THE_DELEGATE
        return INSUFFICIENT_FUNDS if amount > owner.delegated else None

    def reward(self, actor: int, index: int, amount: int, *, capacity: int, vault: int) -> str | None:
        """Pay a reward."""
        if actor != self.authority:
            return "WrongAuthority"
        if self.is_paused:
            return "MerchantPaused"
        if index >= capacity:
            return "IndexOutOfRange"
        if index in self.paid:
            return "AlreadyPaid"
        if amount == 0:
            return "ZeroAmount"
        if amount > vault - sum(self.paid.values()):
            return INSUFFICIENT_FUNDS
        self.paid[index] = amount
        return None

    def _is_possible(self, terms: AllowanceTerms) -> bool:
        return (
            60 <= terms.period_seconds <= 10 * 366 * 86_400
            and 0 < terms.max_per_charge_base_units <= terms.cap_per_period_base_units
            and not (terms.expires_at and self.now >= terms.expires_at)
        )

    @staticmethod
    def _not_open(owner: ModelOwner) -> str | None:
        if owner.terms is None:
            return "WrongAccountOwner"
        return None if owner.is_open else "AllowanceClosed"

    def _roll(self, owner: ModelOwner) -> None:
        owner.period_start, owner.spent = self._rolled(owner)

    def _rolled(self, owner: ModelOwner) -> tuple[int, int]:
        assert owner.terms is not None
        elapsed = max(self.now - owner.period_start, 0)
        periods = elapsed // owner.terms.period_seconds
        if periods == 0:
            return owner.period_start, owner.spent
        return owner.period_start + periods * owner.terms.period_seconds, 0
