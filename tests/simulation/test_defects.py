"""The simulation finds each of the classic mistakes, so that its silence means something."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.simulation.defects import DEFECTS
from tests.simulation.playing import play
from tests.simulation.prepared import Prepared

MAX_SEEDS = 200


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_is_found(
    prepared: Prepared, directory: Path, defect: Callable[[], AbstractContextManager[None]]
) -> None:
    with defect():
        found = next((seed for seed in range(MAX_SEEDS) if play(prepared, directory, seed).broken), None)
    assert found is not None, f"no seed below {MAX_SEEDS} finds {defect.__name__}"
