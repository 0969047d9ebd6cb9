"""Writes the reference page of the embedded validator's methods from its own tables."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Final

from deal_localnet.dispatch import METHODS
from deal_localnet.methods_testing import PREFIX
from deal_localnet.pubsub_session import SUBSCRIBES

_OPENING: Final = """# The embedded validator's methods

What `dealctl localnet` and `localnet://` answer over JSON-RPC, and what can be subscribed to over the
WebSocket on the next port. Parameters, encodings, commitments and errors are those of Agave; any other
name is answered with `-32601 Method not found`, as Agave answers names that it does not have or no longer
has.

Every figure is the chain's own: `getSupply` adds up the accounts, `getBlock` shows what landed, samples of
performance are read off the blocks. One node leads every slot, and nobody stakes or votes: there are no
vote accounts, no stake behind a block and no rewards, and `voteSubscribe` is silent. A validator offers
`blockSubscribe` and `voteSubscribe` only with flags; here they are always there."""


def localnet_methods_page() -> str:
    """Return the page."""
    methods = (
        (name, method.handler, method.required, method.maximum)
        for name, method in METHODS.items()
        if not name.startswith(PREFIX)
    )
    topics = ((name, *known) for name, known in SUBSCRIBES.items())
    lines = [
        _OPENING,
        "",
        "## JSON-RPC",
        "",
        *_table("method", methods),
        "",
        "## PubSub",
        "",
        "Each has its `...Unsubscribe`, which takes the subscription's number.",
        "",
        *_table("subscription", topics),
    ]
    return "\n".join(lines) + "\n"


def _table(title: str, entries: Iterator[tuple[str, Callable[..., Any], int, int]]) -> Iterator[str]:
    yield f"| {title} | parameters | what it does |"
    yield "|---|---|---|"
    for name, handler, required, maximum in sorted(entries, key=lambda entry: entry[0]):
        yield f"| `{name}` | {_parameters(required, maximum)} | {_meaning(handler)} |"


def _parameters(required: int, maximum: int) -> str:
    if maximum == 0:
        return "none"
    return str(maximum) if required == maximum else f"{required} to {maximum}"


def _meaning(handler: Callable[..., Any]) -> str:
    return (inspect.getdoc(handler) or "").split("\n")[0]
