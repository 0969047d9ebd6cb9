"""The collector leaves alone what a service loaded at its start."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from deal_sdk.garbage import COLLECT_AFTER_OBJECTS, collect_rarely


class Circle:
    """An object that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Give the collector of the test's process back as it was."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_what_lives_is_left_out_of_every_later_collection() -> None:
    old = Circle()
    freed_at = weakref.ref(old)
    collect_rarely()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold()[0] == COLLECT_AFTER_OBJECTS
    del old
    gc.collect()
    assert freed_at() is not None


def test_garbage_made_later_is_freed_and_none_is_kept_from_before() -> None:
    before = weakref.ref(Circle())
    collect_rarely()
    assert before() is None
    after = weakref.ref(Circle())
    gc.collect()
    assert after() is None
