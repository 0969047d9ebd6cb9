"""Finds out what became of every sent transaction, with one sweeper for all of them.

Owns the polling, the rebroadcasts and the proof of expiry. Nothing is ever called failed or expired
without its evidence: a transaction about which nobody can tell stays pending, however long that is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from deal_sdk.chain.expiry import prove_expired
from deal_sdk.chain.following import DeliveryNote, Following, delivery_note
from deal_sdk.chain.replies import EpochPosition, StatusReply
from deal_sdk.chain.rpc import MAX_SIGNATURES_PER_CALL, Rpc
from deal_sdk.chain.sender import Broadcast, Sender
from deal_sdk.chain.subscriptions import SignatureHints
from deal_sdk.chain.transactions import SignedTransaction
from deal_sdk.clock import Clock, wait_within
from deal_sdk.errors import ChainError, RpcRateLimitedError, RpcUnavailableError
from deal_sdk.metrics import Metrics

logger = logging.getLogger(__name__)

DEFAULT_POLL_INTERVAL_SECONDS: Final = 0.1
DEFAULT_REBROADCAST_INTERVAL_SECONDS: Final = 2.0
FINALITY_POLL_FACTOR: Final = 5
"""The oldest confirmed transaction is polled this much more rarely: finality takes seconds at the least."""
YOUNGER_POLL_FACTOR: Final = 20
"""And the younger ones so: slots become final in their order, so that the oldest tells when to look."""
HINTED_POLL_FACTOR: Final = 5
"""So is one whose confirmation an endpoint will tell; the poll is there for a lost notification."""
HEIGHT_INTERVAL_SECONDS: Final = 1.0
NOTE_AFTER_SECONDS: Final = 5.0
"""The usual payment is confirmed by then, so that notes cost it nothing."""
MAX_BACKOFF_SECONDS: Final = 10.0
_MAX_BACKOFF_DOUBLINGS: Final = 10


class Confirmer:
    """Follows any number of transactions to their end: 256 of them a call, none of them forgotten."""

    def __init__(
        self,
        rpc: Rpc,
        *,
        clock: Clock,
        metrics: Metrics,
        sender: Sender | None = None,
        witnesses: Sequence[Rpc] = (),
        hints: SignatureHints | None = None,
        on_undelivered: Callable[[Sequence[DeliveryNote]], None] | None = None,
        required_opinions: int | None = None,
        poll_interval_seconds: float = DEFAULT_POLL_INTERVAL_SECONDS,
        rebroadcast_interval_seconds: float = DEFAULT_REBROADCAST_INTERVAL_SECONDS,
    ) -> None:
        """Prepare a confirmer; the first `follow` starts its sweeper.

        Args:
            rpc: the endpoint whose statuses count, or the pool of them; for an expiry each endpoint of
                a pool is asked for itself.
            clock: spaces polls and rebroadcasts.
            metrics: counts each transaction by its end in `payment_attempts_total`.
            sender: broadcasts; by default one of its own, which `close` closes.
            witnesses: further endpoints that are asked for an expiry.
            hints: tells when a lone transaction is worth a look before its next poll.
            required_opinions: how many endpoints must rule a transaction out before it counts as
                expired; by default all. None of them may know it in any case.
            on_undelivered: is told of transactions that no node has in a block after some seconds.
            poll_interval_seconds: between two polls of a transaction that is not confirmed yet.
            rebroadcast_interval_seconds: between two broadcasts of a transaction that nobody has seen.
        """
        self._rpc = rpc
        self._clock = clock
        self._metrics = metrics
        self._owns_sender = sender is None
        self._sender = Sender(rpc) if sender is None else sender
        self._witnesses = tuple(witnesses)
        self._required_opinions = required_opinions
        self._poll_interval_seconds = poll_interval_seconds
        self._rebroadcast_interval_seconds = rebroadcast_interval_seconds
        self._pending: dict[str, Following] = {}
        self._hints = hints
        self._on_undelivered = on_undelivered
        self._hinted: set[str] = set()
        self._wake: asyncio.Future[None] | None = None
        self._unconfirmed_count = 0
        if hints is not None:
            hints.listen(self._take_hint)
        self._work = asyncio.Event()
        self._sweeper: asyncio.Task[None] | None = None
        self._expiring: asyncio.Task[None] | None = None
        self._closed = False
        self._height_read_at_seconds = float("-inf")
        self._swept_at_seconds = float("-inf")
        self._finalized: EpochPosition | None = None
        self._final_slot = 0
        self._oldest: Following | None = None
        """Of those that are confirmed and in no final slot."""

    @property
    def pending_count(self) -> int:
        """Return how many transactions are not final yet."""
        return len(self._pending)

    def follow(self, transaction: SignedTransaction) -> Following:
        """Broadcast a transaction now and follow it to its end; the same one twice is followed once.

        Args:
            transaction: must be committed to the records before, because it leaves at once.
        """
        return self._add(transaction.signature, transaction)

    def watch(self, signature: str) -> Following:
        """Follow a transaction of others: it is never sent, and a null status never ends it."""
        return self._add(signature, None)

    def forget(self, following: Following) -> None:
        """Stop following, for a transaction that nobody waits for any more; those who wait are cancelled."""
        if self._pending.get(following.signature) is following:
            del self._pending[following.signature]
            self._drop_hint(following)
        following.close()

    async def close(self) -> None:
        """Stop; what is pending stays pending, and those who wait for it are cancelled."""
        self._closed = True
        tasks = [task for task in (self._sweeper, self._expiring) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._owns_sender:
            await self._sender.close()
        for following in self._pending.values():
            following.close()
        self._pending.clear()

    def _add(self, signature: str, transaction: SignedTransaction | None) -> Following:
        if self._closed:
            raise RpcUnavailableError("the confirmer is closed")
        now = self._clock.monotonic()
        following = self._pending.get(signature)
        if following is None:
            following = self._pending[signature] = Following(signature, transaction, now)
            self._ask_for_hint(signature)
        elif following.transaction is not None or transaction is None:
            return following
        following.transaction = transaction
        self._broadcast(following, now)
        self._work.set()
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep_for_ever(), name="confirmer-sweeper")
        return following

    def _ask_for_hint(self, signature: str) -> None:
        # A crowd is polled together, 256 in a call; a frame each way for every one would cost more.
        self._unconfirmed_count += 1
        if self._hints is not None and self._unconfirmed_count <= self._hints.max_subscriptions:
            self._hints.want(signature)

    def _drop_hint(self, following: Following) -> None:
        if self._hints is not None:
            self._hints.drop(following.signature)

    def _take_hint(self, signature: str) -> None:
        if signature in self._pending:
            self._hinted.add(signature)
            if self._wake is not None and not self._wake.done():
                self._wake.set_result(None)

    async def _sweep_for_ever(self) -> None:
        failures = 0
        while True:
            if not self._pending:
                await self._work.wait()
            self._work.clear()
            try:
                await self._sweep()
            except ChainError as error:
                failures += 1
                logger.warning("a status sweep failed (%d in a row): %s", failures, error.message)
                await self._clock.sleep(self._backoff_seconds(failures, error))
            except Exception:
                failures += 1
                logger.exception("a status sweep broke (%d in a row)", failures)
                await self._clock.sleep(self._backoff_seconds(failures, None))
            else:
                failures = 0
                await self._sleep_until_due()

    def _backoff_seconds(self, failures: int, error: ChainError | None) -> float:
        doubled = self._poll_interval_seconds * 2.0 ** min(failures, _MAX_BACKOFF_DOUBLINGS)
        asked = error.retry_after_seconds if isinstance(error, RpcRateLimitedError) else None
        return max(min(doubled, MAX_BACKOFF_SECONDS), asked or 0.0)

    async def _sleep_until_due(self) -> None:
        due = self._next_due_seconds()
        if not self._pending:
            return
        # Whatever comes due meanwhile waits for the next sweep, so that one call serves all of it: a crowd
        # that came one by one would else be asked about one by one.
        due = max(due, self._swept_at_seconds + self._poll_interval_seconds)
        pause = min(max(due - self._clock.monotonic(), 0.0), self._poll_interval_seconds)
        if self._hints is None:
            await self._clock.sleep(pause)
        elif not self._hinted:
            self._wake = asyncio.get_running_loop().create_future()
            await wait_within(self._clock, self._wake, pause)

    def _next_due_seconds(self) -> float:
        """Return when the next poll is due, and count anew what is not confirmed, in one look at all."""
        due, unconfirmed_count = float("inf"), 0
        for following in self._pending.values():
            if following.verdict is None:
                unconfirmed_count += 1
            if following.poll_at_seconds < due:
                due = following.poll_at_seconds
        self._unconfirmed_count = unconfirmed_count
        return due

    def _due(self, now: float) -> list[Following]:
        hinted, self._hinted = self._hinted, set()
        # What is not confirmed goes along in the call that a hint sets off, instead of in one of its own.
        takes_all = bool(hinted) and self._unconfirmed_count <= MAX_SIGNATURES_PER_CALL
        due = [
            following
            for following in self._pending.values()
            if following.poll_at_seconds <= now
            or following.signature in hinted
            or (takes_all and following.verdict is None)
        ]
        oldest = self._oldest
        if oldest is None or oldest.signature not in self._pending or oldest in due:
            return due
        # It goes along where that costs no call of its own.
        return [*due, oldest] if len(due) % MAX_SIGNATURES_PER_CALL else due

    async def _sweep(self) -> None:
        now = self._clock.monotonic()
        due = self._due(now)
        if not due:
            return
        self._swept_at_seconds = now
        reply = await self._rpc.get_signature_statuses([following.signature for following in due])
        unseen = self._take_in(due, reply)
        now = self._clock.monotonic()
        for following in due:
            following.poll_at_seconds = now + self._interval_seconds(following)
        self._look_for_final(now)
        self._note_deliveries(unseen, now)
        self._rebroadcast(unseen, now)
        self._start_expiring(unseen, now)

    def _look_for_final(self, now: float) -> None:
        """Poll soon what is in a slot that became final, and in its time the oldest of what is not."""
        self._oldest = None
        oldest_slot = float("inf")
        for following in self._pending.values():
            verdict = following.verdict
            if verdict is None or verdict.slot is None:
                continue
            if verdict.slot <= self._final_slot:
                soon_seconds = now + self._poll_interval_seconds
                following.poll_at_seconds = min(following.poll_at_seconds, soon_seconds)
            elif verdict.slot < oldest_slot:
                self._oldest, oldest_slot = following, verdict.slot
        if self._oldest is not None:
            due_seconds = now + self._poll_interval_seconds * FINALITY_POLL_FACTOR
            self._oldest.poll_at_seconds = min(self._oldest.poll_at_seconds, due_seconds)

    def _interval_seconds(self, following: Following) -> float:
        if following.verdict is not None:
            return self._poll_interval_seconds * YOUNGER_POLL_FACTOR
        if self._hints is not None and self._hints.covers(following.signature):
            return self._poll_interval_seconds * HINTED_POLL_FACTOR
        return self._poll_interval_seconds

    def _take_in(self, followings: Sequence[Following], reply: StatusReply) -> list[Following]:
        """Hand each its status and return those of whom the node knows nothing."""
        evidence = self._evidence(reply.endpoint, reply.context_slot)
        unseen = []
        for following, status in zip(followings, reply.statuses, strict=True):
            if status is not None:
                following.observe(status, evidence)
                if status.commitment == "finalized" and status.slot > self._final_slot:
                    self._final_slot = status.slot
                self._finish(following)
            elif following.observe_nothing(reply.context_slot) and following.transaction is not None:
                unseen.append(following)
        return unseen

    def _evidence(self, endpoint: str, context_slot: int) -> dict[str, Any]:
        return {
            "endpoint": endpoint,
            "context_slot": context_slot,
            "finalized_height": None if self._finalized is None else self._finalized.block_height,
            "checked_at": self._clock.now().isoformat(),
        }

    def _finish(self, following: Following) -> None:
        if following.verdict is not None:
            self._drop_hint(following)
        if following.is_final and self._pending.pop(following.signature, None) is not None:
            assert following.verdict is not None
            self._metrics.payment_attempts.labels(following.verdict.state).inc()

    def _note_deliveries(self, unseen: Sequence[Following], now: float) -> None:
        if self._on_undelivered is None:
            return
        late = [f for f in unseen if now - f.followed_at_seconds >= NOTE_AFTER_SECONDS]
        checked_at = self._clock.now().isoformat() if late else ""
        found = [delivery_note(f, endpoint=self._rpc.endpoint, checked_at=checked_at) for f in late]
        if notes := [note for note in found if note is not None]:
            self._on_undelivered(notes)

    def _rebroadcast(self, unseen: Sequence[Following], now: float) -> None:
        for following in unseen:
            if now - following.broadcast_at_seconds >= self._rebroadcast_interval_seconds:
                self._broadcast(following, now)

    def _broadcast(self, following: Following, now: float) -> None:
        transaction, previous = following.transaction, following.broadcast
        if transaction is None:
            return
        # Where there is another endpoint, one that hangs must not hold up the next broadcast.
        if previous is not None and previous.is_under_way and self._rpc.endpoint_count == 1:
            return
        report = None if previous is None else previous.report
        turn = 0 if previous is None else previous.turn + 1
        following.broadcast = Broadcast(transaction, turn, report=report)
        following.broadcast_at_seconds = now
        if previous is not None:
            self._metrics.payment_rebroadcasts.inc()
        self._sender.start(following.broadcast)

    def _start_expiring(self, suspects: Sequence[Following], now: float) -> None:
        is_under_way = self._expiring is not None and not self._expiring.done()
        if not suspects or is_under_way or now - self._height_read_at_seconds < HEIGHT_INTERVAL_SECONDS:
            return
        self._height_read_at_seconds = now
        # A slow or dead witness must not hold up the statuses of everybody else.
        self._expiring = asyncio.create_task(self._expire(suspects), name="confirmer-expiry")

    async def _expire(self, suspects: Sequence[Following]) -> None:
        try:
            # The height is read before the statuses that may prove an expiry: read the other way round,
            # a transaction could land between the two and be declared dead.
            finalized = self._finalized = await self._rpc.get_epoch_position("finalized")
            overdue = [
                following
                for following in suspects
                if following.transaction is not None
                and finalized.block_height > following.transaction.last_valid_block_height
            ]
            if overdue:
                await self._prove(overdue, finalized)
        except ChainError as error:
            logger.warning("whether transactions expired cannot be told now: %s", error.message)
        except Exception:
            logger.exception("the proof of an expiry broke")

    async def _prove(self, overdue: Sequence[Following], finalized: EpochPosition) -> None:
        # An endpoint of a pool joins when it is known to be of the cluster, so they are listed anew.
        endpoints = (*self._rpc.members, *self._witnesses)
        proof = await prove_expired(
            endpoints,
            [following.transaction for following in overdue if following.transaction is not None],
            finalized,
            required_opinions=self._required_opinions or len(endpoints),
        )
        if proof.silent:
            logger.info("endpoints without an opinion on expired transactions: %s", dict(proof.silent))
        for following in overdue:
            status = proof.landed.get(following.signature)
            if status is not None:
                following.observe(status, self._evidence(self._rpc.endpoint, status.slot))
            elif following.signature in proof.expired and not following.is_seen:
                transaction = following.transaction
                assert transaction is not None
                following.expire(
                    {
                        **self._evidence(proof.expired[following.signature][0], proof.context_slot),
                        "last_valid_block_height": transaction.last_valid_block_height,
                        "finalized_height": finalized.block_height,
                        "finalized_slot": finalized.slot,
                        "endpoints": list(proof.expired[following.signature]),
                        "endpoints_without_opinion": dict(proof.silent),
                    }
                )
            self._finish(following)
