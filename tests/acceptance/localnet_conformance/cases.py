"""What is asked of both nodes, as data: a name, a method and its parameters.

A text that begins with `$` stands for what the scenario named: `$alice` is an address, `$sig.transfer` the
signature of a step, `$slot.transfer` its slot, `$wire.ok` the bytes of a transaction that was not sent yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Case:
    """Asks one thing of a method.

    `fresh` cases are asked before the scenario is final. `pick` names what a list of the reply keeps.
    """

    name: str
    method: str
    params: Any
    fresh: bool = False
    pick: str = ""

    @property
    def identifier(self) -> str:
        """Return what tells this case from every other."""
        return f"{self.method}: {self.name}"


@dataclass(frozen=True, slots=True)
class HttpCase:
    """Sends an HTTP request as it is."""

    name: str
    body: bytes | None
    verb: str = "POST"
    path: str = "/"
    headers: Mapping[str, str] | None = None

    @property
    def identifier(self) -> str:
        """Return what tells this case from every other."""
        return f"http: {self.name}"


@dataclass(frozen=True, slots=True)
class WatchCase:
    """Subscribes, and takes as many notifications as are expected of the transaction that is sent then."""

    name: str
    method: str
    params: Any
    sends: str = ""
    notifications: int = 0

    @property
    def identifier(self) -> str:
        """Return what tells this case from every other."""
        return f"{self.method}: {self.name}"


@dataclass(frozen=True, slots=True)
class TalkCase:
    """Sends messages over a WebSocket and takes one reply to each."""

    name: str
    messages: Sequence[Any]

    @property
    def identifier(self) -> str:
        """Return what tells this case from every other."""
        return f"websocket: {self.name}"


AnyCase = Case | HttpCase | WatchCase | TalkCase


def group(method: str, cases: Mapping[str, Any], *, fresh: bool = False, pick: str = "") -> tuple[Case, ...]:
    """Return the cases of one method."""
    return tuple(Case(name, method, params, fresh, pick) for name, params in cases.items())


def filled(value: Any, names: Mapping[str, Any]) -> Any:
    """Return parameters with what the scenario named in place of its names."""
    if isinstance(value, str) and value.startswith("$"):
        return names[value[1:]]
    if isinstance(value, list):
        return [filled(item, names) for item in value]
    if isinstance(value, dict):
        return {name: filled(item, names) for name, item in value.items()}
    return value
