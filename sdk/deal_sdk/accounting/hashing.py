"""The chain of hashes in each account, by which an entry that was altered or taken out is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from deal_sdk.records.credit_tables import HASH_BYTES

FIRST_HASH: Final = bytes(HASH_BYTES)
"""What an account's first entry has before it."""


def chain_hash(
    previous: bytes,
    *,
    transfer_id: UUID,
    account_id: UUID,
    operation_type: str,
    amount: int,
    balance_after: int,
    sequence: int,
    metadata: Mapping[str, Any] | None,
    created_at: datetime,
    metadata_hash: bytes | None = None,
) -> bytes:
    """Hash an entry together with the hash before it, so that no entry can be altered or taken out.

    Metadata goes in as its own hash, which can stay where the metadata itself must be erased.

    Returns:
        SHA-256, 32 bytes.
    """
    said = hash_metadata(metadata) if metadata is not None else metadata_hash or b""
    line = (
        f"|{transfer_id.hex}|{account_id.hex}|{len(operation_type)}:{operation_type}|{amount}"
        f"|{balance_after}|{sequence}|{int(created_at.timestamp() * 1_000_000)}|"
    )
    return hashlib.sha256(previous + line.encode() + said).digest()


def hash_metadata(metadata: Mapping[str, Any]) -> bytes:
    """Hash an entry's metadata, whatever the order of its names.

    Returns:
        SHA-256, 32 bytes.
    """
    return hashlib.sha256(orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS)).digest()
