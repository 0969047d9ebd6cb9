"""Which life of a server it is, so that what is heard and what is read come from the same one.

Owns the question and how its answer is read. A master's lineage ends with a restart, and with a failover,
which gives its successor another one. Never decides what follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

UNTOLD: Final = "untold"
"""Of a server that does not say, as where INFO is forbidden; it is trusted as long as it answers."""
NO_LINEAGE: Final = ""
"""Of a server from which stale values may be read: a replica, or a node that has lost its cluster."""

_MASTER: Final = "master"


@dataclass(frozen=True, slots=True)
class LineageQuestion:
    """What a server is asked, and how its answer is read."""

    words: tuple[str, ...]
    read: Callable[[Any], str]
    """Returns the lineage, `UNTOLD` or `NO_LINEAGE`."""


def is_master(role: object) -> bool:
    """Say whether the reply to ROLE is a master's."""
    return isinstance(role, list | tuple) and len(role) > 0 and role[0] in (_MASTER.encode(), _MASTER)


def _of_server(answer: Any) -> str:
    facts = _facts_of(answer)
    if facts.get("role", _MASTER) != _MASTER:
        return NO_LINEAGE
    return facts.get("master_replid", UNTOLD)


def _of_cluster(answer: Any) -> str:
    facts = _facts_of(answer)
    if facts.get("cluster_state", "ok") != "ok":
        return NO_LINEAGE
    return facts.get("cluster_current_epoch", UNTOLD)


def _facts_of(answer: Any) -> Mapping[str, str]:
    if isinstance(answer, Mapping):
        # redis-py reads some of these texts itself.
        return {str(name): str(value) for name, value in answer.items()}
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer)
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value for name, colon, value in pairs if colon}


OF_SERVER: Final = LineageQuestion(("INFO", "replication"), _of_server)
"""For one server and for a master that sentinels watch: PUBLISH reaches a replica, but not while it is
synchronized anew, so that what a replica tells of changes has gaps."""
OF_CLUSTER: Final = LineageQuestion(("CLUSTER", "INFO"), _of_cluster)
"""For a cluster, whose every node is told of what is published on any: its epoch counts failovers and slots
that moved."""
