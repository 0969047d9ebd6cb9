"""Drives the members of batches to their proven ends, many in one transaction.

A batch has one run here, which owns its tasks; callers only wait for it. What a crash interrupts is
taken up from the records: bytes that were committed are followed, and only what was not is signed.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

from solders.pubkey import Pubkey

from deal_sdk.chain import MintFacts, SignedTransaction, Verdict
from deal_sdk.clock import Clock, wait_within
from deal_sdk.errors import BatchPendingError, PaymentNotFoundError
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.payments.batches.building import Group
from deal_sdk.payments.batches.carriers import CarrierChange, CarrierEnd, CarrierStore
from deal_sdk.payments.batches.packing import Frame, pack
from deal_sdk.payments.batches.recording import Batch, BatchRecorder
from deal_sdk.payments.batches.remaining import Carrier, Parcel
from deal_sdk.payments.batches.runs import BatchProgress, BatchRun, progress_of
from deal_sdk.payments.batches.shares import Share
from deal_sdk.payments.batches.splitting import split
from deal_sdk.payments.pipeline_seams import TransactionFollower
from deal_sdk.payments.retrying import until_done
from deal_sdk.settings import WaitFor

logger = logging.getLogger(__name__)

MAX_GROUPS_SIGNED_TOGETHER: Final = 64
RECORDED_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Landing:
    """Token accounts of ours that a transaction moved, and where."""

    accounts: tuple[str, ...]
    slot: int
    signature: str
    is_final: bool


LandingObserver = Callable[[Landing], Awaitable[None]]
"""Called after a landing was committed; what it raises is logged."""


class SharesReader(Protocol):
    """Says how the chain's accounts want to be paid."""

    async def look(self, shares: Sequence[Share]) -> list[Share]:
        """Return the shares with what their accounts need."""
        ...


class TableSource(Protocol):
    """Provides lookup tables, where they pay off."""

    async def equip(self, frame: Frame, shares: Sequence[Share]) -> Frame:
        """Return the frame with tables that can be used; whatever goes wrong, without."""
        ...


class GroupSigning(Protocol):
    """Turns groups into signed bytes."""

    async def sign(self, frame: Frame, groups: Sequence[Group]) -> list[SignedTransaction]:
        """Build and sign each with a fresh blockhash."""
        ...


