"""The bytes of mints and token accounts, of both token programs, read into values.

Owns the layouts and the list of mint extensions that the package refuses. Never reads the chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey

from deal_sdk.chain.addresses import TOKEN_2022_PROGRAM, TOKEN_PROGRAMS
from deal_sdk.chain.instructions import (
    EXTENDED_BASE_SIZE_BYTES,
    EXTENSION_HEADER_BYTES,
    MINT_SIZE_BYTES,
    TOKEN_ACCOUNT_SIZE_BYTES,
)
from deal_sdk.chain.replies import AccountSnapshot
from deal_sdk.errors import MintNotFoundError, RpcMalformedReplyError, UnsupportedMintError

_TYPE_BYTE: Final = TOKEN_ACCOUNT_SIZE_BYTES
_TYPE_MINT: Final = 1
_TYPE_ACCOUNT: Final = 2
_MINT_INITIALIZED_BYTE: Final = 45
_STATE_BYTE: Final = 108
_STATE_FROZEN: Final = 2

EXTENSION_NAMES: Final = {
    1: "transfer fee",
    2: "transfer fee amount",
    3: "mint close authority",
    4: "confidential transfer",
    5: "confidential transfer account",
    6: "default account state",
    7: "immutable owner",
    8: "memo transfer",
    9: "non-transferable",
    10: "interest-bearing",
    11: "cpi guard",
    12: "permanent delegate",
    13: "non-transferable account",
    14: "transfer hook",
    15: "transfer hook account",
    16: "confidential transfer fee",
    17: "confidential transfer fee amount",
    18: "metadata pointer",
    19: "token metadata",
    20: "group pointer",
    21: "token group",
    22: "group member pointer",
    23: "token group member",
    24: "confidential mint and burn",
    25: "scaled amount",
    26: "pausable",
    27: "pausable account",
}
UNSUPPORTED_EXTENSIONS: Final = frozenset({1, 4, 9, 10, 14, 16, 24, 25})
"""Under these an amount sent is not the amount received, or is not the amount that is shown."""
_MEMO_TRANSFER: Final = 8
_TOKEN_METADATA: Final = 19
_PAUSABLE: Final = 26


@dataclass(frozen=True, slots=True)
class MintFacts:
    """What the chain says about a mint; name and symbol are None where the mint does not carry them."""

    address: Pubkey
    program_id: Pubkey
    decimals: int
    supply_base_units: int
    mint_authority: Pubkey | None
    freeze_authority: Pubkey | None
    extensions: tuple[str, ...]
    name: str | None
    symbol: str | None
    slot: int


@dataclass(frozen=True, slots=True)
class TokenAccountState:
    """A token account at a slot; a delegate without a remaining amount is no live one."""

    address: Pubkey
    program_id: Pubkey
    mint: Pubkey
    owner: Pubkey
    amount_base_units: int
    delegate: Pubkey | None
    delegated_base_units: int
    is_frozen: bool
    close_authority: Pubkey | None
    requires_memo: bool
    extensions: tuple[str, ...]
    slot: int

    @property
    def live_delegate(self) -> Pubkey | None:
        """Return the delegate while it can still move something."""
        return self.delegate if self.delegated_base_units > 0 else None


def decode_mint(account: AccountSnapshot) -> MintFacts:
    """Read a mint account.

    Raises:
        MintNotFoundError: when the account is no initialized mint.
        UnsupportedMintError: naming the extensions that the package refuses, unknown ones included.
    """
    data = account.data
    if not _is_mint(account):
        raise MintNotFoundError(f"{account.address} is no token mint", address=str(account.address))
    extensions = dict(_extensions(data))
    _refuse_unsupported(account.address, extensions)
    name, symbol = _metadata(extensions.get(_TOKEN_METADATA))
    return MintFacts(
        address=account.address,
        program_id=account.owner,
        decimals=data[44],
        supply_base_units=_u64(data, 36),
        mint_authority=_optional_address(data, 0),
        freeze_authority=_optional_address(data, 46),
        extensions=_names(extensions),
        name=name,
        symbol=symbol,
        slot=account.slot,
    )


def token_account_size_bytes(mint: MintFacts) -> int:
    """Return the size of a mint's associated token accounts, by which their rent goes."""
    if mint.program_id != TOKEN_2022_PROGRAM:
        return TOKEN_ACCOUNT_SIZE_BYTES
    # Associated accounts of Token-2022 have an immutable owner; a pausable mint adds a mark of its own.
    marks = 1 + (EXTENSION_NAMES[_PAUSABLE] in mint.extensions)
    return EXTENDED_BASE_SIZE_BYTES + marks * EXTENSION_HEADER_BYTES


