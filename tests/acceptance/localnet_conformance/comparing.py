"""Replies of two nodes, brought to the same names and compared field by field."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from .cases import AnyCase, Case, HttpCase, TalkCase
from .differences import MOVING_FIELDS, MOVING_RESULTS, OWN_NAMES, Difference

ANY_ENTRY: Final = "[*]"
FIGURES: Final = re.compile(r"\d+")
MENTIONED: Final = ("faucet", "frozen_table", "identity", "table")


class Deviation(NamedTuple):
    """Names a field that differs, with what both sides have there."""

    path: str
    ours: Any
    theirs: Any

    def __str__(self) -> str:
        return f"{self.path}\n    localnet: {self.ours!r}\n    Agave:    {self.theirs!r}"


MISSING: Final = "(no such field)"


def deviations(ours: Any, theirs: Any, path: str = "") -> Iterator[Deviation]:
    """Iterate over the fields that differ; numbers of different JSON types do."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted({*ours, *theirs}):
            below = f"{path}.{name}" if path else name
            yield from deviations(ours.get(name, MISSING), theirs.get(name, MISSING), below)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            yield from deviations(our, their, f"{path}[{index}]")
    elif type(ours) is not type(theirs) or ours != theirs:
        yield Deviation(path, ours, theirs)


class Names:
    """Finds what one chain calls by texts of its own."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        own = {name: value for name, value in names.items() if name.split(".")[0] in OWN_NAMES}
        self._whole = {value: f"<{name}>" for name, value in own.items()}
        self._parts = {own[name]: f"<{name}>" for name in MENTIONED if name in own}
        self._values = names

    def named(self, text: str) -> str:
        """Return a text with the scenario's names in place of the chain's own."""
        whole = self._whole.get(text)
        if whole is not None:
            return whole
        for value, name in self._parts.items():
            text = text.replace(value, name)
        return text

    def belongs_to(self, step: str, entry: Any) -> bool:
        """Tell whether an entry of a block is the transaction of a step, in whatever encoding."""
        shown = entry["transaction"] if isinstance(entry, dict) else entry
        if isinstance(shown, dict):
            shown = shown["signatures"]
        text = shown[0] if isinstance(shown, list) else shown
        return text in {self._values[f"{kind}.{step}"] for kind in ("sig", "wire", "wire58")}


def forgives(difference: Difference, deviation: Deviation) -> bool:
    """Tell whether a named difference is this one."""
    if not difference.path.endswith(ANY_ENTRY):
        return difference.path == deviation.path
    texts = (deviation.ours, deviation.theirs)
    return (
        deviation.path.startswith(difference.path.removesuffix(ANY_ENTRY) + "[")
        and all(isinstance(text, str) for text in texts)
        and len({FIGURES.sub("#", text) for text in texts}) == 1
    )


def comparable(case: AnyCase, reply: Any, values: Mapping[str, Any]) -> Any:
    """Return a reply with what is a chain's own replaced by its name, and what moves by its type."""
    names = Names(values)
    if isinstance(case, Case) and case.pick and isinstance(reply, dict) and "result" in reply:
        reply = {**reply, "result": PICKERS[case.pick](case, reply["result"], names)}
    moving = set(MOVING_FIELDS)
    if isinstance(case, TalkCase) or (not isinstance(case, HttpCase) and case.method in MOVING_RESULTS):
        moving.add("result")
    return _still(reply, names, moving)


def _still(value: Any, names: Names, moving: set[str], field: str = "") -> Any:
    if isinstance(value, dict):
        return {names.named(name): _still(item, names, moving, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_still(item, names, moving, field) for item in value]
    if field in moving:
        return f"<{type(value).__name__}>"
    return names.named(value) if isinstance(value, str) else value


def _by_address(case: Case, result: Any, names: Names) -> Any:
    if isinstance(result, dict):
        return {**result, "value": _by_address(case, result["value"], names)}
    return sorted(result, key=lambda item: item.get("pubkey") or item["address"])


def _of_the_scenario(case: Case, result: Any, names: Names) -> Any:
    step = case.params[0].removeprefix("$slot.")
    kept = {}
    for field in ("transactions", "signatures"):
        if field in result:
            kept[field] = [entry for entry in result[field] if names.belongs_to(step, entry)]
    return {**result, **kept}


def _with_a_price(case: Case, result: Any, names: Names) -> Any:
    return [entry for entry in result if entry["prioritizationFee"]]


def _newest(case: Case, result: Any, names: Names) -> Any:
    if isinstance(result, list):
        return result[-1:]
    data = (result["value"] or {}).get("data")
    if isinstance(data, dict) and isinstance(data["parsed"]["info"], list):
        data["parsed"]["info"] = data["parsed"]["info"][:1]
    return result


PICKERS: Final[dict[str, Callable[[Case, Any, Names], Any]]] = {
    "by address": _by_address,
    "newest": _newest,
    "of the scenario": _of_the_scenario,
    "with a price": _with_a_price,
}
