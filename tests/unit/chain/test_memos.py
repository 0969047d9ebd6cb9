"""Memos are read from instructions, whichever memo program and however deep, and are only ever text."""

from __future__ import annotations

from typing import Any

import pytest
from solders.keypair import Keypair

from deal_sdk.chain.landed_reads import LandedReads
from deal_sdk.chain.memos import parse_memos
from tests.contract.scripted_chain import ScriptedChain

KEYS = [
    str(Keypair().pubkey()),
    "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo",
    "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr",
]
HELLO, ONE, ZERO_THEN_A = "Cn8eVZg", "2t", "12g"
"""b"hello", b"\\x6d" (m) and b"\\0a" in base58."""


def instruction(program: int, data: str) -> dict[str, Any]:
    return {"programIdIndex": program, "accounts": [], "data": data}


def test_memos_of_both_programs_are_read_in_their_order_with_inner_ones() -> None:
    message = {"instructions": [instruction(0, HELLO), instruction(1, HELLO), instruction(2, "")]}
    meta = {"innerInstructions": [{"index": 0, "instructions": [instruction(2, ZERO_THEN_A)]}]}
    assert parse_memos(KEYS, message, meta) == ("\N{REPLACEMENT CHARACTER}a", "hello", "")
    assert parse_memos(KEYS, {"instructions": []}, {"innerInstructions": None}) == ()


def test_bytes_that_are_no_text_are_replaced_and_what_is_no_base58_is_refused() -> None:
    (memo,) = parse_memos(KEYS, {"instructions": [instruction(1, "5Q")]}, {})
    assert memo == "\N{REPLACEMENT CHARACTER}"
    with pytest.raises(KeyError):
        parse_memos(KEYS, {"instructions": [instruction(1, "0OIl")]}, {})
    with pytest.raises(ValueError, match="fits no transaction"):
        parse_memos(KEYS, {"instructions": [instruction(1, "2" * 3_000)]}, {})


async def test_a_finalized_transaction_is_read_once_and_the_oldest_is_forgotten() -> None:
    chain = ScriptedChain()
    reads = LandedReads(chain, max_kept=1)
    first, second = chain.land("a"), chain.land("a")
    assert await reads.get(first) is await reads.get(first)
    assert (chain.reads, reads.is_kept(first)) == (1, True)
    await reads.get(second)
    assert (reads.is_kept(first), reads.is_kept(second)) == (False, True)
    assert await reads.get("unknown") is None