class BatchDriver:
    """Packs, signs, commits, sends and settles the members of batches."""

    def __init__(
        self,
        *,
        batches: BatchRecorder,
        carriers: CarrierStore,
        accounts: SharesReader,
        signer: GroupSigning,
        tables: TableSource,
        follower: TransactionFollower,
        mint: MintFacts,
        fee_payer: Pubkey,
        clock: Clock,
        events: EventBus,
        metrics: Metrics,
        max_carriers_in_flight: int,
        observers: Sequence[LandingObserver] = (),
        on_attempt_end: Callable[[SignedTransaction, Verdict], None] | None = None,
    ) -> None:
        """Wire the parts; nothing runs before the first `take` or `resume`."""
        self._batches = batches
        self._carriers = carriers
        self._accounts = accounts
        self._signer = signer
        self._tables = tables
        self._follower = follower
        self._mint = mint
        self._fee_payer = fee_payer
        self._clock = clock
        self._events = events
        self._metrics = metrics
        self._observers = observers
        self._on_attempt_end = on_attempt_end
        self._places = asyncio.Semaphore(max_carriers_in_flight)
        self._runs: dict[UUID, BatchRun] = {}
        self._resuming = asyncio.Lock()
        self._boarding = asyncio.Lock()
        self._max_together = min(MAX_GROUPS_SIGNED_TOGETHER, max_carriers_in_flight)

    def frame(self, batch: Batch) -> Frame:
        """Return what the transactions of a batch have in common."""
        return Frame(
            fee_payer=self._fee_payer,
            authority=Pubkey.from_string(batch.source_address),
            source=Pubkey.from_string(batch.source_account),
            mint=self._mint,
        )

    async def take(self, batch: Batch, shares: Sequence[Share]) -> None:
        """Drive shares that were just recorded, as the chain's accounts wanted them paid then."""
        if not shares:
            return
        run = self._runs.get(batch.id)
        if run is None:
            counts = await self._carriers.counts(batch.id)
            run = self._runs.get(batch.id) or self._begin(batch, counts)
        else:
            run.counts["pending"] += len(shares)
        run.start(self._pack(run, shares))
        run.tell()

    async def resume(self) -> int:
        """Carry on every batch with members that are not final and that nobody here drives.

        Returns:
            How many batches were taken up.
        """
        taken = 0
        for batch_id in await self._carriers.open_batches():
            taken += await self._resume_batch(batch_id)
        return taken

    async def progress(self, batch: Batch) -> BatchProgress:
        """Return how far a batch is."""
        run = self._runs.get(batch.id)
        if run is not None and run.tasks:
            return progress_of(batch.lines, run.counts)
        return progress_of(batch.lines, await self._carriers.counts(batch.id))

    async def wait(
        self,
        batch: Batch,
        wait_for: WaitFor,
        *,
        timeout_seconds: float | None = None,
        on_progress: Callable[[BatchProgress], None] | None = None,
    ) -> BatchProgress:
        """Wait until every recorded member is so far, or at another proven end.

        Args:
            batch: as it is recorded.
            wait_for: "recorded" returns at once.
            timeout_seconds: how long to wait; without it, as long as it takes.
            on_progress: called whenever something changed.

        Raises:
            BatchPendingError: when the time runs out first; the batch goes on.
        """
        deadline_seconds = None if timeout_seconds is None else self._clock.monotonic() + timeout_seconds
        while True:
            progress = await self.progress(batch)
            if on_progress is not None:
                on_progress(progress)
            if progress.has_reached(wait_for):
                return progress_of(batch.lines, await self._carriers.counts(batch.id))
            left_seconds = RECORDED_POLL_SECONDS
            if deadline_seconds is not None:
                left_seconds = min(left_seconds, deadline_seconds - self._clock.monotonic())
            if left_seconds <= 0:
                raise BatchPendingError(
                    f"{progress.pending + progress.confirmed} payments of the batch are not there yet; "
                    "the same call again goes on waiting",
                    batch_key=batch.key,
                    batch_id=str(batch.id),
                )
            await self._next_change(batch.id, left_seconds)

    async def settled(self, *, timeout_seconds: float) -> bool:
        """Return whether everything driven here came to an end within a time."""
        tasks = [task for run in self._runs.values() for task in run.tasks]
        if not tasks:
            return True
        deadline_seconds = self._clock.monotonic() + timeout_seconds
        all_done = asyncio.ensure_future(asyncio.wait(tasks))
        try:
            is_done = await wait_within(self._clock, all_done, timeout_seconds)
        finally:
            all_done.cancel()
        left_seconds = deadline_seconds - self._clock.monotonic()
        # A failed transaction's parts are tasks that began meanwhile.
        return is_done and await self.settled(timeout_seconds=max(left_seconds, 0.0))

    async def close(self) -> None:
        """Stop driving; what is not final stays recorded and is taken up by the next `resume`."""
        tasks = [task for run in self._runs.values() for task in run.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._carriers.close()

    async def _resume_batch(self, batch_id: UUID) -> bool:
        async with self._resuming:
            known = self._runs.get(batch_id)
            if known is not None and known.tasks:
                return False
            batch = await self._batches.get(batch_id)
            if batch is None:
                raise PaymentNotFoundError("there is no such batch", batch_id=str(batch_id))
            left = await self._carriers.open_batch(batch_id)
            if not left.live and not left.unsent:
                return False
            run = self._begin(batch, await self._carriers.counts(batch_id))
            for carrier in left.live:
                run.start(self._follow(run, carrier))
            for parcel in left.unsent:
                for part in _parts(parcel):
                    run.start(self._drive(run, part))
            return True

    def _begin(self, batch: Batch, counts: Mapping[str, int]) -> BatchRun:
        def forget() -> None:
            if self._runs.get(batch.id) is run:
                del self._runs[batch.id]

        run = self._runs[batch.id] = BatchRun(batch, counts, forget)
        return run

    async def _next_change(self, batch_id: UUID, seconds: float) -> None:
        run = self._runs.get(batch_id)
        if run is not None and run.tasks:
            await wait_within(self._clock, run.changed, seconds)
        elif not await self._resume_batch(batch_id):
            await self._clock.sleep(seconds)

    async def _drive(self, run: BatchRun, shares: Sequence[Share]) -> None:
        await self._pack(run, await self._until_done(run, lambda: self._accounts.look(shares)))

    async def _pack(self, run: BatchRun, looked: Sequence[Share]) -> None:
        frame = await self._tables.equip(self.frame(run.batch), looked)
        groups = await asyncio.to_thread(pack, frame, looked)
        for start in range(0, len(groups), self._max_together):
            await self._send(run, frame, groups[start : start + self._max_together])

    async def _send(self, run: BatchRun, frame: Frame, packed: Sequence[Sequence[Share]]) -> None:
        """Sign and commit groups, and only then hand them to be sent."""
        held = 0
        try:
            async with self._boarding:
                # One at a time: two who each hold half of what they need would wait for each other.
                for _ in packed:
                    await self._places.acquire()
                    held += 1
            groups = [Group(uuid4(), tuple(shares)) for shares in packed]
            signed = await self._until_done(run, lambda: self._signer.sign(frame, groups))
            carriers = [
                Carrier(group.carrier_id, run.batch.id, group.shares, transaction)
                for group, transaction in zip(groups, signed, strict=True)
            ]
            ours = await self._until_done(run, lambda: self._carriers.add(carriers))
            for carrier in itertools.compress(carriers, ours):
                held -= 1
                run.start(self._follow(run, carrier, holds_place=True))
        finally:
            for _ in range(held):
                self._places.release()

    async def _follow(self, run: BatchRun, carrier: Carrier, *, holds_place: bool = False) -> None:
        self._metrics.payments_in_flight.inc(len(carrier.shares))
        started_seconds = self._clock.monotonic()
        try:
            following = self._follower.follow(carrier.transaction)
            verdict = await following.reached("confirmed")
            if verdict.state == "confirmed":
                await self._settle(run, carrier, verdict, "confirmed")
            if verdict.succeeded:
                self._metrics.token_transaction_duration_seconds.observe(
                    self._clock.monotonic() - started_seconds
                )
            if holds_place:
                holds_place = False
                self._places.release()
            if not verdict.final and verdict.state != "expired":
                verdict = await following.reached("finalized")
            await self._end(run, carrier, verdict)
        finally:
            if holds_place:
                self._places.release()
            self._metrics.payments_in_flight.dec(len(carrier.shares))

    async def _end(self, run: BatchRun, carrier: Carrier, verdict: Verdict) -> None:
        end = _end_of(carrier, verdict)
        if self._on_attempt_end is not None:
            self._on_attempt_end(carrier.transaction, verdict)
        await self._settle(run, carrier, verdict, end)
        if end not in ("split", "expired"):
            return
        # The last signature is proven dead, so what is still to be paid may be signed anew.
        unsent = await self._until_done(run, lambda: self._carriers.unsent_members(carrier))
        given_up = len(carrier.shares) - len(unsent)
        run.move(carrier, "pending", len(unsent))
        if given_up:
            run.move(carrier, "expired", given_up)
            self._metrics.token_transactions.labels(type="reward", status="expired").inc(given_up)
        is_split = end == "split"
        parcel = Parcel(
            unsent, carrier.transaction.raw_bytes if is_split else None, verdict.error if is_split else None
        )
        for part in _parts(parcel):
            run.start(self._drive(run, part))

    async def _settle(self, run: BatchRun, carrier: Carrier, verdict: Verdict, end: CarrierEnd) -> None:
        signature, source = carrier.transaction.signature, run.batch.source_account
        now = self._clock.now()
        change = CarrierChange(carrier.id, signature, end, verdict.slot, verdict.evidence, now, source)
        await self._until_done(run, lambda: self._carriers.settle(change))
        if end in ("confirmed", "finalized", "failed"):
            run.move(carrier, end, len(carrier.shares))
        if end in ("finalized", "failed"):
            self._metrics.token_transactions.labels(type="reward", status=end).inc(len(carrier.shares))
        self._events.publish(
            f"batch.{end}",
            batch_id=str(run.batch.id),
            batch_key=run.batch.key,
            carrier_id=str(carrier.id),
            signature=signature,
            payment_ids=[str(share.payment_id) for share in carrier.shares],
        )
        if end in ("confirmed", "finalized") and verdict.slot is not None:
            ours = tuple(str(share.account) for share in carrier.shares if share.is_users)
            accounts = (source, *ours)
            await self._tell(Landing(accounts, verdict.slot, signature, end == "finalized"))

    async def _tell(self, landing: Landing) -> None:
        for observer in self._observers:
            try:
                await observer(landing)
            except Exception:
                logger.exception("an observer of a landing in slot %d failed", landing.slot)

    async def _until_done(self, run: BatchRun, action: Callable[[], Awaitable[Any]]) -> Any:
        return await until_done(self._clock, f"batch {run.batch.key}", action)


def _end_of(carrier: Carrier, verdict: Verdict) -> CarrierEnd:
    if verdict.state == "expired":
        return "expired"
    assert verdict.final
    if verdict.state == "failed":
        return "failed" if len(carrier.shares) == 1 else "split"
    return "finalized"


def _parts(parcel: Parcel) -> list[tuple[Share, ...]]:
    if parcel.failed_bytes is None:
        return [parcel.shares] if parcel.shares else []
    return split(parcel.shares, parcel.failed_bytes, parcel.error)
