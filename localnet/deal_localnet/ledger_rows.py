"""How blocks, transactions and accounts become rows of the ledger, and back."""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

import orjson
from solders.account import Account
from solders.pubkey import Pubkey

from .records import Execution, InnerInstruction, TokenHolding, TransactionRecord
from .slots import Block

States = Sequence[tuple[Pubkey, Account | None]]


def block_row(block: Block) -> tuple[Any, ...]:
    """Return a block's row, without its transactions."""
    return (block.slot, block.parent_slot, block.height, bytes(block.blockhash), block.time)


def account_rows(accounts: States) -> list[tuple[Any, ...]]:
    """Return accounts' rows; one that is gone stays as an empty row."""
    rows = []
    for key, account in accounts:
        state = account or Account(0, b"", Pubkey.default())
        rows.append(
            (
                bytes(key),
                state.lamports.to_bytes(8, "little"),
                state.data,
                bytes(state.owner),
                state.executable,
                state.rent_epoch.to_bytes(8, "little"),
            )
        )
    return rows


def transaction_row(record: TransactionRecord) -> tuple[Any, ...]:
    """Return a transaction's row; what is only read together is one JSON text."""
    facts = {
        "keys": [str(key) for key in record.keys],
        "loaded": [record.loaded_writable, record.loaded_readonly],
        "execution": _packed(record.execution),
    }
    return (record.slot, record.place, record.signature, record.wire, orjson.dumps(facts))


def record_of(slot: int, place: int, signature: str, wire: bytes, facts: Any) -> TransactionRecord:
    """Return the transaction of a row."""
    keys = tuple(Pubkey.from_string(key) for key in facts["keys"])
    writable, readonly = facts["loaded"]
    execution = _unpacked(facts["execution"])
    return TransactionRecord(signature, slot, place, wire, keys, writable, readonly, execution)


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _packed(execution: Execution) -> dict[str, Any]:
    packed = execution._asdict()
    packed["return_data"] = _text(execution.return_data)
    for side in ("tokens_before", "tokens_after"):
        packed[side] = [
            [holding.account_index, _text(holding.head), str(holding.program), holding.decimals]
            for holding in getattr(execution, side)
        ]
    if execution.inner is not None:
        packed["inner"] = [[_packed_instruction(item) for item in group] for group in execution.inner]
    return packed


def _unpacked(packed: dict[str, Any]) -> Execution:
    inner = packed["inner"]
    return Execution(
        error=packed["error"],
        logs=packed["logs"],
        inner=None if inner is None else [[_instruction(*item) for item in group] for group in inner],
        units=packed["units"],
        return_program=packed["return_program"],
        return_data=b64decode(packed["return_data"]),
        lamports_before=tuple(packed["lamports_before"]),
        lamports_after=tuple(packed["lamports_after"]),
        tokens_before=tuple(_holding(*item) for item in packed["tokens_before"]),
        tokens_after=tuple(_holding(*item) for item in packed["tokens_after"]),
        loaded_bytes=packed["loaded_bytes"],
        fee=packed["fee"],
        changed=tuple(packed["changed"]),
        # Ledgers of older releases do not tell the price, which counts for 150 blocks only.
        micro_lamports_per_unit=packed.get("micro_lamports_per_unit", 0),
    )


def _packed_instruction(item: InnerInstruction) -> list[Any]:
    return [item.program_index, _text(item.accounts), _text(item.data), item.stack_height]


def _instruction(program: int, accounts: str, data: str, height: int) -> InnerInstruction:
    return InnerInstruction(program, b64decode(accounts), b64decode(data), height)


def _holding(index: int, head: str, program: str, decimals: int) -> TokenHolding:
    return TokenHolding(index, b64decode(head), Pubkey.from_string(program), decimals)
