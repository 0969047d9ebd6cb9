"""The prepared world of the session, and the seeds that its tests play."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.prepared import Prepared, prepare

SEEDS = 300
LONG_SEEDS = 2_000


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="play this seed alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" not in metafunc.fixturenames:
        return
    chosen: int | None = metafunc.config.getoption("--seed", None)
    count = LONG_SEEDS if metafunc.config.getoption("--long") else SEEDS
    metafunc.parametrize("seed", range(count) if chosen is None else [chosen])


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The chain and the database that every run begins with."""
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    """Thousands of expected warnings a second take more time than the runs themselves."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The folder of one run."""
    return tmp_path / "run"
