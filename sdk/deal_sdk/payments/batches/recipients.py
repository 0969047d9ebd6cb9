"""Who the lines of a batch stand for, and which lines cannot be paid whatever the balance is."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from deal_sdk.errors import IdempotencyConflictError, InvalidInputError, TokenError, UserNotFoundError
from deal_sdk.payments.batches.lines import CheckedLine, ExternalId, LineProblem, problem_of, refuse
from deal_sdk.payments.orders import Party
from deal_sdk.payments.parties import PartyResolver
from deal_sdk.payments.rails import SafetyRails
from deal_sdk.records import Database
from deal_sdk.records.fingerprint import fingerprint_of
from deal_sdk.records.tables import token_transactions, users

MAX_KEYS_PER_QUERY: Final = 5_000


@dataclass(frozen=True, slots=True)
class Payee:
    """A line with the wallet that it pays."""

    line: CheckedLine
    party: Party
    fingerprint: str | None
    """Of the caller's own key, by which an earlier payment under it is known; None without a key."""
    is_replay: bool = False
    """Whether the key stands for a payment already, so that nothing is to be paid."""


class Recipients:
    """Turns lines into payees, many at a time."""

    def __init__(self, database: Database, parties: PartyResolver, rails: SafetyRails) -> None:
        """Wire the parts; nothing is read yet."""
        self._database = database
        self._parties = parties
        self._rails = rails

    async def resolve(self, lines: Sequence[CheckedLine], source: Party) -> list[Payee]:
        """Find everybody, and refuse the batch when somebody cannot be paid.

        Args:
            lines: of one batch; those whose keys were used before with the same input stay.
            source: the wallet that pays.

        Raises:
            BatchInvalidError: naming every line whose recipient is nobody, is paid twice without keys
                that tell the payments apart, is ruled out by a safety rail, or whose key was used with
                other input.
            DatabaseError: when they could not be looked up.
        """
        references, problems = await self._references(lines)
        known = [line for line in lines if line.position in references]
        parties = await self._parties.resolve_many([references[line.position] for line in known])
        wanted = [
            (line, references[line.position], party) for line, party in zip(known, parties, strict=True)
        ]
        payees, unpayable = await asyncio.to_thread(self._payees, wanted, source)
        keys = [payee.line.key for payee in payees if payee.line.key is not None]
        used = await fingerprints_by_key(self._database, keys)
        refuse([*problems, *unpayable, *_used_otherwise(payees, used)])
        if not used:
            return payees
        return [replace(payee, is_replay=True) if payee.line.key in used else payee for payee in payees]

    def _payees(
        self, wanted: Sequence[tuple[CheckedLine, UUID | str, Party | TokenError]], source: Party
    ) -> tuple[list[Payee], list[LineProblem]]:
        payees: list[Payee] = []
        problems: list[LineProblem] = []
        for line, reference, party in wanted:
            try:
                payees.append(self._payee(line, reference, party, source))
            except TokenError as error:
                problems.append(problem_of(line.line, error))
        return payees, [*problems, *_repeated(payees)]

    async def _references(
        self, lines: Sequence[CheckedLine]
    ) -> tuple[dict[int, UUID | str], list[LineProblem]]:
        external = {line.reference.text for line in lines if isinstance(line.reference, ExternalId)}
        ids = await self._users_by_external_id(sorted(external))
        references: dict[int, UUID | str] = {}
        problems: list[LineProblem] = []
        for line in lines:
            reference = line.reference
            if not isinstance(reference, ExternalId):
                references[line.position] = reference
            elif reference.text in ids:
                references[line.position] = ids[reference.text]
            else:
                problems.append(problem_of(line.line, UserNotFoundError("no user has this external id")))
        return references, problems

    async def _users_by_external_id(self, external: Sequence[str]) -> dict[str, UUID]:
        found: dict[str, UUID] = {}
        for start in range(0, len(external), MAX_KEYS_PER_QUERY):
            part = external[start : start + MAX_KEYS_PER_QUERY]
            query = sa.select(users.c.external_id, users.c.id).where(users.c.external_id.in_(part))
            found |= {text: user_id for text, user_id in await self._database.fetch(query)}
        return found

    def _payee(
        self, line: CheckedLine, reference: UUID | str, party: Party | TokenError, source: Party
    ) -> Payee:
        if isinstance(party, TokenError):
            raise party
        if party.token_account == source.token_account:
            raise InvalidInputError("the wallet that pays cannot pay itself")
        self._rails.check_parts(line.amount, party)
        return Payee(line, party, None if line.key is None else _fingerprint(line, reference))


async def fingerprints_by_key(database: Database, keys: Sequence[str]) -> dict[str, str]:
    """Return the fingerprints of the payments that keys were used for."""
    column = token_transactions.c
    found: dict[str, str] = {}
    for start in range(0, len(keys), MAX_KEYS_PER_QUERY):
        part = keys[start : start + MAX_KEYS_PER_QUERY]
        query = sa.select(column.idempotency_key, column.fingerprint).where(column.idempotency_key.in_(part))
        found |= {key: fingerprint for key, fingerprint in await database.fetch(query)}
    return found


def _fingerprint(line: CheckedLine, reference: UUID | str) -> str:
    """Return the fingerprint that `distribute_reward` gives the same key for the same reward."""
    return fingerprint_of(
        type="reward",
        reason=line.reward_type,
        to=reference,
        reward_type=line.reward_type,
        amount=line.amount,
    )


def _used_otherwise(payees: Sequence[Payee], used: Mapping[str, str]) -> Iterator[LineProblem]:
    """Find keys that stand for other payments than the lines ask for."""
    for payee in payees:
        key = payee.line.key
        if key is not None and used.get(key, payee.fingerprint) != payee.fingerprint:
            yield LineProblem(
                payee.line.line, IdempotencyConflictError.code, "the key was used before with other input"
            )


def _repeated(payees: Sequence[Payee]) -> Iterator[LineProblem]:
    """Find recipients that occur again without keys of their own, and keys that occur again."""
    by_account: defaultdict[str, list[CheckedLine]] = defaultdict(list)
    by_key: defaultdict[str, list[CheckedLine]] = defaultdict(list)
    for payee in payees:
        by_account[payee.party.token_account].append(payee.line)
        if payee.line.key is not None:
            by_key[payee.line.key].append(payee.line)
    for lines in by_account.values():
        if len(lines) > 1 and any(line.key is None for line in lines):
            for line in lines[1:]:
                text = f"pays the recipient of line {lines[0].line} again; give each a key of its own"
                yield LineProblem(line.line, InvalidInputError.code, text)
    for lines in by_key.values():
        for line in lines[1:]:
            yield LineProblem(line.line, InvalidInputError.code, f"repeats the key of line {lines[0].line}")
