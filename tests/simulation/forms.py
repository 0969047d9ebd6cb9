"""The forms that a world may have; the seeds are shared among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Form:
    """What kind of world a seed plays in."""

    name: str
    processes: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)


ALONE: Final = Form("alone")
SHARED: Final = Form("two processes", processes=2, settings={"database_busy_timeout_seconds": 0.01})
FORMS: Final = (ALONE, ALONE, SHARED)


def form_of(seed: int) -> Form:
    """Return the form of a seed's world."""
    return FORMS[seed % len(FORMS)]
