"""Batches as callers see them: proven whole, recorded, driven, waited for and reported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from deal_sdk.chain import MintFacts
from deal_sdk.clock import Clock
from deal_sdk.errors import Outcome, PaymentNotFoundError, TokenError
from deal_sdk.payments.admission import BalanceRead
from deal_sdk.payments.batches.accounts import RecipientAccounts
from deal_sdk.payments.batches.costs import BatchCost, CostEstimator
from deal_sdk.payments.batches.driver import BatchDriver
from deal_sdk.payments.batches.lines import (
    CheckedLine,
    RewardLine,
    check_batch_key,
    check_lines,
    fingerprint_of_lines,
)
from deal_sdk.payments.batches.planning import Planned, plan_shares
from deal_sdk.payments.batches.recipients import Recipients
from deal_sdk.payments.batches.recording import (
    MAX_RECORDED_TOGETHER,
    Batch,
    BatchRecorder,
    check_same_lines,
)
from deal_sdk.payments.batches.reports import BatchReport, read_report
from deal_sdk.payments.batches.runs import BatchProgress
from deal_sdk.payments.orders import Party, Plan
from deal_sdk.payments.parties import PartyResolver
from deal_sdk.payments.signing import PaymentSigner
from deal_sdk.records import Database
from deal_sdk.settings import WaitFor

ProgressObserver = Callable[[BatchProgress], None]


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How a batch is waited for."""

    wait_for: WaitFor = "confirmed"
    timeout_seconds: float | None = None
    on_progress: ProgressObserver | None = None


class BatchDistributor:
    """Pays batches from one wallet."""

    def __init__(
        self,
        *,
        mint: MintFacts,
        database: Database,
        parties: PartyResolver,
        recipients: Recipients,
        accounts: RecipientAccounts,
        costs: CostEstimator,
        recorder: BatchRecorder,
        driver: BatchDriver,
        signer: PaymentSigner,
        read_balance: BalanceRead,
        clock: Clock,
    ) -> None:
        """Wire the parts; nothing runs yet."""
        self._mint = mint
        self._database = database
        self._parties = parties
        self._recipients = recipients
        self._accounts = accounts
        self._costs = costs
        self._recorder = recorder
        self._driver = driver
        self._signer = signer
        self._read_balance = read_balance
        self._clock = clock
        self._tasks: set[asyncio.Task[Any]] = set()

    async def distribute(
        self, lines: Sequence[RewardLine], batch_key: str, source_name: str, options: BatchOptions
    ) -> BatchReport:
        """Pay every line once, and report on each; see `RewardDistributor.distribute_batch`."""
        batch, source, checked = await self._prove(lines, batch_key, source_name)
        batch = await self._record(batch, source, checked[batch.recorded_lines :])
        await self._driver.wait(
            batch,
            options.wait_for,
            timeout_seconds=options.timeout_seconds,
            on_progress=options.on_progress,
        )
        return await read_report(self._database, batch, checked)

    async def estimate(self, lines: Sequence[RewardLine], batch_key: str, source_name: str) -> BatchCost:
        """Count what is left to pay of a batch; see `RewardDistributor.estimate_batch`."""
        batch, source, checked = await self._prove(lines, batch_key, source_name)
        return (await self._plan(batch, source, checked[batch.recorded_lines :])).cost

    async def report(self, batch_key: str) -> BatchReport:
        """Report on a batch from the records alone.

        Raises:
            PaymentNotFoundError: when no batch has the key.
        """
        batch = await self._recorder.find(check_batch_key(batch_key))
        if batch is None:
            raise PaymentNotFoundError("no batch has this key", batch_key=batch_key)
        return await read_report(self._database, batch)

    async def close(self) -> None:
        """Finish the chunk that is being recorded."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _prove(
        self, lines: Sequence[RewardLine], batch_key: str, source_name: str
    ) -> tuple[Batch, Party, list[CheckedLine]]:
        """Prove the form of the lines, and find the batch that they belong to or make it."""
        key = check_batch_key(batch_key)
        try:
            checked = await asyncio.to_thread(check_lines, lines, decimals=self._mint.decimals)
            fingerprint = await asyncio.to_thread(fingerprint_of_lines, checked)
            batch = await self._recorder.find(key)
            source = await self._parties.resolve(source_name)
        except TokenError as error:
            raise error.told(outcome=Outcome.NOT_SENT) from error
        if batch is None:
            return self._new_batch(key, fingerprint, source, checked), source, checked
        check_same_lines(batch, fingerprint)
        return batch, source, checked

    def _new_batch(self, key: str, fingerprint: str, source: Party, lines: Sequence[CheckedLine]) -> Batch:
        return Batch(
            id=uuid4(),
            key=key,
            fingerprint=fingerprint,
            source_address=source.address,
            source_account=source.token_account,
            lines=len(lines),
            recorded_lines=0,
            total_amount=sum(line.amount for line in lines),
            created_at=self._clock.now(),
        )

    async def _record(self, batch: Batch, source: Party, lines: Sequence[CheckedLine]) -> Batch:
        """Prove the lines that are not recorded yet, all of them, and then record them chunk by chunk."""
        if not lines:
            return batch
        try:
            plan = await self._plan(batch, source, lines)
            await self._signer.check(Plan("transfer", source.address, source.token_account, None, None))
            await self._costs.check_fee_payer(self._driver.frame(batch), plan.cost)
        except TokenError as error:
            raise error.told(outcome=Outcome.NOT_SENT) from error
        left = plan.cost.tokens_base_units
        for start in range(0, len(plan.planned), MAX_RECORDED_TOGETHER):
            chunk = plan.planned[start : start + MAX_RECORDED_TOGETHER]
            batch = await self._undisturbed(batch, source, chunk, left)
            left -= sum(one.share.amount for one in chunk if not one.payee.is_replay)
        return batch

    async def _plan(self, batch: Batch, source: Party, lines: Sequence[CheckedLine]) -> _BatchPlan:
        payees = await self._recipients.resolve(lines, source)
        planned = await asyncio.to_thread(plan_shares, payees, batch.created_at)
        shares = await self._accounts.recall(planned)
        looked = tuple(Planned(payee, share) for payee, share in zip(payees, shares, strict=True))
        new = [one.share for one in looked if not one.payee.is_replay]
        cost = await self._costs.estimate(self._driver.frame(batch), new, replayed=len(looked) - len(new))
        return _BatchPlan(looked, cost)

    async def _undisturbed(self, batch: Batch, source: Party, chunk: Sequence[Planned], left: int) -> Batch:
        """Record a chunk and hand it on, even when the caller is cancelled meanwhile."""
        task = asyncio.create_task(self._record_chunk(batch, source, chunk, left))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _record_chunk(self, batch: Batch, source: Party, chunk: Sequence[Planned], left: int) -> Batch:
        funds = await self._read_balance(source.token_account)
        recorded = await self._recorder.record(batch, source, chunk, funds, left)
        await self._driver.take(recorded.batch, recorded.shares)
        return recorded.batch


@dataclass(frozen=True, slots=True)
class _BatchPlan:
    """What is to be recorded, and what it will take."""

    planned: tuple[Planned, ...]
    cost: BatchCost
