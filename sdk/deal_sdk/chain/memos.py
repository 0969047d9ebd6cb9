"""Memos in landed transactions, those of inner instructions included.

The first memo program writes no logs, so that memos are read from the instructions themselves. Whoever
signs a transaction may write anything into one: what is returned is text, and nothing more is promised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from deal_sdk.chain.addresses import MEMO_PROGRAM

MAX_MEMO_CHARACTERS: Final = 566
"""As much as fits a transaction (https://spl.solana.com/memo)."""
_MEMO_PROGRAMS: Final = frozenset({str(MEMO_PROGRAM), "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"})
_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS: Final[Mapping[str, int]] = {character: digit for digit, character in enumerate(_ALPHABET)}
_MAX_DATA_CHARACTERS: Final = 2_048


def parse_memos(
    account_keys: Sequence[str], message: Mapping[str, Any], meta: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return a transaction's memos in the order of their instructions.

    Args:
        account_keys: every account of the transaction, looked-up ones included.
        message: of getTransaction in json encoding.
        meta: beside it.
    """
    return tuple(
        _decoded(instruction["data"])
        for instruction in _instructions(message, meta)
        if account_keys[instruction["programIdIndex"]] in _MEMO_PROGRAMS
    )


def _instructions(message: Mapping[str, Any], meta: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    inner = {entry["index"]: entry["instructions"] for entry in meta.get("innerInstructions") or ()}
    for index, instruction in enumerate(message["instructions"]):
        yield instruction
        yield from inner.get(index, ())


def _decoded(data: str) -> str:
    if len(data) > _MAX_DATA_CHARACTERS:
        raise ValueError("an instruction that fits no transaction")
    number = 0
    for character in data:
        number = number * 58 + _DIGITS[character]
    zeros = len(data) - len(data.lstrip("1"))
    raw = bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
    # PostgreSQL stores no NUL.
    return raw.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_MEMO_CHARACTERS]
