"""Records a batch and its payments: thousands of rows in one SQL transaction, each its own promise.

Payments are recorded in the order of the lines and in chunks. A chunk is recorded as a whole or not at
all, together with how far the batch has come, so that a batch that was cut short goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from solders.pubkey import Pubkey
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.clock import Clock
from deal_sdk.errors import ConstraintError, DatabaseError, IdempotencyConflictError, Outcome
from deal_sdk.payments.batches.planning import Planned
from deal_sdk.payments.batches.recipients import Payee
from deal_sdk.payments.batches.shares import Share
from deal_sdk.payments.orders import Funds, Party, Plan
from deal_sdk.payments.outbox import NO_OUTBOX, PaymentOutbox
from deal_sdk.payments.rails import SafetyRails, refuse_when_paused, take_daily_amount
from deal_sdk.payments.reservations import admit_total, lock_accounts, sum_reservations
from deal_sdk.records import Database, payment_batches
from deal_sdk.records.row_inserts import insert_rows
from deal_sdk.records.tables import balance_reservations, token_rewards, token_transactions

MAX_RECORDED_TOGETHER: Final = 2_000
_MAX_RECORD_ATTEMPTS: Final = 3
_KEYS_PER_QUERY: Final = 5_000


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the database holds it."""

    id: UUID
    key: str
    fingerprint: str
    source_address: str
    source_account: str
    lines: int
    recorded_lines: int
    total_amount: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RecordedLines:
    """The batch as it is stored, and what its new lines are to pay; lines recorded before bring nothing."""

    batch: Batch
    shares: tuple[Share, ...]


