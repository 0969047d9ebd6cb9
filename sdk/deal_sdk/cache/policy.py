"""How one cache keeps its entries: lifetimes, bounds, and the tier in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deal_sdk.cache.entries import DEFAULT_LEASE_SECONDS, MAX_TTL_SECONDS, milliseconds
from deal_sdk.cache.loading import DEFAULT_WAIT_SECONDS
from deal_sdk.errors import InvalidInputError

DEFAULT_TTL_SECONDS: Final = 300.0
DEFAULT_LOCAL_TTL_SECONDS: Final = 30.0
DEFAULT_MAX_VALUE_BYTES: Final = 1024 * 1024
MAX_VALUE_BYTES: Final = 64 * 1024 * 1024
MAX_LOCAL_ENTRIES: Final = 1_000_000
MAX_TTL_SPREAD: Final = 0.5


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How one cache keeps its entries.

    Attributes:
        stale_seconds: how long after its lifetime a value is still served while it is loaded again in the
            background; 0 for never.
        negative_ttl_seconds: the lifetime of None, where it is not that of other values.
        ttl_spread: by which share, 0 to 0.5, lifetimes are cut at random, so that entries which were
            stored together do not end together.
        max_value_bytes: larger values, as JSON, are not kept.
        lease_seconds: how long a load may take for its result to be stored.
        wait_seconds: how old another process's load may be for a caller to wait for it.
        local_entries: how many entries this process keeps for itself; 0 for none.
        local_ttl_seconds: how long at most it serves one of them.
    """

    stale_seconds: float = 0.0
    negative_ttl_seconds: float | None = None
    ttl_spread: float = 0.0
    max_value_bytes: int = DEFAULT_MAX_VALUE_BYTES
    lease_seconds: float = DEFAULT_LEASE_SECONDS
    wait_seconds: float = DEFAULT_WAIT_SECONDS
    local_entries: int = 0
    local_ttl_seconds: float = DEFAULT_LOCAL_TTL_SECONDS

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InvalidInputError: for a bound out of range.
        """
        if not 0 <= self.stale_seconds <= MAX_TTL_SECONDS:
            raise InvalidInputError(f"stale_seconds must be 0 to {MAX_TTL_SECONDS:.0f}")
        if not 0 <= self.ttl_spread <= MAX_TTL_SPREAD:
            raise InvalidInputError(f"ttl_spread must be 0 to {MAX_TTL_SPREAD}")
        _check_count("max_value_bytes", self.max_value_bytes, 1, MAX_VALUE_BYTES)
        _check_count("local_entries", self.local_entries, 0, MAX_LOCAL_ENTRIES)
        for seconds in (
            self.negative_ttl_seconds,
            self.lease_seconds,
            self.wait_seconds,
            self.local_ttl_seconds,
        ):
            if seconds is not None:
                milliseconds(seconds)


def _check_count(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInputError(f"{name} must be an int of {least} to {most}")
