"""The filters of getProgramAccounts and programSubscribe."""

from base64 import b64decode
from collections.abc import Callable
from typing import Any, Final

from solders.account import Account

from .addresses import TOKEN_PROGRAMS
from .base58 import b58decode, bad_character
from .errors import invalid_params
from .params import Config, sequence, struct, unsigned, wrong_type
from .records import holds_tokens

MAX_FILTERS: Final = 4
MAX_MEMCMP_BYTES: Final = 128
MAX_MEMCMP_BASE58_CHARS: Final = 175
MAX_MEMCMP_BASE64_CHARS: Final = 172
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
    for name in ("offset", "bytes"):
        if name not in fields:
            raise invalid_params(f"Invalid params: missing field `{name}`.")
    offset = unsigned(fields["offset"], "usize")
    wanted = _bytes(fields["bytes"], fields.get("encoding"))
    if len(wanted) > MAX_MEMCMP_BYTES:
        raise invalid_params("Invalid param: DataTooLarge")
    return lambda account: account.data[offset : offset + len(wanted)] == wanted


def _bytes(value: Any, encoding: Any) -> bytes:
    if isinstance(value, list):
        return bytes(unsigned(item, "u8", 255) for item in value)
    if not isinstance(value, str):
        raise wrong_type(value, "a string")
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
        raise invalid_params("Invalid param: Base64DecodeError(InvalidPadding)") from None
