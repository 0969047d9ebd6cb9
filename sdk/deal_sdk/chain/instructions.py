"""Every instruction that the package sends, built from bytes, because client libraries drop theirs.

Owns the wire format of the token programs, associated accounts, memos and compute budgets. Always the
checked forms: the program then refuses an amount that was meant for a mint of other decimals.
"""

from __future__ import annotations

import struct
from typing import Final

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account

from deal_sdk.amounts import MAX_U64
from deal_sdk.chain.addresses import (
    ASSOCIATED_TOKEN_PROGRAM,
    MEMO_PROGRAM,
    SYSTEM_PROGRAM,
    associated_token_address,
)
from deal_sdk.errors import InvalidAmountError, InvalidInputError

MINT_SIZE_BYTES: Final = 82
TOKEN_ACCOUNT_SIZE_BYTES: Final = 165
EXTENDED_BASE_SIZE_BYTES: Final = TOKEN_ACCOUNT_SIZE_BYTES + 1
EXTENSION_HEADER_BYTES: Final = 4
METADATA_POINTER_BYTES: Final = 64
MAX_MEMO_BYTES: Final = 566
"""What the memo program is known to log within its default compute budget."""

_REVOKE: Final = 5
_TRANSFER_CHECKED: Final = 12
_APPROVE_CHECKED: Final = 13
_MINT_TO_CHECKED: Final = 14
_BURN_CHECKED: Final = 15
_INITIALIZE_MINT_2: Final = 20
_METADATA_POINTER: Final = 39
_METADATA_POINTER_INITIALIZE: Final = 0
_ASSOCIATED_CREATE_IDEMPOTENT: Final = 1
# The first eight bytes of SHA-256 of "spl_token_metadata_interface:initialize_account".
_METADATA_INITIALIZE: Final = bytes((210, 225, 30, 162, 88, 184, 77, 141))


def compute_unit_limit(units: int) -> Instruction:
    """Bound a transaction's compute, so that its priority fee is counted on what it needs."""
    return set_compute_unit_limit(units)


def compute_unit_price(micro_lamports: int) -> Instruction:
    """Offer a priority fee per compute unit."""
    return set_compute_unit_price(micro_lamports)


def memo(text: str, *signers: Pubkey) -> Instruction:
    """Write a memo, which some recipients demand right before a transfer.

    Args:
        text: up to 566 bytes of UTF-8.
        signers: addresses that must have signed it.

    Raises:
        InvalidInputError: when it is longer.
    """
    data = text.encode()
    if len(data) > MAX_MEMO_BYTES:
        raise InvalidInputError(f"a memo is at most {MAX_MEMO_BYTES} bytes", size_bytes=len(data))
    return Instruction(MEMO_PROGRAM, data, [_signer(address) for address in signers])


def create_program_account(
    *, payer: Pubkey, address: Pubkey, lamports: int, size_bytes: int, owner: Pubkey
) -> Instruction:
    """Create an account at a new address for a program; the address signs, and can be created once."""
    return create_account(
        CreateAccountParams(
            from_pubkey=payer, to_pubkey=address, lamports=lamports, space=size_bytes, owner=owner
        )
    )


def create_associated_account(
    *, payer: Pubkey, owner: Pubkey, mint: Pubkey, program_id: Pubkey
) -> Instruction:
    """Create an owner's token account unless it exists, so that the same transaction can be built twice."""
    accounts = [
        _signer(payer, writable=True),
        _writable(associated_token_address(owner, mint, program_id)),
        _readonly(owner),
        _readonly(mint),
        _readonly(SYSTEM_PROGRAM),
        _readonly(program_id),
    ]
    return Instruction(ASSOCIATED_TOKEN_PROGRAM, bytes([_ASSOCIATED_CREATE_IDEMPOTENT]), accounts)


def creates_associated_account(instruction: Instruction) -> bool:
    """Return whether an instruction creates somebody's token account, for which the payer pays rent."""
    return instruction.program_id == ASSOCIATED_TOKEN_PROGRAM


def initialize_mint(
    *,
    mint: Pubkey,
    program_id: Pubkey,
    decimals: int,
    mint_authority: Pubkey,
    freeze_authority: Pubkey | None = None,
) -> Instruction:
    """Turn a new account into a mint."""
    freeze = b"\x00" if freeze_authority is None else b"\x01" + bytes(freeze_authority)
    data = bytes([_INITIALIZE_MINT_2, decimals]) + bytes(mint_authority) + freeze
    return Instruction(program_id, data, [_writable(mint)])


