"""The program as it ships: its bytes, their hash, its IDL, and what its error numbers mean."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

import orjson
from solders.pubkey import Pubkey

PROGRAM_NAME: Final = "deal_allowance"
EMBEDDED_PROGRAM_ID: Final = Pubkey.from_bytes(hashlib.sha256(b"deal_allowance, embedded").digest())
"""Where the embedded chain has the program from its first block on; nobody holds a key of this address."""

_CAPITAL: Final = re.compile("[A-Z]")
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
def embedded_programs() -> tuple[tuple[Pubkey, bytes], ...]:
    """Return the programs that the embedded chain has from its first block on, each with its address."""
    return ((EMBEDDED_PROGRAM_ID, program_bytes()),)


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
def instruction_discriminators() -> frozenset[bytes]:
    """Return the first eight bytes of each instruction, by which they are known in any deployment."""
    names = (snake_case(instruction["name"]) for instruction in orjson.loads(idl_json())["instructions"])
    return frozenset(discriminator("global", name) for name in names)


@cache
def searching_discriminators() -> frozenset[bytes]:
    """Return those of the instructions that search for an address, which costs each time another amount."""
    return frozenset(
        discriminator("global", name)
        for name in ("initialize_merchant", "open_allowance", "create_reward_batch")
    )


def discriminator(namespace: str, name: str) -> bytes:
    """Return the first bytes of an instruction, an account or an event, by Anchor's convention."""
    return hashlib.sha256(f"{namespace}:{name}".encode()).digest()[:8]


def snake_case(name: str) -> str:
    """Return a name of the IDL as Python and Rust write it."""
    return _CAPITAL.sub(lambda capital: f"_{capital[0].lower()}", name)


@cache
def _refusals() -> dict[int, ProgramRefusal]:
    errors = orjson.loads(idl_json())["errors"]
    return {error["code"]: ProgramRefusal(error["code"], error["name"], error["msg"]) for error in errors}
