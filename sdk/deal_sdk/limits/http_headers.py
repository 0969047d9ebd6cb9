"""What an HTTP response says of its rate limits.

`RateLimit-Policy` and `RateLimit` follow draft-ietf-httpapi-ratelimit-headers-11 (May 2026): lists of
structured fields (RFC 9651), one item for each policy, named by a string, with the quota `q` and its window
`w`, or what remains `r` and the seconds `t` until it is there again. `Retry-After` is RFC 9110, section
10.2.3; where both are sent it is no earlier than the draft's `t` of the limit that refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from deal_sdk.limits.rates import RateDecision, RateState

RATE_LIMIT_POLICY_HEADER: Final = "RateLimit-Policy"
RATE_LIMIT_HEADER: Final = "RateLimit"
RETRY_AFTER_HEADER: Final = "Retry-After"
# An integer of structured fields has at most 15 digits; every limit here has fewer.


def rate_limit_headers(*decisions: RateDecision, names: Sequence[str] = ()) -> dict[str, str]:
    """Return the headers that tell a client of its limits, and when it was refused how long to wait.

    Args:
        decisions: of one request; usually one.
        names: a prefix for each decision's policies, needed where there are several: "ip", "user".

    Returns:
        Header names and values; nothing where the store did not answer and the request was allowed.
    """
    prefixes = [f"{name}_" for name in names] or [""] * len(decisions)
    policies: list[str] = []
    limits: list[str] = []
    for prefix, decision in zip(prefixes, decisions, strict=True):
        for state in decision.states:
            policies.append(f'"{prefix}{state.name}";q={state.limit};w={state.window_seconds}')
            limits.append(f'"{prefix}{state.name}";r={state.remaining};t={_seconds(_next(state))}')
    headers: dict[str, str] = {}
    if policies:
        headers[RATE_LIMIT_POLICY_HEADER] = ", ".join(policies)
        headers[RATE_LIMIT_HEADER] = ", ".join(limits)
    if not all(decision.allowed for decision in decisions):
        wait_seconds = max(decision.retry_after for decision in decisions)
        headers[RETRY_AFTER_HEADER] = str(max(_seconds(wait_seconds), 1))
    return headers


def _next(state: RateState) -> float:
    return max(state.reset_after, state.retry_after)


def _seconds(seconds: float) -> int:
    # Rounded up: a client that waits as long as it was told must not be refused again.
    return math.ceil(seconds)
