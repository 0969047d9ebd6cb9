"""The interpreter's collector of garbage, told that what a service loads stays as long as it runs.

A collection looks through every object that lives, most of which a service loaded at its start and never
frees; under load that takes a tenth of its CPU time, and stops the event loop each time. Nothing here
changes what a program does: only a process that is a service may want it, so nobody calls it unasked.
"""

from __future__ import annotations

import gc
from typing import Final

COLLECT_AFTER_OBJECTS: Final = 10_000
"""A payment keeps some 60 objects alive until it is final; the default of 700 sees each of them thrice."""


def collect_rarely() -> None:
    """Leave what lives now out of every later collection, and collect after more objects than by default.

    Call it once, when everything is open. See `gc.freeze`: what becomes garbage in a circle after it, out of
    what lives now, is not freed before the process ends.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, *gc.get_threshold()[1:])
