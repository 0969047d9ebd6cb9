"""A node's door to the chain: where requests come in, and where lag and faults befall them.

A chain may have several, one behind each server, so that a client can be shown nodes that disagree.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from .config import MAX_REQUEST_BODY_BYTES
from .dispatch import PARSE_FAILURE, answer, answer_one, parse
from .faults import Fault, FaultKind, FaultScript, garbage
from .methods_testing import PREFIX
from .registry import Node

JSON_HEADERS: Final = {"content-type": "application/json; charset=utf-8"}
TEXT_HEADERS: Final = {"content-type": "text/plain; charset=utf-8"}
BODY_TOO_LARGE: Final = b"request body size exceeds allowed maximum"
TAKING_METHODS: Final = frozenset({"sendTransaction", "requestAirdrop"})
"""What these bring goes on to the chain, however far behind the node is that takes it."""

HttpReply = tuple[int, dict[str, str], bytes]


class ConnectionDropped(ConnectionResetError):
    """Ends a connection without a reply, because a fault says so."""


class Endpoint:
    """Answers JSON-RPC bodies for one chain, as late and as badly as it is told to."""

    def __init__(
        self,
        node_of: Callable[[], Node],
        *,
        max_lag_slots: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Open a door; `Localnet.new_endpoint` does it.

        Args:
            node_of: returns the chain's node, once it is started.
            max_lag_slots: as far as the chain keeps older states.
            sleep: how a delay passes.
        """
        self._node_of = node_of
        self._max_lag_slots = max_lag_slots
        self._sleep = sleep
        self._lag_slots = 0
        self._faults: FaultScript | None = None

    @property
    def lag_slots(self) -> int:
        """Return how many slots behind it answers."""
        return self._lag_slots

    @lag_slots.setter
    def lag_slots(self, slots: int) -> None:
        self._check_lag(slots)
        self._lag_slots = slots

    @property
    def faults(self) -> FaultScript | None:
        """Return what befalls its requests; None when nothing does."""
        return self._faults

    @faults.setter
    def faults(self, script: FaultScript | None) -> None:
        for fault in script.planned if script is not None else ():
            if fault.kind is FaultKind.LAG:
                self._check_lag(fault.slots)
        self._faults = script

    def _check_lag(self, slots: int) -> None:
        if not 0 <= slots <= self._max_lag_slots:
            raise ValueError(
                f"a lag of {slots} slots needs LocalnetConfig(max_lag_slots={slots}) from the start on"
                if slots > 0
                else "a lag is not negative"
            )

    def heal(self) -> None:
        """End the lag and every fault."""
        self._lag_slots = 0
        self._faults = None

    async def handle_http(self, body: bytes) -> HttpReply:
        """Answer a POST with status, headers and body; a body over Agave's 50 KiB gets status 413.

        Raises:
            ConnectionDropped: when a fault ends the connection; the request may have been carried out.
        """
        fault = self._strike(body)
        if fault is None:
            return await self._answered(body, self._lag_slots)
        match fault.kind:
            case FaultKind.LOSE_REQUEST:
                raise ConnectionDropped("the request is lost")
            case FaultKind.RATE_LIMIT:
                return 429, {**TEXT_HEADERS, "retry-after": f"{fault.seconds:g}"}, b"Too many requests"
            case FaultKind.SERVER_ERROR:
                assert self._faults is not None
                return self._faults.server_error(), TEXT_HEADERS, b"the node has failed"
            case FaultKind.DELAY:
                await self._sleep(fault.seconds)
            case FaultKind.DUPLICATE:
                await self._answered(body, self._lag_slots)
        return await self._carried_out(body, fault)

    async def _carried_out(self, body: bytes, fault: Fault) -> HttpReply:
        lag = fault.slots if fault.kind is FaultKind.LAG else self._lag_slots
        reply = await self._answered(body, lag, drops=fault.kind is FaultKind.LOSE_TRANSACTION)
        if fault.kind is FaultKind.LOSE_REPLY:
            raise ConnectionDropped("the reply is lost")
        if fault.kind is FaultKind.GARBAGE and reply[2]:
            assert self._faults is not None
            answers = orjson.loads(reply[2])
            answers = answers if isinstance(answers, list) else [answers]
            return reply[0], reply[1], garbage(answers, self._faults.random)
        return reply

    def _strike(self, body: bytes) -> Fault | None:
        if self._faults is None:
            return None
        methods = called_methods(body)
        # Who sets the faults over the wire must be able to end them there.
        if any(method.startswith(PREFIX) for method in methods):
            return None
        return self._faults.strike(methods)

    async def _answered(self, body: bytes, lag_slots: int, *, drops: bool = False) -> HttpReply:
        if len(body) > MAX_REQUEST_BODY_BYTES:
            return 413, TEXT_HEADERS, BODY_TOO_LARGE
        node = self._node_of()
        if not lag_slots and not drops:
            reply = await answer(node, body)
        else:
            reply = await answer(node, body, lambda node, call: _answer_spoiled(node, call, lag_slots, drops))
        fault = _encoding_fault(body) if reply is PARSE_FAILURE else None
        return (200, JSON_HEADERS, reply or b"") if fault is None else (400, TEXT_HEADERS, fault)


def _encoding_fault(body: bytes) -> bytes | None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"utf-8 encoding error at byte {error.start} in request body".encode()
    return None


def _answer_spoiled(
    node: Node, call: dict[str, Any], lag_slots: int, drops_transactions: bool
) -> dict[str, Any] | None:
    """Answer a call as a node that is some slots behind, or one whose transactions nobody takes up."""
    method = call.get("method")
    if isinstance(method, str) and method.startswith(PREFIX):
        return answer_one(node, call)
    bank = node.bank
    bank.drops_transactions = drops_transactions
    try:
        with bank.chain.behind(lag_slots, but_processed=method in TAKING_METHODS):
            return answer_one(node, call)
    finally:
        bank.drops_transactions = False


def called_methods(body: bytes) -> set[str]:
    """Return the methods that a body calls; none for one that is no JSON-RPC."""
    request = parse(body) if len(body) <= MAX_REQUEST_BODY_BYTES else None
    if request is None:
        return set()
    calls = request if isinstance(request, list) else [request]
    return {call["method"] for call in calls if isinstance(call.get("method"), str)}
