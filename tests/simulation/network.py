"""Between the SDK and the chain: a network that delays, loses and repeats, and nodes that lag and lie.

It outlives the processes that use it: what one sent arrives although the sender is dead by then. Nothing
here lies about finality: a null status without history, a lagging slot and a lost reply are what real
endpoints do; inventing a finalized height is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import orjson
from solders.account import Account
from solders.pubkey import Pubkey

from deal_localnet import Localnet
from deal_localnet.dispatch import answer_one
from deal_localnet.faults import garbage
from deal_localnet.slots import Commitment
from deal_localnet.wire import decode_transaction
from deal_sdk.chain._errors import translate_http_status
from deal_sdk.clock import ManualClock
from deal_sdk.errors import RpcTimeoutError, RpcUnavailableError
from tests.simulation import faults
from tests.simulation.faults import SEND, STATUSES, Fault, Misfortune
from tests.simulation.life import Life, start_for

ENDPOINT: Final = "simulated"
CLIENT_TIMEOUT_SECONDS: Final = 3.0
MAX_LATENCY_SECONDS: Final = 0.12
MAX_LATE_SECONDS: Final = 70.0
TOKEN_ACCOUNT_BYTES: Final = 165
STATE_OFFSET: Final = 108
FROZEN: Final = 2
CENSORED_LAG_SECONDS: Final = 12.0
MAX_PASSAGES_AFTER_SEND: Final = 25

Call = dict[str, Any]


@dataclass(slots=True)
class Censored:
    """A transaction that nodes take and leaders ignore until shortly before its blockhash dies."""

    request: Call
    lands_at_height: int


class Network:
    """Carries requests to one chain and breaks on the way as its faults say."""

    def __init__(
        self, localnet: Localnet, clock: ManualClock, random: Random, misfortune: Misfortune
    ) -> None:
        self.localnet = localnet
        self.clock = clock
        self.random = random
        self.misfortune = misfortune
        self.had_deep_fork = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self.trace: list[tuple[float, str]] = []
        self._censored: dict[str, Censored] = {}
        self._freed: set[str] = set()
        self._status_lag_until = 0.0
        self._status_lag = 0

    def heal(self) -> None:
        """End every fault; what is on its way still arrives."""
        self.misfortune.heal()
        self._status_lag_until = 0.0
        for signature in list(self._censored):
            self._free(signature)

    def slot_passed(self) -> None:
        """Let censored transactions land that have hardly any life left, and forks happen."""
        height = self.localnet.bank.chain.height_at(Commitment.PROCESSED)
        for signature, censored in list(self._censored.items()):
            if height >= censored.lands_at_height:
                self._status_lag = self.random.randint(0, 12)
                self._status_lag_until = self.clock.monotonic() + CENSORED_LAG_SECONDS
                self._free(signature)
        fork = self.misfortune.of(faults.FORK)
        if fork is not None:
            self._fork(fork.depth)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something of the network's own, which no process owns."""
        task = start_for(None, work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def carry(
        self, body: bytes, reply: asyncio.Future[bytes], life: Life, endpoint: int | None = None
    ) -> None:
        """Take a body to the chain by an endpoint, and its answer back, or fail on the way."""
        parsed = orjson.loads(body)
        calls: list[Call] = parsed if isinstance(parsed, list) else [parsed]
        methods = {call["method"] for call in calls}
        fault = self.misfortune.of_request(methods, endpoint)
        kind = "" if fault is None else fault.kind
        self.trace.append((round(self.clock.monotonic(), 3), f"{kind}:{','.join(sorted(methods))}"))
        await self._latency()
        failure = self._before_the_chain(kind)
        if kind == faults.LATE:
            self.start(self._arrive_later(calls, self.random.uniform(4.0, MAX_LATE_SECONDS)))
        if kind == faults.DELAY:
            await self.clock.sleep(self.random.uniform(0.2, CLIENT_TIMEOUT_SECONDS))
        if failure is None:
            answers = self._answers(calls, fault)
            life.passes("the chain answered")
            if kind == faults.DUPLICATE:
                self.start(self._arrive_later(calls, self.random.uniform(0.0, 8.0)))
            is_lost = kind in (faults.LOSE_REPLY, faults.BLACKOUT)
            if is_lost or (kind == faults.OUTAGE and self.random.random() < 0.5):
                failure = RpcTimeoutError("the reply is lost", endpoint=ENDPOINT)
            await self._latency()
            if kind == faults.REORDER:
                await self.clock.sleep(self.random.uniform(0.3, CLIENT_TIMEOUT_SECONDS))
        if isinstance(failure, RpcTimeoutError):
            await self.clock.sleep(CLIENT_TIMEOUT_SECONDS)
        if reply.done():
            return
        if failure is not None:
            reply.set_exception(failure)
        else:
            reply.set_result(self._written(answers, isinstance(parsed, list), kind))

    def _before_the_chain(self, kind: str) -> Exception | None:
        if kind in (faults.LOSE_REQUEST, faults.LATE):
            return RpcTimeoutError("no reply in time", endpoint=ENDPOINT)
        if kind == faults.BLACKOUT and self.random.random() < 0.5:
            return RpcTimeoutError("no reply in time", endpoint=ENDPOINT)
        if kind == faults.OUTAGE and self.random.random() < 0.6:
            return RpcUnavailableError("connection refused", endpoint=ENDPOINT)
        if kind == faults.RATE_LIMIT:
            return translate_http_status(429, "1.5", ENDPOINT, self.clock.now())
        if kind == faults.UNAVAILABLE:
            return translate_http_status(503, None, ENDPOINT, self.clock.now())
        return None

    async def _latency(self) -> None:
        await self.clock.sleep(self.random.uniform(0.0, MAX_LATENCY_SECONDS))

    async def _arrive_later(self, calls: Sequence[Call], seconds: float) -> None:
        await self.clock.sleep(seconds)
        self._answers(calls, None)

    def _answers(self, calls: Sequence[Call], fault: Fault | None) -> list[Call]:
        kind = "" if fault is None else fault.kind
        lag = fault.depth if fault is not None and kind == faults.LAG else 0
        answers = []
        for call in calls:
            if call["method"] == SEND:
                answers.append(self._send(call, kind, lag))
            elif call["method"] == STATUSES:
                answers.append(self._statuses(call, kind, lag))
            else:
                with self.localnet.bank.chain.behind(lag):
                    answers.append(self._answer(call))
        return answers

    def _answer(self, call: Call) -> Call:
        answer = answer_one(self.localnet.node, call)
        assert answer is not None
        return answer

    def _send(self, call: Call, kind: str, lag: int) -> Call:
        wire = decode_transaction(call["params"][0], "base64", self.localnet.bank.lookup_table)
        taken = {"jsonrpc": "2.0", "id": call["id"], "result": wire.signature}
        if kind == faults.DROP or wire.signature in self._censored:
            return taken
        if kind == faults.CENSOR and wire.signature not in self._freed:
            signed_at = self.localnet.bank.chain.blockhash_height(wire.blockhash)
            if signed_at is not None:
                life = self.localnet.bank.chain.lifetime_blocks
                self._censored[wire.signature] = Censored(call, signed_at + life - self.random.randint(0, 5))
                return taken
        if kind == faults.FAIL:
            return self._fail(call, wire.keys)
        with self.localnet.bank.chain.behind(lag, but_processed=True):
            return self._answer(call)

    def _fail(self, call: Call, keys: Sequence[Pubkey]) -> Call:
        """Land a transaction while its token accounts are frozen, so that it fails on chain."""
        bank = self.localnet.bank
        frozen = {}
        for key in keys:
            account = bank.accounts.current(key)
            if account is not None and _holds_tokens(account.data):
                frozen[key] = account
                data = bytearray(account.data)
                data[STATE_OFFSET] = FROZEN
                changed = Account(account.lamports, bytes(data), account.owner, False, account.rent_epoch)
                self.localnet.set_account(key, changed)
        answer = self._answer(call)
        for key, account in frozen.items():
            self.localnet.set_account(key, account)
        return answer

    def _statuses(self, call: Call, kind: str, lag: int) -> Call:
        if self.clock.monotonic() < self._status_lag_until:
            lag = max(lag, self._status_lag)
        searches = call["params"][1].get("searchTransactionHistory", False)
        with self.localnet.bank.chain.behind(lag):
            answer = self._answer(call)
        context_slot = answer["result"]["context"]["slot"]
        for index, status in enumerate(answer["result"]["value"]):
            is_hidden = kind == faults.NULL_STATUS and not searches and self.random.random() < 0.7
            is_hidden = is_hidden or kind == faults.FORGET
            if status is not None and (status["slot"] > context_slot or is_hidden):
                answer["result"]["value"][index] = None
        return answer

    def _free(self, signature: str) -> None:
        censored = self._censored.pop(signature)
        self._freed.add(signature)
        self._answer({**censored.request, "id": 0})

    def _fork(self, depth: int) -> None:
        chain = self.localnet.bank.chain
        final = chain.slot_at(Commitment.FINALIZED)
        kept = max(final, chain.open.slot - depth)
        self.had_deep_fork |= kept < chain.slot_at(Commitment.CONFIRMED)
        self.localnet.rollback(kept)

    def _written(self, answers: list[Call], is_batch: bool, kind: str) -> bytes:
        if kind == faults.SHUFFLE:
            self.random.shuffle(answers)
        if kind == faults.GARBAGE:
            return garbage(answers, self.random)
        return orjson.dumps(answers if is_batch else answers[0])


def _holds_tokens(data: bytes) -> bool:
    # Token-2022 writes its extensions behind, and first what kind of account it is.
    return len(data) == TOKEN_ACCOUNT_BYTES or data[TOKEN_ACCOUNT_BYTES : TOKEN_ACCOUNT_BYTES + 1] == b"\x02"


class SimulatedTransport:
    """One process's end of the network."""

    def __init__(self, network: Network, life: Life, number: int | None = None) -> None:
        self._network = network
        self._life = life
        self._number = number
        self.endpoint = ENDPOINT if number is None else f"{ENDPOINT}-{number}"

    async def post(self, body: bytes) -> bytes:
        """Send a body; once it left, it travels on whatever becomes of the sender."""
        self._life.check("before a request")
        if SEND.encode() in body and self._network.misfortune.of(faults.CRASH, methods={SEND}):
            self._life.end_within(self._network.random, MAX_PASSAGES_AFTER_SEND)
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._network.start(self._network.carry(body, reply, self._life, self._number))
        try:
            return await reply
        finally:
            self._life.check("after a request")

    async def close(self) -> None:
        """There is nothing to close."""
