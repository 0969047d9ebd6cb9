"""Blocks as they were written for a reader: many readers ask for the same block within moments."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import orjson

MAX_KEPT_BYTES: Final = 8 * 1024 * 1024


class BlockForm(NamedTuple):
    """Names a block's transactions in one form; a block that still grows has another count each time."""

    slot: int
    transaction_count: int
    details: str
    encoding: str
    max_version: int | None
    shows_rewards: bool = True


class BlockReplies:
    """Keeps the transactions of blocks as JSON, those asked for last up to a number of bytes."""

    def __init__(self, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[BlockForm, bytes] = OrderedDict()
        self._kept_bytes = 0

    def transactions(self, form: BlockForm, render: Callable[[], list[Any]]) -> orjson.Fragment:
        """Return a block's transactions in a form, rendered only when they are not kept."""
        written = self._kept.get(form)
        if written is None:
            written = orjson.dumps(render())
            self._keep(form, written)
        else:
            self._kept.move_to_end(form)
        return orjson.Fragment(written)

    def clear(self) -> None:
        """Forget everything: a chain that was put back fills the same slots with other blocks."""
        self._kept.clear()
        self._kept_bytes = 0

    def _keep(self, form: BlockForm, written: bytes) -> None:
        self._kept[form] = written
        self._kept_bytes += len(written)
        while self._kept_bytes > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)
