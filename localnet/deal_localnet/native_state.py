"""Lookup tables, nonces and deployed programs as Agave's jsonParsed shows them."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey

from .addresses import BPF_LOADER_UPGRADEABLE, LOOKUP_TABLE_PROGRAM, SYSTEM_PROGRAM, address_text

Parsed = tuple[str, str, dict[str, Any]]

TABLE_META_BYTES: Final = 56
TABLE_TAG: Final = 1
ADDRESS_BYTES: Final = 32
NONCE_BYTES: Final = 80
NONCE_VERSIONS: Final = (0, 1)
NONCE_INITIALIZED: Final = 1
NONCE_BLOCKHASH: Final = slice(40, 72)
BUFFER_TAG: Final = 1
PROGRAM_TAG: Final = 2
PROGRAM_DATA_TAG: Final = 3
PROGRAM_BYTES: Final = 36


def parsed_state(account: Account) -> Parsed | None:
    """Return what a native program keeps in an account; None when it is nothing that is known here."""
    reader = READERS.get(account.owner)
    return None if reader is None else reader(account.data)


def _number(data: bytes, offset: int, size: int = 8) -> int:
    return int.from_bytes(data[offset : offset + size], "little")


def _address(data: bytes, offset: int) -> str:
    return address_text(data[offset : offset + ADDRESS_BYTES])


def _optional_address(data: bytes, offset: int) -> str | None:
    return _address(data, offset + 1) if data[offset] else None


def _lookup_table(data: bytes) -> Parsed | None:
    if len(data) < TABLE_META_BYTES or _number(data, 0, 4) != TABLE_TAG:
        return None
    authority = _optional_address(data, 21)
    info = {
        "addresses": [_address(data, offset) for offset in range(TABLE_META_BYTES, len(data), ADDRESS_BYTES)],
        **({} if authority is None else {"authority": authority}),
        "deactivationSlot": str(_number(data, 4)),
        "lastExtendedSlot": str(_number(data, 12)),
        "lastExtendedSlotStartIndex": data[20],
    }
    return "address-lookup-table", "lookupTable", info


class NonceState(NamedTuple):
    """Holds what an initialized nonce account says."""

    authority: Pubkey
    value: Hash
    lamports_per_signature: int


def initialized_nonce(data: bytes) -> NonceState | None:
    """Read a nonce; None for anything else, and for an account that is only allocated."""
    if len(data) != NONCE_BYTES or _number(data, 0, 4) not in NONCE_VERSIONS:
        return None
    if _number(data, 4, 4) != NONCE_INITIALIZED:
        return None
    value = Hash.from_bytes(data[NONCE_BLOCKHASH])
    return NonceState(Pubkey.from_bytes(data[8:40]), value, _number(data, 72))


def _nonce(data: bytes) -> Parsed | None:
    nonce = initialized_nonce(data)
    if nonce is None:
        return None
    info = {
        "authority": str(nonce.authority),
        "blockhash": str(nonce.value),
        "feeCalculator": {"lamportsPerSignature": str(nonce.lamports_per_signature)},
    }
    return "nonce", "initialized", info


def _deployed(data: bytes) -> Parsed | None:
    tag = _number(data, 0, 4) if len(data) >= PROGRAM_BYTES else None
    if tag == PROGRAM_TAG:
        return "bpf-upgradeable-loader", "program", {"programData": _address(data, 4)}
    if tag == BUFFER_TAG:
        return "bpf-upgradeable-loader", "buffer", _code(data, 4)
    if tag == PROGRAM_DATA_TAG:
        return "bpf-upgradeable-loader", "programData", {**_code(data, 12), "slot": _number(data, 4)}
    return None


def _code(data: bytes, offset: int) -> dict[str, Any]:
    authority = _optional_address(data, offset)
    start = offset + 1 + (0 if authority is None else ADDRESS_BYTES)
    return {"authority": authority, "data": [b64encode(data[start:]).decode(), "base64"]}


READERS: Final[dict[Pubkey, Callable[[bytes], Parsed | None]]] = {
    LOOKUP_TABLE_PROGRAM: _lookup_table,
    SYSTEM_PROGRAM: _nonce,
    BPF_LOADER_UPGRADEABLE: _deployed,
}
