"""How far each endpoint is behind the best one, learnt from the replies that come anyway.

Owns the comparison. A reply's slot is held against the best that was known when its request left: a
reply that took long is not held against what others said meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from deal_sdk.chain._errors import MIN_CONTEXT_SLOT_NOT_REACHED
from deal_sdk.chain.replies import COMMITMENTS
from deal_sdk.clock import Clock
from deal_sdk.errors import RpcRefusedError
from deal_sdk.settings import Commitment

_DEFAULT_COMMITMENT: Final[Commitment] = "finalized"
# These answer from the newest block, whatever commitment is asked for.
_ALWAYS_PROCESSED: Final = frozenset({"getSignatureStatuses"})


class Sighting(NamedTuple):
    """A slot that an endpoint was seen at."""

    commitment: Commitment
    slot: int


Tips = Mapping[Commitment, int]


def sighting_in(method: str, params: Sequence[Any], result: Any) -> Sighting | None:
    """Return the slot that a reply speaks of, or None where it speaks of none."""
    if method == "getSlot":
        slot = result
    else:
        context = result.get("context") if isinstance(result, dict) else None
        slot = context.get("slot") if isinstance(context, dict) else None
    if type(slot) is not int or slot < 0:
        return None
    return Sighting(_commitment_of(method, params), slot)


def sighting_in_refusal(method: str, params: Sequence[Any], error: Exception) -> tuple[Sighting, int] | None:
    """Return the slot of an endpoint that refused for lagging behind, and the slot it was asked for."""
    if not isinstance(error, RpcRefusedError) or error.rpc_code != MIN_CONTEXT_SLOT_NOT_REACHED:
        return None
    wanted_slot = _options(params).get("minContextSlot", 0)
    slot = error.data.get("contextSlot") if isinstance(error.data, dict) else None
    if type(slot) is not int:
        slot = max(wanted_slot - 1, 0)
    return Sighting(_commitment_of(method, params), slot), wanted_slot


def _commitment_of(method: str, params: Sequence[Any]) -> Commitment:
    if method in _ALWAYS_PROCESSED:
        return "processed"
    named = _options(params).get("commitment")
    return named if named in COMMITMENTS else _DEFAULT_COMMITMENT


def _options(params: Sequence[Any]) -> Mapping[str, Any]:
    return params[-1] if params and isinstance(params[-1], dict) else {}


class SlotLag:
    """One endpoint's last known slots, and how far the last of them was behind."""

    def __init__(self, clock: Clock) -> None:
        """Begin without any: an endpoint that was never seen is held to be level."""
        self._clock = clock
        self._slots: dict[Commitment, tuple[float, int]] = {}
        self._lag_slots = 0
        self._seen_at_seconds = float("-inf")

    @property
    def lag_slots(self) -> int:
        """Return how many slots it was behind at the last sight."""
        return self._lag_slots

    @property
    def age_seconds(self) -> float:
        """Return how long ago it was last seen at any slot."""
        return self._clock.monotonic() - self._seen_at_seconds

    def slot(self, commitment: Commitment) -> int:
        """Return the last slot seen at a commitment, or 0."""
        return self._slots.get(commitment, (0.0, 0))[1]

    def learn(self, sighting: Sighting, tips: Tips, asked_at_seconds: float) -> bool:
        """Take in a slot, unless a reply to a later request told a newer one.

        Args:
            sighting: what the reply said.
            tips: the best slots that were known when the request left.
            asked_at_seconds: when that was.

        Returns:
            Whether it was taken in.
        """
        if asked_at_seconds < self._slots.get(sighting.commitment, (float("-inf"), 0))[0]:
            return False
        self._slots[sighting.commitment] = (asked_at_seconds, sighting.slot)
        self._lag_slots = max(tips.get(sighting.commitment, 0) - sighting.slot, 0)
        self._seen_at_seconds = self._clock.monotonic()
        return True