def initialize_metadata_pointer(*, mint: Pubkey, program_id: Pubkey, authority: Pubkey) -> Instruction:
    """Make a Token-2022 mint carry its own metadata; must come before the mint is initialized."""
    data = bytes([_METADATA_POINTER, _METADATA_POINTER_INITIALIZE]) + bytes(authority) + bytes(mint)
    return Instruction(program_id, data, [_writable(mint)])


def initialize_metadata(
    *, mint: Pubkey, program_id: Pubkey, authority: Pubkey, name: str, symbol: str, uri: str
) -> Instruction:
    """Write name, symbol and URI into a Token-2022 mint; the mint authority signs."""
    data = _METADATA_INITIALIZE + b"".join(map(_borsh_text, (name, symbol, uri)))
    accounts = [_writable(mint), _readonly(authority), _readonly(mint), _signer(authority)]
    return Instruction(program_id, data, accounts)


def metadata_size_bytes(*, name: str, symbol: str, uri: str) -> int:
    """Return how much a Token-2022 mint grows by its metadata, which rent must be paid for ahead."""
    addresses_and_count = 2 * 32 + 4
    return (
        EXTENSION_HEADER_BYTES + addresses_and_count + sum(len(_borsh_text(t)) for t in (name, symbol, uri))
    )


def transfer_checked(
    *,
    source: Pubkey,
    mint: Pubkey,
    destination: Pubkey,
    authority: Pubkey,
    amount_base_units: int,
    decimals: int,
    program_id: Pubkey,
) -> Instruction:
    """Move tokens between token accounts; the authority is the source's owner or its delegate."""
    accounts = [_writable(source), _readonly(mint), _writable(destination), _signer(authority)]
    return Instruction(program_id, _checked(_TRANSFER_CHECKED, amount_base_units, decimals), accounts)


def mint_to_checked(
    *,
    mint: Pubkey,
    destination: Pubkey,
    authority: Pubkey,
    amount_base_units: int,
    decimals: int,
    program_id: Pubkey,
) -> Instruction:
    """Create tokens in a token account; the mint authority signs."""
    accounts = [_writable(mint), _writable(destination), _signer(authority)]
    return Instruction(program_id, _checked(_MINT_TO_CHECKED, amount_base_units, decimals), accounts)


def burn_checked(
    *,
    source: Pubkey,
    mint: Pubkey,
    authority: Pubkey,
    amount_base_units: int,
    decimals: int,
    program_id: Pubkey,
) -> Instruction:
    """Destroy tokens of a token account; its owner or its delegate signs."""
    accounts = [_writable(source), _writable(mint), _signer(authority)]
    return Instruction(program_id, _checked(_BURN_CHECKED, amount_base_units, decimals), accounts)


def approve_checked(
    *,
    source: Pubkey,
    mint: Pubkey,
    delegate: Pubkey,
    owner: Pubkey,
    amount_base_units: int,
    decimals: int,
    program_id: Pubkey,
) -> Instruction:
    """Let a delegate move up to an amount; it replaces whatever delegate the token account had."""
    accounts = [_writable(source), _readonly(mint), _readonly(delegate), _signer(owner)]
    return Instruction(program_id, _checked(_APPROVE_CHECKED, amount_base_units, decimals), accounts)


def revoke(*, source: Pubkey, owner: Pubkey, program_id: Pubkey) -> Instruction:
    """Take the delegate's permission away."""
    return Instruction(program_id, bytes([_REVOKE]), [_writable(source), _signer(owner)])


def _checked(tag: int, amount_base_units: int, decimals: int) -> bytes:
    if not 0 <= amount_base_units <= MAX_U64:
        raise InvalidAmountError("an on-chain amount is 0 to 2**64-1", value=str(amount_base_units)[:32])
    return struct.pack("<BQB", tag, amount_base_units, decimals)


def _borsh_text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def _readonly(address: Pubkey) -> AccountMeta:
    return AccountMeta(address, is_signer=False, is_writable=False)


def _writable(address: Pubkey) -> AccountMeta:
    return AccountMeta(address, is_signer=False, is_writable=True)


def _signer(address: Pubkey, *, writable: bool = False) -> AccountMeta:
    return AccountMeta(address, is_signer=True, is_writable=writable)
