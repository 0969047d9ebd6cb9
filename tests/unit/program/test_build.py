"""The committed program is what its sources say, byte for byte, and its logic passes its own tests.

Without the toolchain these are skipped; in CI it must be there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from deal_sdk.chain.allowance import program_bytes
from tests.conftest import IN_CI

PROGRAMS: Final = Path(__file__).parents[3] / "programs"
NO_TOOLCHAIN: Final = 3
BUILD_TIMEOUT_SECONDS: Final = 280
TAIL_CHARACTERS: Final = 2_000


def run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_SECONDS,
        check=False,
    )


def skip_or_fail(reason: str) -> None:
    if IN_CI:
        pytest.fail(f"{reason}; in CI nothing may be left out", pytrace=False)
    pytest.skip(reason)


@pytest.mark.slow
def test_a_rebuild_gives_the_committed_bytes(tmp_path: Path) -> None:
    built = run([str(PROGRAMS / "build"), str(tmp_path)])
    if built.returncode == NO_TOOLCHAIN:
        skip_or_fail(built.stderr.strip())
    assert built.returncode == 0, built.stderr[-TAIL_CHARACTERS:]
    assert (tmp_path / "deal_allowance.so").read_bytes() == program_bytes()
    committed = (PROGRAMS.parent / "sdk/deal_sdk/chain/allowance/deal_allowance.so.sha256").read_text()
    assert (tmp_path / "deal_allowance.so.sha256").read_text() == committed


@pytest.mark.slow
def test_the_pure_logic_passes_its_own_tests(tmp_path: Path) -> None:
    cargo = shutil.which("cargo")
    if cargo is None:
        skip_or_fail("no cargo")
    assert cargo is not None
    manifest = str(PROGRAMS / "deal_allowance" / "Cargo.toml")
    tested = run(
        [cargo, "test", "--locked", "--lib", "--manifest-path", manifest], CARGO_TARGET_DIR=str(tmp_path)
    )
    assert tested.returncode == 0, (tested.stdout + tested.stderr)[-TAIL_CHARACTERS:]
    assert "20 passed" in tested.stdout


def test_a_build_without_its_toolchain_says_what_is_missing(tmp_path: Path) -> None:
    for variables in (
        {"DEAL_SBPF_LINKER": str(tmp_path / "none")},
        {"DEAL_PROGRAM_RUSTC": str(tmp_path / "none")},
    ):
        built = run([str(PROGRAMS / "build"), str(tmp_path / "out")], **variables)
        assert built.returncode == NO_TOOLCHAIN
        assert built.stderr.startswith("programs/build: no ")
    assert not (tmp_path / "out").exists()
