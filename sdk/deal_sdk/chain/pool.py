"""Several RPC endpoints as one: reads go to the healthiest, and what fails goes on to the next.

Owns which endpoint is asked. It never makes a new request of its own: what goes on to another endpoint
is the same call with the same bytes, which for a signed transaction can land only once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from deal_sdk.chain._errors import error_of_all, may_succeed_elsewhere
from deal_sdk.chain.channel import SEND_TRANSACTION, Answer, Parse, RpcChannel, is_quick_read
from deal_sdk.chain.hedging import HedgeBudget, first_answer, hedge_delay_seconds
from deal_sdk.chain.pool_member import PoolMember
from deal_sdk.chain.replies import COMMITMENTS, read_reply
from deal_sdk.chain.reply_fields import integer
from deal_sdk.chain.slot_lag import Tips
from deal_sdk.chain.transport import Transport
from deal_sdk.clock import Clock
from deal_sdk.errors import ChainError, ChainMismatchError, RpcUnavailableError
from deal_sdk.metrics import Metrics

logger = logging.getLogger(__name__)

_NOT_REPEATED: Final = frozenset({"requestAirdrop"})
_PROBE: Final = ("getSlot", ({"commitment": "confirmed"},), integer)


@dataclass(slots=True)
class _Call:
    """A call on its way round the endpoints, with those that failed it."""

    method: str
    params: Sequence[Any]
    parse: Parse | None
    failures: dict[str, ChainError] = field(default_factory=dict)


class RpcPool:
    """A `Channel` over several endpoints of one cluster; `open` before the first call."""

    def __init__(
        self,
        members: Sequence[PoolMember],
        *,
        clock: Clock,
        metrics: Metrics,
        max_slot_lag: int,
        probe_interval_seconds: float,
        hedge_share: float,
    ) -> None:
        """Keep the endpoints; nothing is asked before `open`.

        Args:
            members: in the operator's order of preference.
            clock: spaces the probes.
            metrics: counts failovers and hedges.
            max_slot_lag: how many slots behind the best an endpoint may be and still be read from.
            probe_interval_seconds: an endpoint of which nothing was heard for so long is asked its slot.
            hedge_share: the most reads that are asked twice, as a share of all.
        """
        self.clock = clock
        self.transport: Transport = PoolTransport(self)
        self._members = tuple(members)
        self._metrics = metrics
        self._max_slot_lag = max_slot_lag
        self._probe_interval_seconds = probe_interval_seconds
        self._hedges = HedgeBudget(hedge_share)
        self._tips: Tips = {}
        self._genesis_hash: str | None = None
        self._probers: list[asyncio.Task[None]] = []
        self._closed = False

    @property
    def endpoint(self) -> str:
        """Return the endpoints' names."""
        return ", ".join(member.endpoint for member in self._members)

    @property
    def members(self) -> tuple[RpcChannel, ...]:
        """Return the channels of those endpoints that are known to be of the cluster."""
        return tuple(member.channel for member in self._members if member.is_verified)

    async def open(self) -> None:
        """Check that the endpoints are of one cluster, and begin to watch over them.

        One that cannot be reached is left out until a probe has checked it.

        Raises:
            ChainMismatchError: when two are of different clusters.
            RpcUnavailableError: when none can be reached.
        """
        outcomes = await asyncio.gather(*map(self._read_genesis, self._members))
        hashes = {member.endpoint: found for member, found in zip(self._members, outcomes, strict=True)}
        known = {endpoint: found for endpoint, found in hashes.items() if isinstance(found, str)}
        if len(set(known.values())) > 1:
            raise ChainMismatchError("the RPC endpoints belong to different clusters", genesis_hashes=known)
        if not known:
            raise error_of_all({name: e for name, e in hashes.items() if isinstance(e, ChainError)})
        self._genesis_hash = next(iter(known.values()))
        for member in self._members:
            member.is_verified = member.endpoint in known
        # One that hangs must not keep the others from being probed.
        self._probers = [asyncio.create_task(self._probe_for_ever(member)) for member in self._members]

    async def call(
        self, method: str, params: Sequence[Any] = (), *, turn: int = 0, parse: Parse | None = None
    ) -> Any:
        """Call a method on the best endpoint, and on the next where that may help; see `Channel.call`.

        Raises:
            RpcRefusedError: as an endpoint refused.
            RpcAllEndpointsFailedError: (or another RpcUnavailableError) when none gave an answer.
        """
        return (await self.answer(method, params, turn=turn, parse=parse)).result

    async def answer(
        self, method: str, params: Sequence[Any] = (), *, turn: int = 0, parse: Parse | None = None
    ) -> Answer:
        """Call a method and also say which endpoint answered; see `call`."""
        if self._closed:
            raise RpcUnavailableError("the RPC endpoints are closed")
        call = _Call(method, params, parse)
        if is_quick_read(method) and not self._hedges.is_off:
            try:
                return await self._hedged(self._order(method, turn), call)
            except ChainError:
                if not call.failures:
                    raise
        for member in self._candidates(method, turn):
            if member.endpoint in call.failures:
                continue
            try:
                return await self._try(member, call)
            except ChainError:
                if member.endpoint not in call.failures or method in _NOT_REPEATED:
                    raise
        raise error_of_all(call.failures)

    async def close(self) -> None:
        """Stop the probes, finish the calls under way, and refuse new ones."""
        self._closed = True
        for prober in self._probers:
            prober.cancel()
        await asyncio.gather(*self._probers, return_exceptions=True)
        await asyncio.gather(*(member.channel.close() for member in self._members))

    async def close_transports(self) -> None:
        """Release every endpoint's connections."""
        await asyncio.gather(*(member.channel.transport.close() for member in self._members))

    def best(self) -> PoolMember:
        """Return the endpoint that a read would be asked of.

        Raises:
            RpcUnavailableError: when every endpoint is another cluster's or was never reached.
        """
        return _first_of(self._order("", 0))

    def _candidates(self, method: str, turn: int) -> Iterator[PoolMember]:
        preferred = self._members[0]
        # Nearly always the preferred one answers, and then nobody needs the order of the others.
        if turn == 0 and preferred.is_at_its_best(self._max_slot_lag):
            yield preferred
        yield from self._order(method, turn)

    def _order(self, method: str, turn: int) -> list[PoolMember]:
        usable = sorted(
            (member for member in self._members if member.is_verified), key=lambda member: member.rank()
        )
        reachable = [member for member in usable if not member.is_open] or usable
        best_lag = min((member.slots.lag_slots for member in reachable), default=0)
        bound = best_lag + self._max_slot_lag
        level = [member for member in usable if member.slots.lag_slots <= bound]
        behind = [member for member in usable if member.slots.lag_slots > bound]
        start = turn % len(level) if level else 0
        order = level[start:] + level[:start]
        return order + behind if method == SEND_TRANSACTION else order

    async def _try(self, member: PoolMember, call: _Call) -> Answer:
        """Ask one endpoint, and keep a failure that another may make good."""
        try:
            return await self._ask(member, call)
        except ChainError as error:
            if may_succeed_elsewhere(error):
                call.failures[member.endpoint] = error
                self._metrics.rpc_failovers.labels(member.endpoint).inc()
            raise

    async def _ask(self, member: PoolMember, call: _Call) -> Answer:
        tips, method, params = self._tips, call.method, call.params
        asked_at_seconds = self.clock.monotonic()
        try:
            result = await member.channel.call(method, params)
        except ChainError as error:
            member.learn_refusal(method, params, error, tips, asked_at_seconds)
            raise
        if member.learn(method, params, result, tips, asked_at_seconds):
            self._tips = self._best_slots()
        return Answer(
            member.endpoint, result if call.parse is None else read_reply(method, call.parse, result)
        )

    async def _hedged(self, order: Sequence[PoolMember], call: _Call) -> Answer:
        if len(order) < 2:
            return await self._try(_first_of(order), call)
        first, second = order[:2]
        self._hedges.earn()
        was_hedged = False

        def may_hedge() -> bool:
            nonlocal was_hedged
            was_hedged = self._hedges.spend()
            return was_hedged

        answer = await first_answer(
            lambda: self._try(first, call),
            lambda: self._try(second, call),
            delay_seconds=hedge_delay_seconds(first.guard.latency.slow_seconds),
            may_hedge=may_hedge,
            clock=self.clock,
        )
        if was_hedged:
            self._metrics.rpc_hedges.labels(answer.endpoint).inc()
        return answer

    def _best_slots(self) -> Tips:
        return {
            commitment: max(member.slots.slot(commitment) for member in self._members)
            for commitment in COMMITMENTS
        }

    async def _read_genesis(self, member: PoolMember) -> str | ChainError:
        try:
            return await member.genesis_hash()
        except ChainError as error:
            logger.warning("%s cannot be checked yet: %s", member.endpoint, error.message)
            return error

    async def _probe_for_ever(self, member: PoolMember) -> None:
        while not member.is_foreign:
            await self.clock.sleep(self._probe_interval_seconds)
            # Ordinary replies tell the slot as well, so an endpoint in use costs no probes.
            if member.slots.age_seconds >= self._probe_interval_seconds:
                await self._probe(member)

    async def _recheck_those_behind(self) -> None:
        # Those probed at the same time had nothing to be compared with yet.
        best_slot = self._tips.get("confirmed", 0)
        for member in self._members:
            slot = member.slots.slot("confirmed")
            is_suspect = 0 < slot < best_slot - self._max_slot_lag
            if is_suspect and member.is_verified and member.slots.lag_slots <= self._max_slot_lag:
                await self._ask(member, _Call(*_PROBE))

    async def _probe(self, member: PoolMember) -> None:
        try:
            if not member.is_verified:
                assert self._genesis_hash is not None
                member.verify(self._genesis_hash, await member.genesis_hash())
            if member.is_verified:
                await self._ask(member, _Call(*_PROBE))
                await self._recheck_those_behind()
        except ChainError as error:
            logger.info("%s did not answer a probe: %s", member.endpoint, error.message)
        except Exception:
            logger.exception("a probe of %s broke", member.endpoint)


def _first_of(order: Sequence[PoolMember]) -> PoolMember:
    if not order:
        raise error_of_all({})
    return order[0]


class PoolTransport:
    """Carries bodies of other clients to the best endpoint; what fails is for them to repeat."""

    def __init__(self, pool: RpcPool) -> None:
        """Carry for a pool, which owns the connections."""
        self._pool = pool

    @property
    def endpoint(self) -> str:
        """Return the endpoints' names."""
        return self._pool.endpoint

    async def post(self, body: bytes) -> bytes:
        """Send a body to the endpoint that is best now; see `Transport.post`."""
        return await self._pool.best().channel.transport.post(body)

    async def close(self) -> None:
        """Release every endpoint's connections."""
        await self._pool.close_transports()