class BatchRecorder:
    """Writes batches and their members."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        rails: SafetyRails,
        *,
        outbox: PaymentOutbox = NO_OUTBOX,
        lease_owner: UUID | None = None,
    ) -> None:
        """Record into a database, within the operator's rails, and tell webhooks in the same transactions."""
        self._database = database
        self._clock = clock
        self._rails = rails
        self._outbox = outbox
        self._lease_owner = lease_owner

    async def find(self, key: str) -> Batch | None:
        """Return the batch that a key stands for, or None."""
        return await self._database.read(
            lambda connection: _batch_where(connection, payment_batches.c.key == key)
        )

    async def get(self, batch_id: UUID) -> Batch | None:
        """Return a batch by its id, or None."""
        return await self._database.read(
            lambda connection: _batch_where(connection, payment_batches.c.id == batch_id)
        )

    async def record(
        self, batch: Batch, source: Party, planned: Sequence[Planned], funds: Funds, required: int
    ) -> RecordedLines:
        """Record the next lines of a batch, and the batch itself with its first.

        Args:
            batch: whose `recorded_lines` end right before the first of what is planned.
            source: the wallet that pays.
            planned: at most `MAX_RECORDED_TOGETHER`, in the order of their lines.
            funds: the wallet's balance.
            required: base units that this and everything after it in the batch will take.

        Returns:
            The batch as it is stored, and what is to be paid now: lines whose own keys were used before
            are paid already, and lines that were recorded before are for a resume to take up.

        Raises:
            InsufficientBalanceError, SafetyRailError, PaymentsPausedError: nothing of this was recorded.
            IdempotencyConflictError: another batch has the key, or a line's key was just used otherwise.
            DatabaseError: whether it was recorded is unknown; the same call again finds out.
        """
        for attempt in range(1, _MAX_RECORD_ATTEMPTS + 1):
            try:
                recorded = await self._database.run(
                    lambda connection: self._record_in(connection, batch, source, planned, funds, required)
                )
            except ConstraintError:
                # Another process used one of the keys meanwhile; the next look finds its payment.
                if attempt == _MAX_RECORD_ATTEMPTS:
                    raise
            except DatabaseError as error:
                raise error.told(outcome=Outcome.UNKNOWN, batch_key=batch.key) from error
            else:
                self._outbox.committed()
                self._rails.note_payments(source.address, len(recorded.shares))
                return recorded
        raise AssertionError("the last attempt returns or raises")

    async def _record_in(
        self,
        connection: AsyncConnection,
        batch: Batch,
        source: Party,
        planned: Sequence[Planned],
        funds: Funds,
        required: int,
    ) -> RecordedLines:
        await refuse_when_paused(connection)
        now = self._clock.now()
        await lock_accounts(connection, self._database, {source.token_account: source})
        stored = await self._begin(connection, batch, now)
        first, last = planned[0].share.position, planned[-1].share.position
        if stored.recorded_lines >= first:
            # The commit whose answer was lost, or another process with the same file, recorded them.
            return RecordedLines(stored, ())
        await self._check_funds(connection, source, funds, required)
        new = await _without_replays(connection, planned)
        if new:
            await self._insert(connection, stored, source, new, now)
        recorded = payment_batches.update().where(payment_batches.c.id == stored.id)
        await connection.execute(recorded.values(recorded_lines=last, updated_at=now))
        return RecordedLines(replace(stored, recorded_lines=last), tuple(one.share for one in new))

    async def _begin(self, connection: AsyncConnection, batch: Batch, now: datetime) -> Batch:
        row = {
            "id": batch.id,
            "key": batch.key,
            "fingerprint": batch.fingerprint,
            "source_address": batch.source_address,
            "source_account": batch.source_account,
            "lines": batch.lines,
            "recorded_lines": 0,
            "total_amount": batch.total_amount,
            "created_at": now,
            "updated_at": now,
        }
        insert = self._database.insert(payment_batches).values(row)
        await connection.execute(insert.on_conflict_do_nothing(index_elements=["key"]))
        stored = await _batch_where(connection, payment_batches.c.key == batch.key, lock=True)
        assert stored is not None
        check_same_lines(stored, batch.fingerprint)
        return stored

    async def _check_funds(
        self, connection: AsyncConnection, source: Party, funds: Funds, required: int
    ) -> None:
        left = await self._rails.left_today(connection, [source.address])
        refusal = take_daily_amount(left, source.address, required)
        if refusal is not None:
            raise refusal
        reserved = await sum_reservations(connection, [source.token_account], funds.slot)
        admit_total(funds, source.token_account, reserved, required)

    async def _insert(
        self,
        connection: AsyncConnection,
        batch: Batch,
        source: Party,
        new: Sequence[Planned],
        now: datetime,
    ) -> None:
        common = {
            "type": "reward",
            "status": "pending",
            "from_user_id": source.user_id,
            "from_address": source.address,
            "batch_id": batch.id,
            "lease_owner": self._lease_owner,
            "created_at": now,
            "updated_at": now,
        }
        await insert_rows(connection, token_transactions, _rows(batch, new), common)
        span = {
            "b_batch": batch.id,
            "b_first": new[0].share.position,
            "b_last": new[-1].share.position,
            "b_account": batch.source_account,
        }
        for companion in _COMPANIONS:
            await connection.execute(companion, span)
        if self._outbox.wants_recorded:
            column = token_transactions.c
            members = sa.select(token_transactions).where(
                column.batch_id == batch.id, column.batch_position.between(span["b_first"], span["b_last"])
            )
            found = (await connection.execute(members)).mappings().all()
            await self._outbox.recorded(connection, found)


def check_same_lines(batch: Batch, fingerprint: str) -> None:
    """Refuse other lines under the key of a batch.

    Raises:
        IdempotencyConflictError: naming the batch.
    """
    if batch.fingerprint != fingerprint:
        raise IdempotencyConflictError(
            "the batch key was used before with other lines",
            idempotency_key=batch.key,
            batch_id=str(batch.id),
        )


def line_key(batch_key: str, position: int) -> str:
    """Return the idempotency key of a line that brings none of its own."""
    return f"batch:{batch_key}:{position:06d}"


