"""Sends signed bytes and keeps sending them, without ever drawing a conclusion from a refusal.

Owns the broadcasts: concurrent ones share JSON-RPC batches. Whether a transaction landed is only for
the confirmer to say; here even a failed preflight means "not accepted now", because the node that ran
it may lag behind the one that issued the blockhash.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final

from deal_sdk.chain._errors import PREFLIGHT_FAILED
from deal_sdk.chain.rpc import Rpc
from deal_sdk.chain.transactions import SignedTransaction
from deal_sdk.errors import ChainError, RpcRefusedError

logger = logging.getLogger(__name__)

SIMULATED_TURN: Final = 1
"""The broadcast that the node simulates first, to learn why the one before did not land.

No other is: a simulation is a second execution, and a transaction that can only fail then lands as failed,
which is a proof within seconds, instead of holding its payment until the blockhash expires.
"""
_ALREADY_PROCESSED = "AlreadyProcessed"


@dataclass(frozen=True, slots=True)
class SendReport:
    """What a node said to a broadcast; it is a hint for people and decides nothing.

    `error` is None when the node took the transaction or had it already.
    """

    error: ChainError | None

    def to_evidence(self) -> dict[str, Any] | None:
        """Return the refusal as plain data for a verdict's evidence."""
        return None if self.error is None else self.error.to_dict()


class Sender:
    """Broadcasts signed transactions; an exception of a send is reported and never raised."""

    def __init__(self, rpc: Rpc) -> None:
        """Send by an endpoint, which must have issued the blockhash at "confirmed"."""
        self._rpc = rpc
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, transaction: SignedTransaction, *, turn: int = 0) -> SendReport:
        """Broadcast once; whatever the report says, the transaction may still land.

        Args:
            transaction: its bytes must have been committed to the records before.
            turn: how often these bytes were broadcast before; each time goes to the next endpoint.
        """
        try:
            await self._rpc.send_transaction(
                transaction.raw_bytes,
                preflight_commitment="confirmed",
                skip_preflight=turn != SIMULATED_TURN,
                turn=turn,
            )
        except ChainError as error:
            if _was_there_already(error):
                return SendReport(None)
            logger.info("a broadcast of %s was not accepted: %s", transaction.signature, error.message)
            return SendReport(error)
        return SendReport(None)

    def start(self, broadcast: Broadcast) -> None:
        """Broadcast in the background, so that a slow node holds up no status poll."""
        task = asyncio.create_task(self._run(broadcast))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel the broadcasts under way; each may have arrived."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, broadcast: Broadcast) -> None:
        try:
            report = await self.send(broadcast.transaction, turn=broadcast.turn)
            # Only one broadcast is simulated: the reason that its preflight gave is kept.
            if report.error is not None or broadcast.report is None:
                broadcast.report = report
        except Exception:
            logger.exception("a broadcast of %s broke", broadcast.transaction.signature)
        finally:
            broadcast.is_under_way = False


@dataclass(slots=True)
class Broadcast:
    """One background broadcast, and the last refusal of these bytes, or that there was none yet."""

    transaction: SignedTransaction
    turn: int
    is_under_way: bool = True
    report: SendReport | None = None


def _was_there_already(error: ChainError) -> bool:
    return (
        isinstance(error, RpcRefusedError)
        and error.rpc_code == PREFLIGHT_FAILED
        and isinstance(error.data, dict)
        and error.data.get("err") == _ALREADY_PROCESSED
    )
