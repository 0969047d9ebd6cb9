"""The filters of getProgramAccounts and programSubscribe."""

from base64 import b64decode
from collections.abc import Callable
from typing import Any, Final

from solders.account import Account
from solders.pubkey import Pubkey

from .addresses import TOKEN_PROGRAMS
from .base58 import b58decode, bad_character
from .base64_faults import base64_fault
from .errors import invalid_params
from .params import (
    MAX_U8,
    Config,
    required_field,
    sequence,
    string,
    struct,
    unsigned,
    untagged,
    variant,
    wrong_type,
)
from .records import TOKEN_ACCOUNT_BYTES, holds_tokens

ADDRESS_BYTES: Final = 32
MAX_FILTERS: Final = 4
MAX_MEMCMP_BYTES: Final = 128
MAX_MEMCMP_BASE58_CHARS: Final = 175
MAX_MEMCMP_BASE64_CHARS: Final = 172
MEMCMP_ENCODINGS: Final = ("base58", "base64", "bytes")
TOKEN_FIELDS: Final = {0: "mint", 32: "owner"}
FILTER_NAMES: Final = "`dataSize`, `memcmp`, `tokenAccountState`"

Accepts = Callable[[Account], bool]


def parse_filters(config: Config) -> Accepts:
    """Return one test that an account must pass to be listed."""
    value = config.get("filters")
    if value is None:
        return lambda account: True
    filters = sequence(value)
    if len(filters) > MAX_FILTERS:
        raise invalid_params(f"Too many filters provided; max {MAX_FILTERS}")
    tests = [_parse(item) for item in filters]
    return lambda account: all(test(account) for test in tests)


def _parse(value: Any) -> Accepts:
    name, argument = single(value)
    if name == "dataSize":
        size = unsigned(argument)
        return lambda account: len(account.data) == size
    if name == "memcmp":
        return _memcmp(struct(argument, "Memcmp"))
    if name == "tokenAccountState":
        return lambda account: account.owner in TOKEN_PROGRAMS and holds_tokens(account.data)
    raise invalid_params(f"Invalid params: unknown variant `{name}`, expected one of {FILTER_NAMES}.")


def refuse_partial_addresses(program: Pubkey, config: Config) -> None:
    """Refuse to compare a token account's mint or owner with anything but a whole address."""
    filters = [single(item) for item in config.get("filters") or []]
    sized = ("dataSize", TOKEN_ACCOUNT_BYTES) in filters or ("tokenAccountState", None) in filters
    if program not in TOKEN_PROGRAMS or not sized:
        return
    for name, fields in filters:
        field = TOKEN_FIELDS.get(fields["offset"]) if name == "memcmp" else None
        if field is None:
            continue
        length = len(_bytes(fields["bytes"], fields.get("encoding")))
        if length != ADDRESS_BYTES:
            raise invalid_params(
                f"Incorrect byte length {length} for SPL token {field} filter, expected {ADDRESS_BYTES}"
            )


def single(value: Any) -> tuple[str, Any]:
    """Read a word, or an object whose only key is the word."""
    if isinstance(value, str):
        return value, None
    if isinstance(value, dict):
        if len(value) == 1:
            return next(iter(value.items()))
        raise invalid_params("Invalid params: invalid value: map, expected map with a single key.")
    raise wrong_type(value, "string or map")


def _memcmp(fields: Config) -> Accepts:
    required_field(fields, "offset")
    required_field(fields, "bytes")
    if fields.get("encoding") is not None:
        variant(fields["encoding"], MEMCMP_ENCODINGS)
    offset = unsigned(fields["offset"], "usize")
    wanted = _bytes(fields["bytes"], fields.get("encoding"))
    if len(wanted) > MAX_MEMCMP_BYTES:
        raise invalid_params("Invalid param: DataTooLarge")
    return lambda account: account.data[offset : offset + len(wanted)] == wanted


def _bytes(value: Any, encoding: Any) -> bytes:
    if isinstance(value, list):
        return untagged(lambda: bytes(unsigned(item, "u8", MAX_U8) for item in value), "DataType")
    if not isinstance(value, str):
        return untagged(lambda: string(value).encode(), "DataType")
    limit = MAX_MEMCMP_BASE64_CHARS if encoding == "base64" else MAX_MEMCMP_BASE58_CHARS
    if len(value) > limit:
        raise invalid_params("Invalid param: DataTooLarge")
    return _base64(value) if encoding == "base64" else _base58(value)


def _base58(text: str) -> bytes:
    fault = bad_character(text)
    if fault is not None:
        raise invalid_params(f"Invalid param: Base58DecodeError({fault})")
    return b58decode(text)


def _base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise invalid_params(f"Invalid param: Base64DecodeError({base64_fault(text)})") from None
