"""One endpoint of a pool: its channel, what is known of its health, and whether it is of the cluster."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from deal_sdk.chain.channel import RpcChannel
from deal_sdk.chain.guard import EndpointGuard
from deal_sdk.chain.replies import read_reply
from deal_sdk.chain.reply_fields import text
from deal_sdk.chain.slot_lag import Sighting, SlotLag, Tips, sighting_in, sighting_in_refusal
from deal_sdk.errors import ChainError
from deal_sdk.metrics import FOREIGN_ENDPOINT, Metrics

logger = logging.getLogger(__name__)


class PoolMember:
    """An endpoint as its pool sees it."""

    def __init__(self, channel: RpcChannel, guard: EndpointGuard, *, position: int, metrics: Metrics) -> None:
        """Keep an endpoint that is not checked yet.

        Args:
            channel: calls the endpoint.
            guard: the channel's guard.
            position: the operator's preference, the smallest first.
            metrics: shows its lag.
        """
        self.channel = channel
        self.guard = guard
        self.slots = SlotLag(channel.clock)
        self.is_verified = False
        self.is_foreign = False
        self._position = position
        self._state = metrics.rpc_endpoint_state.labels(channel.endpoint)
        self._lag = metrics.rpc_endpoint_slot_lag.labels(channel.endpoint)
        self._state.set(0)

    @property
    def endpoint(self) -> str:
        """Return the endpoint's name, without secrets."""
        return self.channel.endpoint

    @property
    def is_open(self) -> bool:
        """Return whether its breaker lets nothing pass."""
        return self.guard.breaker is not None and self.guard.breaker.state == "open"

    def is_at_its_best(self, max_slot_lag: int) -> bool:
        """Return whether no endpoint could be better to ask, but for the operator's preference."""
        return (
            self.is_verified
            and self.slots.lag_slots <= max_slot_lag
            and not self.guard.is_stalled
            and (self.guard.breaker is None or self.guard.breaker.is_closed)
            and self.guard.pace.wait_seconds() <= 0
        )

    def rank(self) -> tuple[int, bool, float, int]:
        """Return what endpoints are sorted by, the one to ask first being the least."""
        breaker = self.guard.breaker
        trust = 0 if breaker is None else ("closed", "half_open", "open").index(breaker.state)
        return trust, self.guard.is_stalled, self.guard.pace.wait_seconds(), self._position

    def learn(
        self, method: str, params: Sequence[Any], result: Any, tips: Tips, asked_at_seconds: float
    ) -> bool:
        """Take in the slot of a reply and return whether there was one; see `SlotLag.learn`."""
        sighting = sighting_in(method, params, result)
        return sighting is not None and self._take_in(sighting, tips, asked_at_seconds)

    def learn_refusal(
        self, method: str, params: Sequence[Any], error: ChainError, tips: Tips, asked_at_seconds: float
    ) -> None:
        """Take in that it refused for not having reached a slot, which some endpoint must have told of."""
        refusal = sighting_in_refusal(method, params, error)
        if refusal is not None:
            sighting, wanted_slot = refusal
            best_slot = max(tips.get(sighting.commitment, 0), wanted_slot)
            self._take_in(sighting, {sighting.commitment: best_slot}, asked_at_seconds)

    def _take_in(self, sighting: Sighting, tips: Tips, asked_at_seconds: float) -> bool:
        if not self.slots.learn(sighting, tips, asked_at_seconds):
            return False
        self._lag.set(self.slots.lag_slots)
        return True

    async def genesis_hash(self) -> str:
        """Ask which cluster it belongs to."""
        return read_reply("getGenesisHash", text, await self.channel.call("getGenesisHash"))

    def verify(self, expected_hash: str, found_hash: str) -> None:
        """Admit it to the pool, or refuse it for good when it belongs to another cluster."""
        if found_hash == expected_hash:
            self.is_verified = True
            return
        self.is_foreign = True
        self._state.set(FOREIGN_ENDPOINT)
        logger.error("%s belongs to another cluster (%s) and is never asked", self.endpoint, found_hash)
