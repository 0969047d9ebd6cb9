"""The program as it ships: its bytes, their hash, its IDL, and what its error numbers mean."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

import orjson
from solders.pubkey import Pubkey

PROGRAM_NAME: Final = "deal_allowance"
EMBEDDED_PROGRAM_ID: Final = Pubkey.from_bytes(hashlib.sha256(b"deal_allowance, embedded").digest())
"""Where the embedded chain has the program from its first block on; nobody holds a key of this address."""

_PACKAGE: Final = "deal_sdk.chain.allowance"


@dataclass(frozen=True, slots=True)
class ProgramRefusal:
    """One of the program's own errors."""

    number: int
    name: str
    message: str


def program_bytes() -> bytes:
    """Return the program's ELF file as `programs/build` made it."""
    return resources.files(_PACKAGE).joinpath("deal_allowance.so").read_bytes()


@cache
def program_sha256() -> str:
    """Return the hash of the program's file in hexadecimal, as it was committed beside it."""
    return resources.files(_PACKAGE).joinpath("deal_allowance.so.sha256").read_text().split()[0]


@cache
def idl_json() -> str:
    """Return the IDL in Anchor's legacy format, as anchorpy reads it."""
    return resources.files(_PACKAGE).joinpath("idl.json").read_text()


def program_refusal(number: int | None) -> ProgramRefusal | None:
    """Return what an error number of the program means, or None for one that is not its own.

    Args:
        number: the number of a custom program error.
    """
    return None if number is None else _refusals().get(number)


@cache
def _refusals() -> dict[int, ProgramRefusal]:
    errors = orjson.loads(idl_json())["errors"]
    return {error["code"]: ProgramRefusal(error["code"], error["name"], error["msg"]) for error in errors}
