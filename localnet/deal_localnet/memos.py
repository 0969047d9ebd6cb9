"""The memo of a transaction, as listings of signatures show it."""

from functools import lru_cache
from typing import Final

from solders.transaction import VersionedTransaction

from .addresses import MEMO_PROGRAMS
from .records import TransactionRecord

MAX_KEPT_MEMOS: Final = 10_000


def memo_of(record: TransactionRecord) -> str | None:
    """Return all memos of a transaction with their lengths; None when it has none."""
    return None if MEMO_PROGRAMS.isdisjoint(record.keys) else _memo_in(record.wire)


@lru_cache(MAX_KEPT_MEMOS)
def _memo_in(wire: bytes) -> str | None:
    # Each account of a transaction has it in its listing, so the same memo is asked for again and again.
    message = VersionedTransaction.from_bytes(wire).message
    keys = message.account_keys
    texts = [
        _shown(bytes(instruction.data))
        for instruction in message.instructions
        if keys[instruction.program_id_index] in MEMO_PROGRAMS
    ]
    return "; ".join(texts) or None


def _shown(data: bytes) -> str:
    try:
        return f"[{len(data)}] {data.decode()}"
    except UnicodeDecodeError:
        return f"[{len(data)}] (unparseable)"
