"""What a batch is asked to pay: lines as the caller wrote them, and lines whose form is proven.

A line that cannot be one is named with its place and its reason; all of them together, so that a file
is corrected once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

from deal_sdk.amounts import Amount, BaseUnits, parse_amount
from deal_sdk.errors import BatchInvalidError, InvalidInputError, TokenError
from deal_sdk.records.inputs import check_idempotency_key, check_text

MAX_BATCH_LINES: Final = 1_000_000
MAX_REWARD_TYPE_LENGTH: Final = 64
MAX_BATCH_KEY_LENGTH: Final = 200
"""Shorter than an idempotency key, because each line's own key is made of it."""
EXTERNAL_PREFIX: Final = "ext:"
_UUID_TEXT_LENGTH: Final = 36


@dataclass(frozen=True, slots=True)
class RewardLine:
    """One recipient's reward, as the caller asks for it.

    `recipient` is a user's UUID, `ext:` and the user's external id, a wallet or any address, or an
    operator wallet's name. `amount` is whole tokens, as `str` or `Decimal`. `key` is an idempotency key
    of the caller's own, which is what lets a recipient appear more than once. `line` says where the line
    was written; by default its place among the others, from 1.
    """

    recipient: UUID | str
    amount: Amount
    reward_type: str
    key: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class ExternalId:
    """A user named by the caller's own id."""

    text: str


Reference: TypeAlias = UUID | ExternalId | str


@dataclass(frozen=True, slots=True)
class CheckedLine:
    """A line whose form is proven; whether its recipient exists is not known yet."""

    position: int
    line: int
    reference: Reference
    amount: BaseUnits
    reward_type: str
    key: str | None


@dataclass(frozen=True, slots=True)
class LineProblem:
    """Why a line cannot be paid."""

    line: int
    code: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        """Return the problem as JSON-serialisable data."""
        return {"line": self.line, "code": self.code, "message": self.message}


def problem_of(line: int, error: TokenError) -> LineProblem:
    """Say of a line what an error says of its input."""
    return LineProblem(line, error.code, error.message)


def refuse(problems: Iterable[LineProblem]) -> None:
    """Refuse a batch that has problems.

    Raises:
        BatchInvalidError: naming every one, in the order of the lines.
    """
    found = sorted(problems, key=lambda problem: problem.line)
    if found:
        first = found[0]
        raise BatchInvalidError(
            f"{len(found)} lines of the batch cannot be paid; line {first.line}: {first.message}",
            problems=[problem.to_dict() for problem in found],
        )


def check_batch_key(key: str) -> str:
    """Accept a batch's key of 1 to 200 characters.

    Raises:
        InvalidInputError: for another length or type, or characters that cannot be stored.
    """
    return check_text("batch_key", key, max_length=MAX_BATCH_KEY_LENGTH)


def check_reward_type(reward_type: str) -> str:
    """Accept a reward type of 1 to 64 characters.

    Raises:
        InvalidInputError: for another length or type, or characters that cannot be stored.
    """
    return check_text("reward_type", reward_type, max_length=MAX_REWARD_TYPE_LENGTH)


def check_lines(lines: Sequence[RewardLine], *, decimals: int) -> list[CheckedLine]:
    """Prove the form of every line.

    Args:
        lines: 1 to 1,000,000.
        decimals: the mint's.

    Raises:
        BatchInvalidError: naming every line whose recipient, amount, type or key cannot be one.
        InvalidInputError: for no lines, or too many.
    """
    if not 1 <= len(lines) <= MAX_BATCH_LINES:
        raise InvalidInputError(f"a batch has 1 to {MAX_BATCH_LINES} lines", lines=len(lines))
    checked: list[CheckedLine] = []
    problems: list[LineProblem] = []
    for position, line in enumerate(lines, start=1):
        place = position if line.line is None else line.line
        try:
            checked.append(_check_line(position, place, line, decimals))
        except TokenError as error:
            problems.append(problem_of(place, error))
    refuse(problems)
    return checked


def fingerprint_of_lines(lines: Iterable[CheckedLine]) -> str:
    """Hash what a batch pays, so that a file that was changed under the same key is noticed.

    Where a line is written is left out: a blank line more or a comment changes nobody's reward.
    """
    digest = hashlib.sha256()
    for line in lines:
        reference, key = line.reference, line.key
        text = f"{EXTERNAL_PREFIX}{reference.text}" if isinstance(reference, ExternalId) else str(reference)
        for part in (text, str(line.amount), line.reward_type, "" if key is None else f"={key}"):
            data = part.encode()
            digest.update(len(data).to_bytes(4, "little") + data)
    return digest.hexdigest()


def _check_line(position: int, place: int, line: RewardLine, decimals: int) -> CheckedLine:
    return CheckedLine(
        position=position,
        line=place,
        reference=_reference(line.recipient),
        amount=parse_amount(line.amount, decimals=decimals),
        reward_type=check_reward_type(line.reward_type),
        key=check_idempotency_key(line.key),
    )


def _reference(recipient: UUID | str) -> Reference:
    if isinstance(recipient, UUID):
        return recipient
    text = check_text("recipient", recipient, max_length=255)
    if text.startswith(EXTERNAL_PREFIX):
        return ExternalId(check_text("external id", text.removeprefix(EXTERNAL_PREFIX), max_length=255))
    if len(text) == _UUID_TEXT_LENGTH:
        try:
            return UUID(text)
        except ValueError:
            raise InvalidInputError("the recipient is neither a UUID nor an address") from None
    return text
