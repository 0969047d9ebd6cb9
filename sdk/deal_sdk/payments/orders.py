"""The values that a payment is made of: who, how much, what to sign, and what it promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from deal_sdk.amounts import BaseUnits
from deal_sdk.errors import InvalidInputError
from deal_sdk.limits import AmountRule, CalendarWindow, PurchaseRule, PurchaseTerms, Rule
from deal_sdk.records.inputs import optional_text

PlanKind = Literal["transfer", "mint", "burn", "charge", "vault_reward", "vault_withdrawal"]
PROGRAM_KINDS: Final = frozenset({"charge", "vault_reward", "vault_withdrawal"})
"""Those that are instructions of the program deal_allowance."""
SignedBy = Literal["backend", "owner", "owner_alone"]
"""Who signs an attempt: the backend's keys; the user's own wallet, after which the backend signs as fee
payer; or the user's wallet alone, which then also pays the fee and could send it without us."""

MAX_REASON_LENGTH: Final = 1_000


@dataclass(frozen=True, slots=True)
class Party:
    """One side of a payment: an address, with the user or the operator wallet behind it."""

    address: str
    token_account: str
    user_id: UUID | None = None
    tier: str | None = None
    operator_name: str | None = None
    is_verified: bool = False
    """Whether the user proved to own the address; only then may a delegation charge it for them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an attempt signs, complete enough to sign it again after a crash.

    `authority` is the address whose signature moves the tokens: the owner, its delegate, or the
    mint authority.
    """

    kind: PlanKind
    authority: str
    source: str | None
    destination: str | None
    destination_owner: str | None
    signed_by: SignedBy = "backend"
    allowance: str | None = None
    """Whose sequence a charge takes; it is the delegate that the owner approved."""
    batch_id: str | None = None
    """With the index, the bit that a reward out of the vault sets."""
    index: int | None = None
    group_id: str | None = None
    """Of charges that were asked for together; those of one group may share a transaction."""

    @property
    def is_sequenced(self) -> bool:
        """Return whether the chain lets one of its transactions happen, however many are signed.

        Only then may it be signed again before the last transaction is proven dead.
        """
        return self.kind == "charge"

    def to_json(self) -> dict[str, Any]:
        """Return the plan as the row of `token_transactions` keeps it."""
        # Written out, because it is done for every payment: `asdict` copies each value by a search.
        written: dict[str, Any] = {
            "kind": self.kind,
            "authority": self.authority,
            "source": self.source,
            "destination": self.destination,
            "destination_owner": self.destination_owner,
            "signed_by": self.signed_by,
        }
        if self.allowance is not None:
            written["allowance"] = self.allowance
        if self.batch_id is not None:
            written |= {"batch_id": self.batch_id, "index": self.index}
        if self.group_id is not None:
            written["group_id"] = self.group_id
        return written

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Read a plan back from its row."""
        return cls(**value)


def transfer_plan(
    sender: Party, recipient: Party, *, authority: str, signed_by: SignedBy = "backend"
) -> Plan:
    """Return the plan that moves tokens between two parties.

    Args:
        sender: whose tokens they are.
        recipient: who receives them.
        authority: the sender, or the delegate that it approved.
        signed_by: whose signature it waits for.

    Raises:
        InvalidInputError: when both are the same wallet.
    """
    if sender.token_account == recipient.token_account:
        raise InvalidInputError("sender and recipient are the same wallet", address=sender.address)
    return Plan(
        "transfer",
        authority,
        sender.token_account,
        recipient.token_account,
        recipient.address,
        signed_by=signed_by,
    )


@dataclass(frozen=True, slots=True)
class PurchaseLimit:
    """The purchase limit that a caller attaches to a transfer, or that the user's policy holds."""

    token_mint: str
    max_purchases: int
    subscription_id: str | None = None
    period_seconds: int | None = None
    """A rolling period in place of the setting's."""
    calendar: CalendarWindow | None = None
    """Days or weeks of a place in place of a rolling period."""
    max_amount_base_units: int | None = None
    """The most that may be paid in a period."""

    def rules(self, user: str, amount_base_units: int, period_seconds: int) -> list[Rule]:
        """Return the rules that a payment must pass.

        Args:
            user: who pays.
            amount_base_units: how much.
            period_seconds: the setting's rolling period.

        Raises:
            InvalidInputError: for a limit that could never be counted.
        """
        seconds = self.period_seconds or period_seconds
        count = PurchaseRule(
            user, self.token_mint, self.max_purchases, self.subscription_id, seconds, self.calendar
        )
        if self.max_amount_base_units is None:
            return [count]
        most = self.max_amount_base_units
        return [count, AmountRule(user, self.token_mint, amount_base_units, most, seconds, self.calendar)]

    def terms(self, amount_base_units: int) -> PurchaseTerms:
        """Return the terms that a payment is counted under, for its purchase's row."""
        return PurchaseTerms(
            # As in the rules: the calendar wins where both are given, and 0 means the setting's.
            period_seconds=None if self.calendar is not None else self.period_seconds or None,
            calendar=self.calendar,
            amount_base_units=amount_base_units,
            max_amount_base_units=self.max_amount_base_units,
        )

    def counts_until(self, created_at: datetime) -> datetime | None:
        """Return until when a purchase may count; None where the setting's period says it."""
        if self.calendar is not None:
            return created_at + timedelta(seconds=self.calendar.longest_seconds)
        return None if self.period_seconds is None else created_at + timedelta(seconds=self.period_seconds)


@dataclass(frozen=True, slots=True)
class Funds:
    """A balance read from the chain, against which a debit is admitted, with the account's one delegate."""

    balance_base_units: int
    slot: int
    delegate: str | None = None
    delegated_base_units: int = 0


@dataclass(frozen=True, slots=True)
class FeeClaim:
    """The accrued fees that a settlement pays: what a user owes out of a token account, up to one row."""

    through_id: int
    fees: int
    """How many they are; with the order's amount they say whether they still are the same."""


@dataclass(frozen=True, slots=True)
class Order:
    """One payment, decided and not yet recorded."""

    payment_id: UUID
    type: str
    amount: BaseUnits
    plan: Plan
    sender: Party | None
    recipient: Party | None
    reason: str | None
    idempotency_key: str | None
    fingerprint: str
    created_at: datetime
    reward_type: str | None = None
    purchase: PurchaseLimit | None = None
    refund_of: UUID | None = None
    claim: FeeClaim | None = None

    @property
    def delegate(self) -> str | None:
        """Return who moves the sender's tokens by an approval; None where the owner signs."""
        if self.plan.kind in PROGRAM_KINDS:
            return self.plan.allowance
        if self.sender is None or self.plan.authority == self.sender.address:
            return None
        return self.plan.authority


def check_reason(reason: str | None) -> str | None:
    """Accept a reason of at most 1,000 characters, or none.

    Raises:
        InvalidInputError: for a longer one, another type, or characters that cannot be stored.
    """
    if reason == "":
        return reason
    return optional_text("reason", reason, max_length=MAX_REASON_LENGTH)
