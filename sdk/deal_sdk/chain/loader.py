"""The upgradeable loader's instructions and accounts: how a program gets onto a chain and is replaced there.

Owns the wire format. https://docs.rs/solana-loader-v3-interface
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from deal_sdk.chain.addresses import SYSTEM_PROGRAM
from deal_sdk.chain.replies import AccountSnapshot

LOADER: Final = Pubkey.from_string("BPFLoaderUpgradeab1e11111111111111111111111")
BUFFER_HEADER_BYTES: Final = 37
PROGRAM_ACCOUNT_BYTES: Final = 36
PROGRAM_DATA_HEADER_BYTES: Final = 45
MAX_WRITE_BYTES: Final = 900
"""What fits a transaction beside its two signatures."""

_RENT: Final = Pubkey.from_string("SysvarRent111111111111111111111111111111111")
_CLOCK: Final = Pubkey.from_string("SysvarC1ock11111111111111111111111111111111")
_INITIALIZE_BUFFER, _WRITE, _DEPLOY, _UPGRADE, _CLOSE = 0, 1, 2, 3, 5
_PROGRAM_DATA_TAG: Final = 3


@dataclass(frozen=True, slots=True)
class ProgramData:
    """A program as it is deployed: its bytes with the zeros that fill its account, and who may replace it."""

    slot: int
    authority: Pubkey | None
    elf: bytes


def program_data_address(program: Pubkey) -> Pubkey:
    """Derive where a program's bytes are."""
    return Pubkey.find_program_address([bytes(program)], LOADER)[0]


def parse_program_data(account: AccountSnapshot) -> ProgramData | None:
    """Read the account of a program's bytes; None when it is none, or was closed."""
    data = account.data
    if account.owner != LOADER or len(data) < PROGRAM_DATA_HEADER_BYTES:
        return None
    tag, slot, has_authority = struct.unpack_from("<IQB", data)
    if tag != _PROGRAM_DATA_TAG:
        return None
    authority = Pubkey.from_bytes(data[13:PROGRAM_DATA_HEADER_BYTES]) if has_authority else None
    return ProgramData(slot, authority, data[PROGRAM_DATA_HEADER_BYTES:])


def initialize_buffer(buffer: Pubkey, authority: Pubkey) -> Instruction:
    """Turn a new account into a buffer that its authority writes."""
    metas = [AccountMeta(buffer, False, True), AccountMeta(authority, False, False)]
    return Instruction(LOADER, struct.pack("<I", _INITIALIZE_BUFFER), metas)


def write_buffer(buffer: Pubkey, authority: Pubkey, offset: int, part: bytes) -> Instruction:
    """Write a part of a program into its buffer; written twice it is the same."""
    metas = [AccountMeta(buffer, False, True), AccountMeta(authority, True, False)]
    return Instruction(LOADER, struct.pack("<IIQ", _WRITE, offset, len(part)) + part, metas)


def close_buffer(buffer: Pubkey, authority: Pubkey, recipient: Pubkey) -> Instruction:
    """Close a buffer and give its rent back."""
    metas = [
        AccountMeta(buffer, False, True),
        AccountMeta(recipient, False, True),
        AccountMeta(authority, True, False),
    ]
    return Instruction(LOADER, struct.pack("<I", _CLOSE), metas)


def deploy_program(
    *, payer: Pubkey, program: Pubkey, buffer: Pubkey, authority: Pubkey, max_bytes: int
) -> Instruction:
    """Deploy what a buffer holds at a program's new account, with room for later versions."""
    metas = [
        AccountMeta(payer, True, True),
        AccountMeta(program_data_address(program), False, True),
        AccountMeta(program, False, True),
        AccountMeta(buffer, False, True),
        AccountMeta(_RENT, False, False),
        AccountMeta(_CLOCK, False, False),
        AccountMeta(SYSTEM_PROGRAM, False, False),
        AccountMeta(authority, True, False),
    ]
    return Instruction(LOADER, struct.pack("<IQ", _DEPLOY, max_bytes), metas)


def upgrade_program(*, program: Pubkey, buffer: Pubkey, authority: Pubkey, spill: Pubkey) -> Instruction:
    """Replace a program by what a buffer holds; the buffer's rent goes to the spill account."""
    metas = [
        AccountMeta(program_data_address(program), False, True),
        AccountMeta(program, False, True),
        AccountMeta(buffer, False, True),
        AccountMeta(spill, False, True),
        AccountMeta(_RENT, False, False),
        AccountMeta(_CLOCK, False, False),
        AccountMeta(authority, True, False),
    ]
    return Instruction(LOADER, struct.pack("<I", _UPGRADE), metas)
