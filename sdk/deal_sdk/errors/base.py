"""The base of every error, and what an error says about the money."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Self


class Outcome(StrEnum):
    """What an error says about the money."""

    NOT_SENT = "not_sent"
    """No signed transaction left; nothing can land."""
    UNKNOWN = "unknown"
    """It may have landed or may still land; the reconciler finds out."""
    FAILED_ON_CHAIN = "failed_on_chain"
    """Proven: it landed as failed or can never land."""


class TokenError(Exception):
    """The base of every error that this package raises."""

    code: ClassVar[str] = "token_error"
    retryable: ClassVar[bool] = False
    outcome: Outcome = Outcome.NOT_SENT

    def __init__(self, message: str, **facts: Any) -> None:
        """Keep the message and the facts behind it.

        Args:
            message: one sentence for a person, without secrets.
            facts: what a program needs to act on it; JSON-serialisable.
        """
        super().__init__(message)
        self.message = message
        self.facts: Mapping[str, Any] = facts

    def told(self, *, outcome: Outcome, **facts: Any) -> Self:
        """Return a copy that says more, for one caller of several who share this error.

        Args:
            outcome: what this caller must believe about the money.
            facts: what only this caller's error knows, such as its payment.
        """
        copy = type(self).__new__(type(self), self.message)
        copy.__dict__.update(self.__dict__)
        copy.outcome = outcome
        copy.facts = {**self.facts, **facts}
        return copy

    def to_dict(self) -> dict[str, Any]:
        """Return the error as plain data for a log line or an HTTP reply."""
        return {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            "outcome": str(self.outcome),
            **self.facts,
        }
