"""Transactions that the cases send, simulate and subscribe to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from solders.instruction import Instruction

from .instructions import (
    SYSTEM,
    TOKEN,
    TOKEN_ACCOUNT_BYTES,
    address,
    create,
    heap_frame,
    memo,
    move,
    open_associated,
    paying,
    readonly,
    token,
    u32,
    u64,
    unit_limit,
    unit_price,
    writable,
)
from .world import (
    ALICE,
    BOB,
    CAROL_TOKENS,
    DEAL,
    ERIN,
    FRANK,
    GINA,
    HENRY,
    IVAN,
    LATE,
    MINT,
    NOBODY,
    POOR,
    SOL,
    Chain,
    transfer,
)


@dataclass(frozen=True, slots=True)
class Unsent:
    """Names a transaction; `stale` gives it a blockhash that no chain knows, `unsigned` blank signatures."""

    name: str
    payer: str
    instructions: Callable[[Chain], Sequence[Instruction]]
    signers: tuple[str, ...] = ()
    versioned: bool = False
    uses_table: bool = False
    stale: bool = False
    unsigned: bool = False


def unsent(
    name: str,
    payer: str,
    *instructions: Instruction,
    signers: Sequence[str] = (),
    versioned: bool = False,
    uses_table: bool = False,
    stale: bool = False,
    unsigned: bool = False,
) -> Unsent:
    """Return a transaction whose instructions are the same on every chain."""
    return Unsent(
        name, payer, lambda chain: instructions, tuple(signers), versioned, uses_table, stale, unsigned
    )


OPENED: Final = address("opened")
CREATED: Final = address("created")
HELLO: Final = memo("hello")

UNSENT: Final = (
    unsent("ok", "alice", transfer(1_000), memo("a payment")),
    unsent("ok_priced", "alice", unit_limit(50_000), unit_price(2_000), transfer(1_001)),
    unsent("ok_versioned", "frank", move(FRANK, IVAN, 1_000), versioned=True),
    unsent("ok_table", "frank", move(FRANK, IVAN, 1_001), HELLO, versioned=True, uses_table=True),
    unsent("ok_inner", "gina", open_associated(GINA, OPENED, MINT)),
    unsent(
        "ok_create",
        "gina",
        create(GINA, CREATED, TOKEN_ACCOUNT_BYTES, TOKEN),
        token(18, bytes(GINA), writable(CREATED), readonly(MINT)),
        signers=["created"],
    ),
    unsent("ok_return", "alice", token(23, u64(42), readonly(MINT))),
    unsent("ok_sent", "erin", move(ERIN, BOB, 2_002), memo("sent by a case")),
    unsent("ok_base58", "erin", move(ERIN, BOB, 2_003), memo("sent in base58")),
    unsent("landed", "gina", move(GINA, LATE, 2_000_000), memo("landed last")),
    unsent("repeated", "henry", move(HENRY, address("repeated"), 2_000_000)),
    unsent("too_much", "alice", transfer(10_000_000 * DEAL), memo("never")),
    unsent("too_much_skipped", "alice", transfer(10_000_001 * DEAL)),
    unsent("overdraft", "erin", move(ERIN, BOB, 5_000 * SOL)),
    unsent("frozen", "carol", transfer(1, CAROL_TOKENS, address("carol"))),
    unsent("frozen_paid", "alice", transfer(1, CAROL_TOKENS, address("carol")), signers=["carol"]),
    unsent("wrong_owner", "bob", transfer(1, owner=BOB)),
    unsent("wrong_signer", "alice", transfer(1, owner=BOB), signers=["bob"]),
    unsent("no_money", "nobody", move(NOBODY, BOB, 1)),
    unsent("poor", "poor", move(POOR, BOB, 1)),
    unsent("below_rent", "alice", move(ALICE, address("new wallet"), 1)),
    unsent("no_program", "erin", Instruction(NOBODY, b"hello again", [paying(ERIN)])),
    unsent("wallet_program", "erin", Instruction(ALICE, b"hello again", [paying(ERIN)])),
    unsent("bad_instruction", "erin", Instruction(SYSTEM, u32(77), [paying(ERIN)])),
    unsent("too_few_accounts", "erin", token(3, u64(1), paying(ERIN))),
    unsent("no_units", "erin", unit_limit(500), memo("more than five hundred")),
    unsent("twice_limited", "erin", unit_limit(500), unit_limit(600), HELLO),
    unsent("bad_heap", "erin", heap_frame(1_000), HELLO),
    unsent("exists", "alice", create(ALICE, BOB, 10, SYSTEM), signers=["bob"]),
    unsent("stale", "alice", transfer(1_234), stale=True),
    unsent("stale_failing", "alice", transfer(10_000_002 * DEAL), stale=True),
    unsent("unsigned", "alice", transfer(4_321), unsigned=True),
    unsent("unsigned_stale", "alice", transfer(4_322), unsigned=True, stale=True),
    unsent("bad_memo", "erin", memo(b"\xff\xff")),
    unsent("watched_processed", "gina", move(GINA, BOB, 30_001), memo("watched")),
    unsent("watched_confirmed", "gina", move(GINA, BOB, 30_002)),
    unsent("watched_finalized", "gina", move(GINA, BOB, 30_003)),
    unsent("watched_failing", "gina", move(GINA, BOB, 4_000 * SOL)),
    unsent("watched_transfer", "alice", transfer(77), memo("watched transfer")),
)
