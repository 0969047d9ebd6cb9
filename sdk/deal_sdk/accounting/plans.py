"""What tiers grant and operations cost, in credits; both tables are open to the caller's own rows."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from deal_sdk.accounting.commands import check_credits, check_operation_type
from deal_sdk.errors import InvalidInputError, UnknownServiceTypeError


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
