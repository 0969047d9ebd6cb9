"""A pytest plugin: the fixture `deal_localnet` is a fresh embedded chain for the test that asks for it.

It owns the fixture, its settings and the thread that its chains run on. It never imports the chain before a
test asks for one, so that it costs a suite without such tests nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from deal_localnet import LoopThread, ThreadedLocalnet

__all__ = ["deal_localnet", "deal_localnet_settings", "pytest_addoption", "pytest_configure"]

SLOT_MILLISECONDS: Final = "deal_localnet_slot_milliseconds"
FINALITY_SLOTS: Final = "deal_localnet_finality_slots"
ACCOUNT_DIRECTORIES: Final = "deal_localnet_account_dir"
PROGRAMS: Final = "deal_localnet_bpf_program"
MARKER: Final = (
    "deal_localnet(**settings): settings of this test's chain, by the names of deal_localnet.LocalnetConfig"
)
DEFAULT_SLOT_MILLISECONDS: Final = "50"
DEFAULT_FINALITY_SLOTS: Final = "8"
MAX_LAG_SLOTS: Final = 64


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what a project's configuration may say of its chains."""
    parser.addini(SLOT_MILLISECONDS, "How long a slot takes", default=DEFAULT_SLOT_MILLISECONDS)
    parser.addini(FINALITY_SLOTS, "Slots from landing to finality", default=DEFAULT_FINALITY_SLOTS)
    parser.addini(ACCOUNT_DIRECTORIES, "Folders of accounts' JSON files", type="paths", default=[])
    parser.addini(PROGRAMS, "ADDRESS_OR_KEYPAIR FILE.so, a line each", type="linelist", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def deal_localnet_settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the settings of a test's chain, by the names of `LocalnetConfig`; a project may override it.

    They are the configuration's, and above those the ones of the test's `deal_localnet` marker.
    """
    from deal_localnet import SetupError

    try:
        found = _settings_of(request.config)
    except (SetupError, ValueError) as error:
        raise pytest.UsageError(f"deal_localnet: {error}") from None
    marker = request.node.get_closest_marker("deal_localnet")
    return {**found, **(marker.kwargs if marker is not None else {})}


def _settings_of(config: pytest.Config) -> dict[str, Any]:
    from deal_localnet import read_account_directory, read_program

    programs = []
    for line in config.getini(PROGRAMS):
        address, _, path = line.partition(" ")
        programs.append(read_program(address, config.rootpath / path.strip()))
    accounts = [
        named for folder in config.getini(ACCOUNT_DIRECTORIES) for named in read_account_directory(folder)
    ]
    return {
        "slot_seconds": float(config.getini(SLOT_MILLISECONDS)) / 1_000,
        "finality_slots": int(config.getini(FINALITY_SLOTS)),
        "accounts": tuple(accounts),
        "programs": tuple(programs),
        "max_lag_slots": MAX_LAG_SLOTS,
        "test_methods": True,
    }


@pytest.fixture(scope="session")
def _deal_localnet_thread() -> Iterator[LoopThread]:
    from deal_localnet import LoopThread

    thread = LoopThread()
    thread.start()
    yield thread
    thread.close()


@pytest.fixture
def deal_localnet(
    deal_localnet_settings: dict[str, Any], _deal_localnet_thread: LoopThread
) -> Iterator[ThreadedLocalnet]:
    """Run a fresh chain for one test, behind `rpc_url` and `ws_url`, and end it with the test.

    It runs on a thread of its own: tests may be synchronous or asynchronous, under any plugin.
    """
    from deal_localnet import LocalnetConfig, ThreadedLocalnet

    with ThreadedLocalnet(LocalnetConfig(**deal_localnet_settings), _deal_localnet_thread) as chain:
        yield chain
