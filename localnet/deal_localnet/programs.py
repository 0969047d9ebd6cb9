"""Where on-chain programs run, so that they spoil no figures of the thread that asked for it.

LiteSVM compiles programs on 64-bit x86, and what it compiles uses the MMX registers without the `emms` that
must follow: the next extended precision figures of the same thread, in a plot say, are NaN.
"""

import ctypes
import mmap
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

EMMS_AND_RETURN: Final = bytes.fromhex("0f77c3")
X86_64_NAMES: Final = frozenset({"x86_64", "amd64"})

ArgumentT = TypeVar("ArgumentT")
ResultT = TypeVar("ResultT")


class ProgramRunner(Protocol):
    """Calls what runs programs."""

    def run(self, method: Callable[[ArgumentT], ResultT], argument: ArgumentT) -> ResultT:
        """Return what the method returns."""


class InPlace:
    """Runs programs on the caller's thread and empties its registers after each: a tenth of a hop's price."""

    def __init__(self) -> None:
        """Map the instruction.

        Raises:
            OSError: when this system maps no executable memory or runs no 64-bit x86 instructions.
        """
        if sys.platform == "win32" or platform.machine().lower() not in X86_64_NAMES:
            raise OSError("the instruction is of 64-bit x86, and mapped in the way of POSIX")
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(EMMS_AND_RETURN)
        self._code = ctypes.c_char.from_buffer(self._page)
        self._empty_registers = ctypes.PYFUNCTYPE(None)(ctypes.addressof(self._code))

    def run(self, method: Callable[[ArgumentT], ResultT], argument: ArgumentT) -> ResultT:
        """Call the method here."""
        try:
            return method(argument)
        finally:
            self._empty_registers()


class OnOwnThread:
    """Runs programs on a thread of their own, for machines where nothing can be done about the caller's."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="localnet-programs")

    def run(self, method: Callable[[ArgumentT], ResultT], argument: ArgumentT) -> ResultT:
        """Call the method there and wait for it."""
        return self._thread.submit(method, argument).result()


def program_runner() -> ProgramRunner:
    """Return the cheapest runner that this machine allows."""
    try:
        return InPlace()
    except OSError:
        return OnOwnThread()
