"""Parameters of a request: read by type, refused with the texts of Agave's deserializer."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import orjson
from solders.hash import Hash, ParseHashError
from solders.pubkey import Pubkey
from solders.signature import Signature

from .base58 import bad_character
from .errors import INVALID_PARAMS, RpcError, commitment_too_low, invalid_params
from .slots import Commitment

COMMITMENTS: Final = {
    "processed": Commitment.PROCESSED,
    "confirmed": Commitment.CONFIRMED,
    "finalized": Commitment.FINALIZED,
}
ACCOUNT_ENCODINGS: Final = ("binary", "base58", "base64", "jsonParsed", "base64+zstd")
TRANSACTION_ENCODINGS: Final = ("binary", "base64", "base58", "json", "jsonParsed")
MAX_U64: Final = 2**64 - 1
MAX_U8: Final = 255

DESERIALIZER_PREFIX: Final = "Invalid params: "

Config = dict[str, Any]
ReadT = TypeVar("ReadT")


class DataSlice(NamedTuple):
    """Names the part of an account's data that the caller wants."""

    offset: int
    length: int


def describe(value: Any) -> str:
    """Name a JSON value as serde does in its errors."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, int):
        return f"integer `{value}`"
    if isinstance(value, float):
        return f"floating point `{value}`"
    if isinstance(value, str):
        return f'string "{value}"'
    return "sequence" if isinstance(value, list) else "map"


def wrong_type(value: Any, expected: str) -> RpcError:
    """Build the error for a value of the wrong JSON type."""
    return invalid_params(f"Invalid params: invalid type: {describe(value)}, expected {expected}.")


def arguments(params: Any, required: int, maximum: int) -> list[Any]:
    """Return the positional parameters, padded with None up to the method's maximum."""
    if maximum == 0:
        return _no_arguments(params)
    if required == maximum:
        return _exact_arguments(params, maximum)
    if params is None:
        params = []
    if not isinstance(params, list):
        raise invalid_params("`params` should be an array")
    if len(params) < required:
        raise invalid_params(f"`params` should have at least {required} argument(s)")
    if len(params) > maximum:
        raise RpcError(
            INVALID_PARAMS,
            f"Invalid parameters: Expected from {required} to {maximum} parameters.",
            f'"Got: {len(params)}"',
        )
    return [*params, *[None] * (maximum - len(params))]


def _exact_arguments(params: Any, count: int) -> list[Any]:
    expected = f"a tuple of size {count}"
    if not isinstance(params, list):
        raise wrong_type(params, expected)
    if len(params) < count:
        raise invalid_params(f"Invalid params: invalid length {len(params)}, expected {expected}.")
    if len(params) > count:
        raise invalid_params(
            f"Invalid params: invalid length {len(params)}, expected fewer elements in array."
        )
    return params


def _no_arguments(params: Any) -> list[Any]:
    if params is None or params == []:
        return []
    shown = ", ".join(rust_debug(value) for value in params) if isinstance(params, list) else ""
    kind = f"Array([{shown}])" if isinstance(params, list) else f"Map({rust_debug(params)[7:]})"
    raise RpcError(INVALID_PARAMS, "Invalid parameters: No parameters were expected", kind)


def rust_debug(value: Any) -> str:
    """Show a JSON value as Rust's debug output does, which Agave puts into one of its errors."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return f"Bool({str(value).lower()})"
    if isinstance(value, str):
        return f"String({orjson.dumps(value).decode()})"
    if isinstance(value, list):
        return f"Array [{', '.join(rust_debug(item) for item in value)}]"
    if isinstance(value, dict):
        fields = (f"{orjson.dumps(name).decode()}: {rust_debug(item)}" for name, item in value.items())
        return f"Object {{{', '.join(fields)}}}"
    return f"Number({value})"


def string(value: Any) -> str:
    """Read a string."""
    if not isinstance(value, str):
        raise wrong_type(value, "a string")
    return value


def sequence(value: Any) -> list[Any]:
    """Read an array."""
    if not isinstance(value, list):
        raise wrong_type(value, "a sequence")
    return value


def unsigned(value: Any, expected: str = "u64", maximum: int = MAX_U64) -> int:
    """Read an unsigned integer of a width."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(value, expected)
    if not 0 <= value <= maximum:
        raise invalid_params(f"Invalid params: invalid value: {describe(value)}, expected {expected}.")
    return value


