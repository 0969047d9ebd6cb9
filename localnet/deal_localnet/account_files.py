"""Files that a chain begins with: accounts of a real cluster as JSON, programs as ELF, keys as arrays.

An account's file is what `solana account ADDRESS --output json` writes and solana-test-validator's
`--account` reads.
"""

from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import orjson
from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from .addresses import SYSTEM_PROGRAM
from .base58 import b58decode, bad_character
from .live_accounts import MAX_U64
from .setup_errors import AccountFileError, ProgramFileError, SetupError

ELF_MAGIC: Final = b"\x7fELF"
KEY_BYTES: Final = 64
MAX_ACCOUNT_BYTES: Final = 10 * 1024 * 1024
FIELDS: Final = frozenset({"lamports", "data", "owner", "executable", "rentEpoch", "space"})
ANY_ADDRESS: Final = "-"
"""Stands for the address that the file itself names."""

ValueT = TypeVar("ValueT")


class NamedAccount(NamedTuple):
    """Keeps an account under its address."""

    address: Pubkey
    account: Account


def account_of_json(fields: Mapping[str, Any], present: Account | None = None) -> Account:
    """Return the account that JSON names, whose absent fields are those of the present one.

    Args:
        fields: lamports, data, owner, executable, rentEpoch, in the form of an RPC reply; `data` is base58
            text, or text with its encoding base58 or base64.
        present: the account to change; without one an absent field is that of a new account.

    Raises:
        ValueError: for an unknown field, or a value that is none of its kind.
    """
    unknown = set(fields) - FIELDS
    if unknown:
        raise ValueError(f"an account has no {', '.join(sorted(unknown))}")
    old = present or Account(0, b"", SYSTEM_PROGRAM, False, MAX_U64)
    data = _decoded(fields["data"]) if "data" in fields else old.data
    if len(data) > MAX_ACCOUNT_BYTES:
        raise ValueError(f"data of {len(data)} bytes; an account holds at most {MAX_ACCOUNT_BYTES}")
    space = fields.get("space", len(data))
    if space != len(data):
        raise ValueError(f"space is {space}, but data has {len(data)} bytes")
    return Account(
        _u64(fields, "lamports", old.lamports),
        data,
        _address(fields["owner"]) if "owner" in fields else old.owner,
        _boolean(fields, "executable", old.executable),
        _u64(fields, "rentEpoch", old.rent_epoch),
    )


def _u64(fields: Mapping[str, Any], name: str, default: int) -> int:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_U64:
        raise ValueError(f"{name} must be an unsigned integer of 64 bits")
    return value


def _boolean(fields: Mapping[str, Any], name: str, default: bool) -> bool:
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false")
    return value


def _address(value: Any) -> Pubkey:
    try:
        return Pubkey.from_string(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no address") from None


def _decoded(value: Any) -> bytes:
    text, encoding = value if isinstance(value, list) and len(value) == 2 else (value, "base58")
    if not isinstance(text, str) or encoding not in ("base58", "base64"):
        raise ValueError("data must be base58 text, or [text, encoding] with base58 or base64")
    if encoding == "base64":
        return b64decode(text, validate=True)
    if bad_character(text) is not None:
        raise ValueError("data is no base58")
    return b58decode(text)


def read_account_file(path: Path, address: str = ANY_ADDRESS) -> NamedAccount:
    """Read an account's JSON file.

    Args:
        path: the file.
        address: where the account goes; "-" for where the file says it was.

    Raises:
        AccountFileError: when it cannot be read as an account.
    """
    document = _read(path, AccountFileError, orjson.loads)
    if not isinstance(document, dict) or not isinstance(document.get("account"), dict):
        raise AccountFileError(f"{path}: not an account as `solana account --output json` writes it")
    try:
        place = _address(document.get("pubkey") if address == ANY_ADDRESS else address)
        return NamedAccount(place, account_of_json(document["account"]))
    except ValueError as error:
        raise AccountFileError(f"{path}: {error}") from None


def read_account_directory(directory: Path) -> list[NamedAccount]:
    """Read every `*.json` file of a folder, in the order of their names.

    Raises:
        AccountFileError: when there is no such folder, or a file in it is no account.
    """
    if not directory.is_dir():
        raise AccountFileError(f"{directory}: no such folder")
    return [read_account_file(path) for path in sorted(directory.glob("*.json"))]


def read_program(address_or_key: str, path: Path) -> tuple[Pubkey, bytes]:
    """Read a program's ELF file, and where it goes: an address, or a key file whose address it is.

    Raises:
        ProgramFileError: when one of them cannot be read.
    """
    elf = _read(path, ProgramFileError, bytes)
    if not elf.startswith(ELF_MAGIC):
        raise ProgramFileError(f"{path}: not an ELF file")
    return read_address(address_or_key), elf


def read_address(address_or_key: str) -> Pubkey:
    """Return an address, given as such or as a key file.

    Raises:
        ProgramFileError: when it is neither.
    """
    try:
        return Pubkey.from_string(address_or_key)
    except ValueError:
        path = Path(address_or_key)
    if not path.exists():
        raise ProgramFileError(f"{address_or_key}: neither an address nor a key file")
    # What a key file holds never reaches a message.
    numbers = _read(path, ProgramFileError, orjson.loads)
    try:
        if not isinstance(numbers, list) or len(numbers) != KEY_BYTES:
            raise ValueError
        return Keypair.from_bytes(bytes(numbers)).pubkey()
    except (TypeError, ValueError):
        raise ProgramFileError(f"{path}: not a key file of {KEY_BYTES} numbers") from None


def _read(path: Path, refusal: type[SetupError], parse: Callable[[bytes], ValueT]) -> ValueT:
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise refusal(f"{path}: {error.strerror or error}") from None
    except ValueError:
        raise refusal(f"{path}: not JSON") from None
