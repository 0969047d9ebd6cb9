"""Where programs run, and what that leaves behind on the caller's thread."""

import threading
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from solders.instruction import Instruction

from deal_localnet import Localnet, LocalnetConfig, execution, programs
from deal_localnet.addresses import MEMO_PROGRAM
from deal_localnet.programs import InPlace, OnOwnThread, ProgramRunner, program_runner
from tests.unit.localnet.support import Driver


def figures() -> list[float]:
    with numpy.errstate(invalid="ignore"):
        return [float(numpy.longdouble(7.5) / numpy.longdouble(2)) for _ in range(8)]


@pytest.mark.parametrize("runner", [InPlace, OnOwnThread])
async def test_a_program_leaves_the_callers_figures_alone(
    runner: Callable[[], ProgramRunner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "program_runner", runner)
    async with Localnet(LocalnetConfig(auto_advance=False)) as localnet:
        driver = Driver(localnet)
        await driver.fund()
        await driver.run(Instruction(MEMO_PROGRAM, b"hello", []))
        assert figures() == [3.75] * 8


async def test_it_mends_what_a_program_spoiled(driver: Driver) -> None:
    transaction = await driver.signed([Instruction(MEMO_PROGRAM, b"hello", [])])
    try:
        driver.localnet.bank.svm.simulate_transaction(transaction)
        assert figures() != [3.75] * 8
    finally:
        InPlace().run(lambda nothing: nothing, None)
    assert figures() == [3.75] * 8


def test_a_failing_call_raises_where_it_was_made() -> None:
    def fail(reason: str) -> None:
        raise ValueError(reason)

    for runner in (InPlace(), OnOwnThread()):
        with pytest.raises(ValueError, match="no program"):
            runner.run(fail, "no program")


@pytest.mark.parametrize("obstacle", ["architecture", "system", "memory"])
def test_where_nothing_can_be_mended_a_thread_is_used(obstacle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("no executable memory here")

    if obstacle == "architecture":
        monkeypatch.setattr(programs.platform, "machine", lambda: "aarch64")
    elif obstacle == "system":
        monkeypatch.setattr(programs.sys, "platform", "win32")
    else:
        monkeypatch.setattr(programs.mmap, "mmap", refuse)
    runner = program_runner()
    monkeypatch.undo()
    here = threading.get_ident()
    assert runner.run(lambda caller: threading.get_ident() == caller, here) is False


def test_this_machine_needs_no_hop() -> None:
    here = threading.get_ident()
    assert program_runner().run(lambda caller: threading.get_ident() == caller, here) is True
