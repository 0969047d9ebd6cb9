"""What tiers grant and operations cost, in credits; both tables are open to the caller's own rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from deal_sdk.accounting.commands import check_credits, check_operation_type
from deal_sdk.errors import InvalidInputError, UnknownServiceTypeError
from deal_sdk.records.inputs import check_text
from deal_sdk.records.renewal_tables import TIER_LENGTH


class SubscriptionTier(StrEnum):
    """The tiers that every database knows."""

    GIFT = "Gift"
    PROFESSIONAL = "Professional"
    BUSINESS = "Business"


class OperationType(StrEnum):
    """The operations that have a cost without the caller's doing."""

    IMAGE_GENERATION = "image_generation"
    SORA_IMAGE = "sora_image"
    CHATGPT_MESSAGE = "chatgpt_message"
    REFUND = "refund"
    PURCHASE = "purchase"
    MONTHLY_RESET = "monthly_reset"


DEFAULT_COSTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        OperationType.IMAGE_GENERATION.value: 10,
        OperationType.SORA_IMAGE.value: 10,
        OperationType.CHATGPT_MESSAGE.value: 5,
        OperationType.REFUND.value: 0,
        OperationType.PURCHASE.value: 0,
        OperationType.MONTHLY_RESET.value: 0,
    }
)


class OperationCosts:
    """Answers what an operation costs; one without a cost is an error, never free."""

    def __init__(self, added: Mapping[str, int] | None = None) -> None:
        """Take the known costs, and the caller's over them.

        Args:
            added: credits by operation type, each 0 or more.

        Raises:
            InvalidInputError: for a negative cost, or one that is no whole number.
        """
        self._costs = dict(DEFAULT_COSTS)
        for name, credits in (added or {}).items():
            self.set(name, credits)

    def set(self, operation_type: str, credits: int) -> None:
        """Price an operation from now on, in this process.

        Raises:
            InvalidInputError: for a negative cost, or one that is no whole number.
        """
        if check_credits("cost", credits) < 0:
            raise InvalidInputError("a cost cannot be negative", field="cost")
        self._costs[check_operation_type(operation_type)] = credits

    def of(self, operation_type: str) -> int:
        """Return an operation's cost in credits.

        Raises:
            UnknownServiceTypeError: it has none.
        """
        name = check_operation_type(operation_type)
        if name not in self._costs:
            raise UnknownServiceTypeError(f"operation type {name!r} has no cost", service_type=name)
        return self._costs[name]


@dataclass(frozen=True, slots=True)
class TierPlan:
    """What a tier grants in each period, and what it costs."""

    tier: str
    credits: int
    """Granted in each period."""
    price_rub: int = 0
    """Of one period, in whole roubles; a plan without a price is not sold."""
    needs_channel: bool = False
    """Whether only members of the operator's channel have it."""

    @property
    def is_sold(self) -> bool:
        """Return whether somebody can subscribe to it."""
        return self.price_rub > 0


DEFAULT_PLANS: Final = (
    TierPlan(SubscriptionTier.GIFT.value, 100, needs_channel=True),
    TierPlan(SubscriptionTier.PROFESSIONAL.value, 2_000, price_rub=1_990),
    TierPlan(SubscriptionTier.BUSINESS.value, 10_000, price_rub=3_490),
)


class TierPlans:
    """Answers what a tier grants; a tier without a plan grants nothing."""

    def __init__(self, added: Mapping[str, TierPlan] | None = None) -> None:
        """Take the known plans, and the caller's over them.

        Args:
            added: plans by tier.

        Raises:
            InvalidInputError: for credits or a price that cannot be one.
        """
        self._plans = {plan.tier: plan for plan in DEFAULT_PLANS}
        for tier, plan in (added or {}).items():
            check_text("tier", tier, max_length=TIER_LENGTH)
            for name, value in (("credits", plan.credits), ("price_rub", plan.price_rub)):
                if check_credits(name, value) < 0:
                    raise InvalidInputError(f"{name} of a plan cannot be negative", field=name)
            self._plans[tier] = plan

    def find(self, tier: str) -> TierPlan | None:
        """Return a tier's plan, or None where it has none."""
        return self._plans.get(tier)

    def named(self, tier: str) -> TierPlan:
        """Return a tier's plan where a caller named the tier.

        Raises:
            InvalidInputError: for a tier without a plan, which may be a slip of the pen.
        """
        plan = self.find(tier) if isinstance(tier, str) else None
        if plan is None:
            raise InvalidInputError("no plan has this tier", field="tier", value=repr(tier)[:64])
        return plan

    def __iter__(self) -> Iterator[TierPlan]:
        """Return every plan."""
        return iter(self._plans.values())
