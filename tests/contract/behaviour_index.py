"""What an index of behaviours is made of: what must hold, and the test that proves it."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TypeAlias

Proof: TypeAlias = tuple[ModuleType, str]
"""A module of tests, and the name of one in it; of a class's test with the class before a dot."""


def assert_each_is_proven(behaviours: Mapping[str, Proof]) -> None:
    """Fail where a test of the index is not there, or is named twice."""
    assert len(set(behaviours.values())) == len(behaviours)
    for module, name in behaviours.values():
        found: object = module
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found)