def optional_unsigned(
    config: Config, field: str, expected: str = "u64", maximum: int = MAX_U64
) -> int | None:
    """Read an unsigned integer that may be left out."""
    value = config.get(field)
    return None if value is None else unsigned(value, expected, maximum)


def flag(config: Config, field: str, default: bool = False) -> bool:
    """Read a boolean that may be left out."""
    value = config.get(field)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise wrong_type(value, "a boolean")
    return value


def struct(value: Any, name: str) -> Config:
    """Read an optional configuration object."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong_type(value, f"struct {name}")
    return value


def pubkey(value: Any) -> Pubkey:
    """Read an address."""
    text = string(value)
    try:
        return Pubkey.from_string(text)
    except ValueError:
        raise invalid_params(f"Invalid param: {_base58_fault(text)}") from None


def signature(value: Any) -> str:
    """Read a signature, and keep it as text, by which history is found."""
    text = string(value)
    try:
        Signature.from_string(text)
    except ValueError:
        raise invalid_params(f"Invalid param: {_base58_fault(text)}") from None
    return text


def blockhash(value: Any) -> Hash:
    """Read a blockhash."""
    text = string(value)
    try:
        return Hash.from_string(text)
    except ParseHashError:
        raise invalid_params(_base58_fault(text)) from None


def _base58_fault(text: str) -> str:
    return "Invalid" if bad_character(text) is not None else "WrongSize"


def commitment(config: Config, default: Commitment = Commitment.FINALIZED) -> Commitment:
    """Read a commitment; what is unknown counts as the default, as it does in Agave."""
    value = config.get("commitment")
    return COMMITMENTS.get(value, default) if isinstance(value, str) else default


def history_level(config: Config) -> Commitment:
    """Return the commitment of a method that reads history, which `processed` has none of."""
    level = commitment(config)
    if level is Commitment.PROCESSED:
        raise commitment_too_low()
    return level


def encoding(config: Config, allowed: Sequence[str], default: str) -> str:
    """Read an encoding out of the allowed ones."""
    value = config.get("encoding")
    return default if value is None else variant(value, allowed)


def variant(value: Any, allowed: Sequence[str]) -> str:
    """Read one of several words."""
    if not isinstance(value, str):
        raise wrong_type(value, "string or map")
    if value not in allowed:
        names = [f"`{name}`" for name in allowed]
        expected = " or ".join(names) if len(names) == 2 else f"one of {', '.join(names)}"
        raise invalid_params(f"Invalid params: unknown variant `{value}`, expected {expected}.")
    return value


def data_slice(config: Config) -> DataSlice | None:
    """Read the wanted part of the data."""
    value = config.get("dataSlice")
    if value is None:
        return None
    if isinstance(value, list):
        if len(value) != len(DataSlice._fields):
            raise invalid_params(
                f"Invalid params: invalid length {len(value)}, "
                "expected struct UiDataSliceConfig with 2 elements."
            )
        offset, length = value
    else:
        fields = struct(value, "UiDataSliceConfig")
        offset, length = required_field(fields, "offset"), required_field(fields, "length")
    return DataSlice(unsigned(offset, "usize"), unsigned(length, "usize"))


def required_field(fields: Config, name: str) -> Any:
    """Return a field that must be there."""
    if name not in fields:
        raise invalid_params(f"Invalid params: missing field `{name}`.")
    return fields[name]


def commitment_config(value: Any) -> Config:
    """Read a parameter that is a commitment and nothing else, where an unknown one is refused."""
    if value is None:
        return {}
    config = struct(value, "CommitmentConfig")
    variant(required_field(config, "commitment"), tuple(COMMITMENTS))
    return config


def untagged(read: Callable[[], ReadT], name: str) -> ReadT:
    """Read a parameter that has several shapes, of which Agave only says that none of them fitted."""
    try:
        return read()
    except RpcError as error:
        if not error.message.startswith(DESERIALIZER_PREFIX):
            raise
        raise invalid_params(
            f"Invalid params: data did not match any variant of untagged enum {name}."
        ) from None