async def _batch_where(
    connection: AsyncConnection, condition: sa.ColumnElement[bool], *, lock: bool = False
) -> Batch | None:
    column = payment_batches.c
    query = sa.select(
        column.id,
        column.key,
        column.fingerprint,
        column.source_address,
        column.source_account,
        column.lines,
        column.recorded_lines,
        column.total_amount,
        column.created_at,
    ).where(condition)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else Batch(*row)


SHARE_COLUMNS: Final = (
    token_transactions.c.batch_position,
    token_transactions.c.id,
    token_transactions.c.to_address,
    token_transactions.c.instruction,
    token_transactions.c.amount,
    token_transactions.c.to_user_id,
)
"""What `share_of` reads."""


def share_of(row: Sequence[Any]) -> Share:
    """Make a share from a row that begins with `SHARE_COLUMNS`."""
    position, payment_id, owner, instruction, amount, user_id = row[: len(SHARE_COLUMNS)]
    account = Pubkey.from_string(instruction["destination"])
    return Share(position, payment_id, Pubkey.from_string(owner), account, amount, user_id is not None)


async def _without_replays(connection: AsyncConnection, planned: Sequence[Planned]) -> list[Planned]:
    """Leave out the lines whose own keys stand for a payment already."""
    keys = [one.payee.line.key for one in planned if one.payee.line.key is not None]
    column = token_transactions.c
    used: dict[str, str] = {}
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        part = keys[start : start + _KEYS_PER_QUERY]
        query = sa.select(column.idempotency_key, column.fingerprint).where(column.idempotency_key.in_(part))
        used |= {key: fingerprint for key, fingerprint in await connection.execute(query)}
    for one in planned:
        line = one.payee.line
        if line.key in used and used[line.key] != one.payee.fingerprint:
            raise IdempotencyConflictError(
                f"the key of line {line.line} was used with other input",
                idempotency_key=line.key,
                line=line.line,
            )
    return [one for one in planned if one.payee.line.key not in used]


def _rows(batch: Batch, new: Sequence[Planned]) -> list[dict[str, Any]]:
    """Return what is the payments' own in their rows."""
    plan = Plan("transfer", batch.source_address, batch.source_account, None, None).to_json()
    return [_row(batch, plan, one.payee, one.share.payment_id) for one in new]


def _row(batch: Batch, plan: Mapping[str, Any], payee: Payee, payment_id: UUID) -> dict[str, Any]:
    line, party, fingerprint = payee.line, payee.party, payee.fingerprint
    return {
        "id": payment_id,
        "idempotency_key": line_key(batch.key, line.position) if line.key is None else line.key,
        "fingerprint": batch.fingerprint if fingerprint is None else fingerprint,
        "to_user_id": party.user_id,
        "to_address": party.address,
        "amount": line.amount,
        "reason": line.reward_type,
        "instruction": {
            **plan,
            "destination": party.token_account,
            "destination_owner": party.address,
        },
        "batch_position": line.position,
    }


def _companions() -> tuple[sa.Insert, ...]:
    """Return the inserts of what belongs to each payment, which the database copies itself."""
    column = token_transactions.c
    members = sa.and_(
        column.batch_id == sa.bindparam("b_batch"),
        column.batch_position.between(sa.bindparam("b_first"), sa.bindparam("b_last")),
    )
    account = sa.bindparam("b_account", type_=sa.String())
    reserve = balance_reservations.insert().from_select(
        ["payment_id", "token_account", "amount", "state", "created_at"],
        sa.select(column.id, account, column.amount, sa.literal("live"), column.created_at).where(members),
    )
    reward = token_rewards.insert().from_select(
        ["payment_id", "user_id", "reward_type", "amount", "created_at"],
        sa.select(column.id, column.to_user_id, column.reason, column.amount, column.created_at).where(
            members
        ),
    )
    return reserve, reward


_COMPANIONS: Final = _companions()
