"""Marks of processes: the dead of this machine are known, and nobody else is taken for dead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deal_sdk.payments import worker_process
from deal_sdk.payments.worker_process import has_died, process_mark, process_name


@pytest.fixture
def mark() -> str:
    found = process_mark()
    if found is None:
        pytest.skip("this kernel does not tell processes apart")
    return found


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def mark_of(mark: str, number: int) -> str:
    start = worker_process._start_of(number)
    assert start is not None
    return f"{mark.split('/')[0]}/{number}/{start}"


def test_this_process_lives(mark: str) -> None:
    assert not has_died(mark)
    assert process_name().endswith(f":{os.getpid()}")


def test_a_killed_process_has_died_before_anybody_waits_for_it(
    mark: str, child: subprocess.Popen[bytes]
) -> None:
    childs = mark_of(mark, child.pid)
    assert not has_died(childs)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert has_died(childs)
    child.wait()
    assert has_died(childs)


def test_another_process_under_the_same_number_is_another(mark: str) -> None:
    machine, number, start = mark.split("/")
    assert has_died(f"{machine}/{number}/{int(start) - 1}")


@pytest.mark.parametrize("foreign", [None, "", "nonsense", "other-machine/1/2", "a/b/c/d"])
def test_what_is_not_of_this_machine_may_live(foreign: str | None) -> None:
    assert not has_died(foreign)


def test_a_number_that_is_none_is_not_looked_up(mark: str) -> None:
    assert not has_died(f"{mark.split('/')[0]}/../self/1")
    assert not has_died(f"{mark.split('/')[0]}/self/1")


def test_a_kernel_that_does_not_tell_gives_no_mark(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "PROC", tmp_path)
    assert process_mark() is None
    assert not has_died(mark)
