"""Reconciling: what was left open is carried on, and what the chain shows is recorded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from deal_sdk.chain import LandedReads
from deal_sdk.clock import Clock
from deal_sdk.errors import TokenError
from deal_sdk.payments.history_reach import Progress
from deal_sdk.payments.history_sync import HistorySync, SyncReport
from deal_sdk.payments.lease_keeper import LeaseKeeper
from deal_sdk.payments.orders import Plan
from deal_sdk.payments.prepared_expiry import PreparedExpiry
from deal_sdk.records import Transaction

logger = logging.getLogger(__name__)

FULL_PASS_SECONDS: Final = 60.0
MAX_TRIES_PER_MARK: Final = 40


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """What a pass found: payments taken up again, and what was read from the chain."""

    resumed_payments: int
    history: SyncReport


@dataclass(slots=True)
class _Mark:
    """A token account whose history lacks these transactions; the full pass finds what is given up."""

    slots: dict[str, int] = field(default_factory=dict)
    """By signature, where it landed."""
    tries_left: int = MAX_TRIES_PER_MARK

    def take_in(self, progress: Progress) -> bool:
        """Forget what is in the history by now, and return whether anything is still to be looked for."""
        for signature, slot in tuple(self.slots.items()):
            if progress.holds(signature, slot):
                del self.slots[signature]
        self.tries_left -= 1
        return bool(self.slots) and self.tries_left > 0


class Reconciler:
    """Keeps records and chain together, by a loop of its own and whenever asked."""

    def __init__(
        self,
        *,
        payments: LeaseKeeper,
        history: HistorySync,
        prepared: PreparedExpiry,
        clock: Clock,
        poll_interval_seconds: float,
    ) -> None:
        """Wire the parts; the loop begins with `start`."""
        self._payments = payments
        self._history = history
        self._prepared = prepared
        self._clock = clock
        self._poll_interval_seconds = poll_interval_seconds
        self._marked: dict[str, _Mark] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def reads(self) -> LandedReads:
        """Return the memory of the transactions that the history is read from."""
        return self._history.reads

    def start(self) -> None:
        """Begin the loop, which `close` ends."""
        assert self._task is None
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End the loop; a pass that is cut short is repeated by the next one."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def observe(self, payments: Sequence[Transaction]) -> None:
        """Note the token accounts of finalized payments, whose history is then read soon."""
        for payment in payments:
            if payment.status != "finalized" or not payment.instruction or payment.signature is None:
                continue
            plan = Plan.from_json(payment.instruction)
            moved = (account for account in (plan.source, plan.destination) if account is not None)
            self.mark(moved, payment.signature, payment.slot or 0)

    def mark(self, token_accounts: Iterable[str], signature: str, slot: int) -> None:
        """Note token accounts that a finalized transaction moved, whose history is then read soon.

        One whose history is past it already, because it was read for another payment, is left alone.
        """
        for account in token_accounts:
            if self._history.reach.holds(account, signature, slot):
                continue
            mark = self._marked.setdefault(account, _Mark())
            mark.slots[signature] = slot
            mark.tries_left = MAX_TRIES_PER_MARK

    async def reconcile(self) -> ReconcileReport:
        """Carry on every open payment and read the history of every tracked token account.

        Raises:
            ChainError, DatabaseError: what was done so far stays done.
        """
        resumed = await self._payments.resume()
        await self._prepared.sweep()
        return ReconcileReport(resumed, await self._history.sync())

    async def sync_marked(self) -> None:
        """Read the history of the accounts that recent payments moved."""
        if not self._marked:
            return
        accounts = tuple(self._marked)
        expected = {account: len(mark.slots) for account, mark in self._marked.items()}
        report = await self._history.sync(accounts, expected=expected)
        for account in accounts:
            # An endpoint may list a finalized transaction a little late; an account that nobody tracks
            # has no history to wait for.
            progress = report.progress.get(account)
            if progress is None or not self._marked[account].take_in(progress):
                del self._marked[account]

    async def _run(self) -> None:
        next_full_pass = self._clock.monotonic() + FULL_PASS_SECONDS
        while True:
            await self._clock.sleep(self._poll_interval_seconds)
            try:
                if self._clock.monotonic() >= next_full_pass:
                    next_full_pass = self._clock.monotonic() + FULL_PASS_SECONDS
                    await self.reconcile()
                else:
                    await self._prepared.sweep_when_due()
                    await self.sync_marked()
            except TokenError as error:
                logger.warning("reconciling waits: %s (%s)", error.message, error.code)
            except Exception:
                logger.exception("a pass of reconciling failed")
