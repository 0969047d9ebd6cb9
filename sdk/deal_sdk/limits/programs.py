"""Which Lua runs for what: a script holds the kinds of limits that it is asked about, and no others.

Owns how the files in `lua` are put together. Redis makes every function of a script anew at each call, so
that what nobody asked for would take a good part of the time.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from deal_sdk.limits.scripts import Script, load_script

PURCHASES: Final = 1
AMOUNTS: Final = 2
RATES: Final = 4
"""Windows and buckets, which a rate rule asks for together."""

_ALL: Final = PURCHASES | AMOUNTS | RATES
_STATES: Final = {
    PURCHASES: ("purchase",),
    AMOUNTS: ("amount",),
    RATES: ("window", "bucket"),
}


@cache
def gate_script(families: int, *, reserves: bool) -> Script:
    """Return the script that checks and takes limits.

    Args:
        families: which it is asked about, `PURCHASES`, `AMOUNTS` and `RATES` added up.
        reserves: whether what is taken can be given back.
    """
    name = f"gate_{families}_{'reserve' if reserves else 'take'}"
    return load_script(name, *_parts(families, "takes"), *(["reservation"] if reserves else []), "gate")


@cache
def settle_script() -> Script:
    """Return the script that commits and cancels reservations, whatever they hold."""
    return load_script("settle", *_parts(_ALL, "returns"), "reservation", "settle")


@cache
def reset_script() -> Script:
    """Return the script that begins periods anew and forgets rates."""
    return load_script("reset", "base", "periods", "amount", "sheet", "reset")


def _parts(families: int, verb: str) -> list[str]:
    parts = ["base"]
    if families & (PURCHASES | AMOUNTS):
        parts.append("periods")
    if families & RATES:
        parts.append("sheet")
    for family, kinds in _STATES.items():
        if families & family:
            parts += [part for kind in kinds for part in (kind, f"{kind}_{verb}")]
    return parts
