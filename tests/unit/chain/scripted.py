"""A node made of plain fields, behind the `Transport` seam, with the faults that real ones have.

It answers JSON-RPC bodies in process: the test moves its slots, lands transactions, makes it lag,
lose replies or refuse, and reads back the methods that it was asked, in their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from deal_sdk.chain.rpc import Rpc
from deal_sdk.chain.transactions import SignedTransaction
from deal_sdk.clock import ManualClock
from deal_sdk.errors import ChainError
from deal_sdk.metrics import Metrics

FINALITY_SLOTS = 32


@dataclass
class Landed:
    """Where a transaction is in the scripted chain."""

    slot: int
    commitment: str = "processed"
    error: Any = None


class RpcFault(Exception):
    """An error reply that a scripted method gives."""

    def __init__(self, code: int, message: str = "refused", data: Any = None) -> None:
        super().__init__(message)
        self.reply = {"code": code, "message": message, "data": data}


class ScriptedNode:
    """A `Transport` whose replies follow from its fields."""

    endpoint = "scripted"

    def __init__(self) -> None:
        self.slot = 1_000
        self.lag_slots = 0
        self.first_available_block = 0
        self.landed: dict[str, Landed] = {}
        self.history: dict[str, Landed] = {}
        self.sent: list[str] = []
        self.send_options: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.bodies: list[Any] = []
        self.fail_next: list[ChainError] = []
        self.lose_replies_of: set[str] = set()
        self.refuse_sends: RpcFault | None = None
        self.before: dict[str, Callable[[], None]] = {}
        self.methods: dict[str, Callable[[list[Any]], Any]] = {
            "getSignatureStatuses": self._statuses,
            "sendTransaction": self._send,
            "getEpochInfo": self._epoch,
            "getFirstAvailableBlock": lambda _: self.first_available_block,
            "getLatestBlockhash": self._blockhash,
        }

    @property
    def finalized_height(self) -> int:
        return self.slot - FINALITY_SLOTS

    async def post(self, body: bytes) -> bytes:
        await asyncio.sleep(0)
        request = orjson.loads(body)
        self.bodies.append(request)
        if self.fail_next:
            raise self.fail_next.pop(0)
        if isinstance(request, list):
            return orjson.dumps([self._answer(item) for item in request])
        return orjson.dumps(self._answer(request))

    async def close(self) -> None:
        """Nothing is open."""

    def count(self, method: str) -> int:
        return self.asked.count(method)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        method = request["method"]
        self.asked.append(method)
        if method in self.before:
            self.before[method]()
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            reply["result"] = self.methods[method](request["params"])
        except RpcFault as fault:
            reply["error"] = fault.reply
        if method in self.lose_replies_of:
            # The request was carried out; only its reply never arrives.
            reply = {"jsonrpc": "2.0", "id": -1, "result": None}
        return reply

    def _context(self) -> dict[str, int]:
        return {"slot": self.slot - self.lag_slots}

    def _statuses(self, params: list[Any]) -> dict[str, Any]:
        signatures, options = params
        known = {**self.history, **self.landed} if options["searchTransactionHistory"] else self.landed
        return {"context": self._context(), "value": [self._status(known.get(s)) for s in signatures]}

    def _status(self, landed: Landed | None) -> dict[str, Any] | None:
        if landed is None or landed.slot > self.slot - self.lag_slots:
            return None
        return {
            "slot": landed.slot,
            "confirmations": None,
            "err": landed.error,
            "confirmationStatus": landed.commitment,
        }

    def _send(self, params: list[Any]) -> str:
        self.sent.append(params[0])
        self.send_options.append(params[1])
        if self.refuse_sends is not None:
            raise self.refuse_sends
        return "signature"

    def _epoch(self, params: list[Any]) -> dict[str, int]:
        assert params == [{"commitment": "finalized"}]
        return {"absoluteSlot": self.finalized_height, "blockHeight": self.finalized_height}

    def _blockhash(self, params: list[Any]) -> dict[str, Any]:
        value = {"blockhash": "1" * 32, "lastValidBlockHeight": self.slot + 150}
        return {"context": self._context(), "value": value}


def transaction(name: str, *, signed_at_slot: int = 1_000) -> SignedTransaction:
    """Return a transaction by name; the scripted node never looks into its bytes."""
    return SignedTransaction(name, name.encode(), signed_at_slot + 150, signed_at_slot)


def rpc_over(node: Any, clock: ManualClock, **options: Any) -> Rpc:
    """Return the client under test over a scripted node."""
    return Rpc(node, clock=clock, metrics=Metrics(), **options)


async def settle() -> None:
    """Let everything that needs no time happen."""
    for _ in range(60):
        await asyncio.sleep(0)


async def pass_time(clock: ManualClock, seconds: float, *, step_seconds: float = 0.1) -> None:
    """Let time pass in small steps, each followed by whatever it sets off."""
    await settle()
    for _ in range(round(seconds / step_seconds)):
        await clock.advance(step_seconds)
        await settle()