def decode_token_account(account: AccountSnapshot) -> TokenAccountState:
    """Read a token account.

    Raises:
        RpcMalformedReplyError: when the account is no initialized token account.
    """
    data = account.data
    if not _is_token_account(account):
        raise RpcMalformedReplyError(f"{account.address} is no token account", address=str(account.address))
    extensions = dict(_extensions(data))
    return TokenAccountState(
        address=account.address,
        program_id=account.owner,
        mint=_address(data, 0),
        owner=_address(data, 32),
        amount_base_units=_u64(data, 64),
        delegate=_optional_address(data, 72),
        delegated_base_units=_u64(data, 121),
        is_frozen=data[_STATE_BYTE] == _STATE_FROZEN,
        close_authority=_optional_address(data, 129),
        requires_memo=extensions.get(_MEMO_TRANSFER, b"\x00")[:1] == b"\x01",
        extensions=_names(extensions),
        slot=account.slot,
    )


def delegation_in(data: bytes) -> tuple[Pubkey | None, int]:
    """Return the delegate in a token account's bytes and what it may still move, in base units.

    Args:
        data: the account's bytes; fewer than a token account has hold no delegate.
    """
    if len(data) < TOKEN_ACCOUNT_SIZE_BYTES:
        return None, 0
    return _optional_address(data, 72), _u64(data, 121)


def _is_mint(account: AccountSnapshot) -> bool:
    data = account.data
    if account.owner not in TOKEN_PROGRAMS or len(data) < MINT_SIZE_BYTES or not data[_MINT_INITIALIZED_BYTE]:
        return False
    if len(data) == MINT_SIZE_BYTES:
        return True
    return account.owner == TOKEN_2022_PROGRAM and len(data) > _TYPE_BYTE and data[_TYPE_BYTE] == _TYPE_MINT


def _is_token_account(account: AccountSnapshot) -> bool:
    data = account.data
    if account.owner not in TOKEN_PROGRAMS or len(data) < TOKEN_ACCOUNT_SIZE_BYTES or not data[_STATE_BYTE]:
        return False
    if len(data) == TOKEN_ACCOUNT_SIZE_BYTES:
        return True
    return account.owner == TOKEN_2022_PROGRAM and data[_TYPE_BYTE] == _TYPE_ACCOUNT


def _extensions(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = EXTENDED_BASE_SIZE_BYTES
    while position + EXTENSION_HEADER_BYTES <= len(data):
        kind = int.from_bytes(data[position : position + 2], "little")
        if kind == 0:
            return
        start = position + EXTENSION_HEADER_BYTES
        position = start + int.from_bytes(data[position + 2 : start], "little")
        yield kind, data[start:position]


def _refuse_unsupported(address: Pubkey, extensions: dict[int, bytes]) -> None:
    refused = [kind for kind in extensions if kind in UNSUPPORTED_EXTENSIONS or kind not in EXTENSION_NAMES]
    if refused:
        names = list(_names(dict.fromkeys(refused, b"")))
        raise UnsupportedMintError(
            f"mint {address} has extensions that change what arrives: {', '.join(names)}",
            address=str(address),
            extensions=names,
        )


def _names(extensions: dict[int, bytes]) -> tuple[str, ...]:
    return tuple(EXTENSION_NAMES.get(kind, f"unknown extension {kind}") for kind in sorted(extensions))


def _metadata(data: bytes | None) -> tuple[str | None, str | None]:
    if data is None:
        return None, None
    position, texts = 64, []
    for _ in range(2):
        start = position + 4
        position = start + int.from_bytes(data[position:start], "little")
        texts.append(data[start:position].decode(errors="replace"))
    return texts[0], texts[1]


def _address(data: bytes, start: int) -> Pubkey:
    return Pubkey.from_bytes(data[start : start + 32])


def _optional_address(data: bytes, start: int) -> Pubkey | None:
    return _address(data, start + 4) if int.from_bytes(data[start : start + 4], "little") == 1 else None


def _u64(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 8], "little")
