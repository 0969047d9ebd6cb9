"""The memo of a transaction, as listings of signatures show it."""

from solders.transaction import VersionedTransaction

from .addresses import MEMO_PROGRAMS
from .records import TransactionRecord


def memo_of(record: TransactionRecord) -> str | None:
    """Return all memos of a transaction with their lengths; None when it has none."""
    message = VersionedTransaction.from_bytes(record.wire).message
    texts = [
        _shown(bytes(instruction.data))
        for instruction in message.instructions
        if record.keys[instruction.program_id_index] in MEMO_PROGRAMS
    ]
    return "; ".join(texts) or None


def _shown(data: bytes) -> str:
    try:
        return f"[{len(data)}] {data.decode()}"
    except UnicodeDecodeError:
        return f"[{len(data)}] (unparseable)"
