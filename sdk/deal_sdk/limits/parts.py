"""Limits by the slot that they lie in, for stores where one script reaches one slot.

On a Redis Cluster the keys of a user, and those of an address, lie on different nodes. A reservation of
both is taken part by part. The first part, the home, names the others, so that whoever knows the
reservation's id and user can end it whole, also after a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from deal_sdk.limits.rules import Limit

ELSEWHERE: Final = "elsewhere"


@dataclass(frozen=True, slots=True)
class Part:
    """The limits of one user or key, and, at home, where the others are."""

    tag: str
    limits: tuple[Limit, ...]
    elsewhere: tuple[str, ...] = ()


def parts_of(limits: Sequence[Limit]) -> tuple[Part, ...]:
    """Sort limits by user or key: the first one's first, then the others in an order that all callers share.

    Args:
        limits: at least one.
    """
    by_tag: dict[str, list[Limit]] = {}
    for limit in limits:
        by_tag.setdefault(limit.tag, []).append(limit)
    home, *others = by_tag
    others.sort()
    first = Part(home, tuple(by_tag[home]), tuple(others))
    return (first, *(Part(tag, tuple(by_tag[tag])) for tag in others))


def tags_elsewhere(reply: str) -> tuple[str, ...]:
    """Return the other parts' tags from a settlement's reply, or none."""
    words = reply.split(" ")
    return tuple(words[1:]) if words[0] == ELSEWHERE else ()
