"""Tells processes of this machine apart, so that one that died here hands over before its lease ends.

It is a hint and no proof: payments are safe whoever drives them. Where the kernel does not say, a lease
simply runs out. See proc(5) for the fields that are read.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_DEAD_STATES: Final = frozenset("ZXx")
_STATE, _START = 0, 19
"""Where a process's state and start stand after its name, which may itself hold spaces and brackets."""


def process_name() -> str:
    """Return the host's name and this process's number, for people."""
    return f"{socket.gethostname()}:{os.getpid()}"


def process_mark() -> str | None:
    """Return what tells this process from every other one ever, or None where the kernel does not say."""
    machine, start = _machine(), _start_of(os.getpid())
    return None if machine is None or start is None else f"{machine}/{os.getpid()}/{start}"


def has_died(mark: str | None) -> bool:
    """Return whether a mark is that of a process of this very machine which is gone.

    Args:
        mark: as `process_mark` returned it, there or elsewhere.
    """
    if mark is None or mark.count("/") != 2:
        return False
    machine, number, start = mark.split("/")
    return machine == _machine() and number.isdecimal() and _start_of(int(number)) != start


def _machine() -> str | None:
    # A number means another process in another namespace, and another one again after a reboot.
    try:
        boot = PROC.joinpath("sys/kernel/random/boot_id").read_text().strip()
        namespace = PROC.joinpath("self/ns/pid").readlink().name
    except OSError:
        return None
    return f"{boot}-{namespace}"


def _start_of(number: int) -> str | None:
    try:
        fields = PROC.joinpath(str(number), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[_STATE] in _DEAD_STATES else fields[_START]
