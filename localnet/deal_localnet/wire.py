"""Transactions and messages as they come over the wire: decoded once, checked as Agave checks them."""

import binascii
from base64 import b64decode
from collections.abc import Callable
from typing import Final

from solders.message import Message, MessageV0, from_bytes_versioned
from solders.pubkey import Pubkey
from solders.transaction import SanitizeError, VersionedTransaction

from .base58 import b58decode, bad_character
from .base64_faults import base64_fault
from .errors import RpcError, invalid_params
from .fees import duplicate_budget_instruction
from .records import WireTransaction, writable_indexes

PACKET_BYTES: Final = 1_232
MAX_ENCODED_CHARS: Final = {"base58": 1_683, "base64": 1_644}
PLAIN_ENCODINGS: Final = {"binary": "base58"}
TRANSACTION_TYPE: Final = "solana_transaction::versioned::VersionedTransaction"
MESSAGE_TYPE: Final = "solana_message::non_bpf_modules::versions::VersionedMessage"
SANITIZE_FAILURE: Final = "invalid transaction: Transaction failed to sanitize accounts offsets correctly"
DUPLICATE_INSTRUCTION: Final = "invalid transaction: Transaction contains a duplicate instruction"
MISSING_TABLE: Final = "invalid transaction: Transaction loads an address table account that doesn't exist"
BAD_TABLE_INDEX: Final = "invalid transaction: Transaction address table lookup uses an invalid index"
ADDRESS_BYTES: Final = 32

TableReader = Callable[[Pubkey], bytes | None]


def decode_transaction(encoded: str, encoding: str, read_table: TableReader) -> WireTransaction:
    """Turn an encoded transaction into a parsed one, or refuse it with the reason that Agave gives."""
    raw = decode_bytes(encoded, encoding, TRANSACTION_TYPE)
    try:
        transaction = VersionedTransaction.from_bytes(raw)
    except ValueError as error:
        raise _undecodable(TRANSACTION_TYPE, error) from None
    try:
        transaction.sanitize()
    except SanitizeError:
        raise invalid_params(SANITIZE_FAILURE) from None
    message = transaction.message
    duplicate = duplicate_budget_instruction(message)
    if duplicate is not None:
        raise invalid_params(f"{DUPLICATE_INSTRUCTION} ({duplicate}) that is not allowed")
    return resolve(raw, transaction, message, read_table)


def transaction_of_wire(raw: bytes, read_table: TableReader) -> WireTransaction:
    """Parse the bytes of a transaction that was taken in before."""
    transaction = VersionedTransaction.from_bytes(raw)
    return resolve(raw, transaction, transaction.message, read_table)


def resolve(
    raw: bytes, transaction: VersionedTransaction, message: Message | MessageV0, read_table: TableReader
) -> WireTransaction:
    """Add the addresses that a transaction takes from lookup tables, writable ones first."""
    keys = message.account_keys
    writable: list[Pubkey] = []
    readonly: list[Pubkey] = []
    if isinstance(message, MessageV0):
        for lookup in message.address_table_lookups:
            table = read_table(lookup.account_key)
            if table is None:
                raise invalid_params(MISSING_TABLE)
            writable += _pick(table, lookup.writable_indexes)
            readonly += _pick(table, lookup.readonly_indexes)
    return WireTransaction(
        raw,
        transaction,
        message,
        str(transaction.signatures[0]),
        (*keys, *writable, *readonly),
        len(writable),
        len(readonly),
        writable_indexes(message, len(keys), len(writable)),
    )


def _pick(table: bytes, indexes: bytes) -> list[Pubkey]:
    picked = []
    for index in bytes(indexes):
        address = table[index * ADDRESS_BYTES : (index + 1) * ADDRESS_BYTES]
        if len(address) < ADDRESS_BYTES:
            raise invalid_params(BAD_TABLE_INDEX)
        picked.append(Pubkey.from_bytes(address))
    return picked


def decode_message(encoded: str) -> Message | MessageV0:
    """Turn a base64 message into a parsed one."""
    raw = decode_bytes(encoded, "base64", MESSAGE_TYPE)
    try:
        return from_bytes_versioned(raw)
    except ValueError as error:
        raise _undecodable(MESSAGE_TYPE, error) from None


def decode_bytes(encoded: str, encoding: str, kind: str) -> bytes:
    """Decode base58 or base64 within the size of a packet."""
    encoding = PLAIN_ENCODINGS.get(encoding, encoding)
    if encoding not in MAX_ENCODED_CHARS:
        raise invalid_params(f"unsupported encoding: {encoding}. Supported encodings: base58, base64")
    limit = MAX_ENCODED_CHARS[encoding]
    if len(encoded) > limit:
        raise invalid_params(
            f"{encoding} encoded {kind} too large: {len(encoded)} bytes "
            f"(max: encoded/raw {limit}/{PACKET_BYTES})"
        )
    raw = _from_base64(encoded) if encoding == "base64" else _from_base58(encoded)
    if len(raw) > PACKET_BYTES:
        raise invalid_params(f"decoded {kind} too large: {len(raw)} bytes (max: {PACKET_BYTES} bytes)")
    return raw


def _from_base64(encoded: str) -> bytes:
    try:
        return b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise invalid_params(f"invalid base64 encoding: {base64_fault(encoded)}") from None


def _from_base58(encoded: str) -> bytes:
    fault = bad_character(encoded)
    if fault is not None:
        raise invalid_params(f"invalid base58 encoding: {fault}")
    return b58decode(encoded)


def _undecodable(kind: str, error: Exception) -> RpcError:
    reason = str(error).replace("unexpected end of file", "failed to fill whole buffer")
    return invalid_params(f"failed to deserialize {kind}: {reason}")
