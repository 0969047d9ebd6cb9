"""Keeps the allocator and the collector of garbage from doing the same work for every transaction.

LiteSVM writes down every step of a program, half a megabyte for one token transfer, and frees it again.
"""

import ctypes
import gc
import sys
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
KEPT_BYTES: Final = 256 * 1024 * 1024
"""Free memory at the heap's end that is kept for the next transaction."""
LARGEST_ON_HEAP_BYTES: Final = 32 * 1024 * 1024
"""The most that glibc takes for it on 64 bits."""
COLLECT_AFTER_OBJECTS: Final = 50_000
FULL_COLLECTION: Final = 2


def keep_memory() -> bool:
    """Tell glibc to keep what is freed instead of giving it back and asking for it again, page by page.

    Returns:
        Whether it was told; other C libraries do without.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, LARGEST_ON_HEAP_BYTES) and mallopt(_TRIM_THRESHOLD, KEPT_BYTES))


def collect_rarely() -> None:
    """Leave what the chain keeps for good out of every collection, and collect less often."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 20, 100)
    if _leave_survivors_out not in gc.callbacks:
        gc.callbacks.append(_leave_survivors_out)


def _leave_survivors_out(phase: str, details: dict[str, int]) -> None:
    # A million transactions that landed would each time be looked through for a second.
    if phase == "stop" and details["generation"] == FULL_COLLECTION:
        gc.freeze()
