"""The lanes of the system program, of lookup tables and of Token-2022 with its extensions."""

from __future__ import annotations

from typing import Final

from solders.instruction import AccountMeta, Instruction

from .instructions import (
    MEMO,
    MEMO_V1,
    NONCE_BYTES,
    RECENT_BLOCKHASHES,
    RENT,
    SYSTEM,
    TOKEN,
    TOKEN_2022,
    TOKEN_ACCOUNT_BYTES,
    change_table,
    checked,
    counted,
    create,
    create_table,
    extend_table,
    heap_frame,
    loaded_data_limit,
    memo,
    move,
    open_associated,
    paying,
    readonly,
    rent_exempt,
    signing,
    token,
    u16,
    u32,
    u64,
    unit_limit,
    unit_price,
    writable,
)
from .world import (
    BOB,
    BOB_NEW,
    DORA,
    DORA_NEW,
    ERIN,
    FRANK,
    HANK,
    HENRY,
    IVAN,
    NEW_MINT,
    NOBODY,
    NONCE,
    PLAIN,
    POOR,
    SEEDED,
    SOL,
    TABLE_ADDRESSES,
    UNINITIALIZED,
    WIDE_MINT,
    Step,
    mint_fields,
    step,
)

NONCE_SYSVARS: Final = [readonly(RECENT_BLOCKHASHES), readonly(RENT)]

SYSTEM_LANE: Final = (
    step(
        "create_with_seed",
        Instruction(
            SYSTEM,
            u32(3) + bytes(ERIN) + counted("vault") + u64(2 * SOL) + u64(0) + bytes(SYSTEM),
            [paying(ERIN), writable(SEEDED)],
        ),
    ),
    step(
        "transfer_with_seed",
        Instruction(
            SYSTEM,
            u32(11) + u64(SOL) + counted("vault") + bytes(SYSTEM),
            [writable(SEEDED), signing(ERIN), writable(HANK)],
        ),
    ),
    step(
        "allocate_and_assign",
        move(ERIN, PLAIN, SOL),
        Instruction(SYSTEM, u32(8) + u64(8), [paying(PLAIN)]),
        Instruction(SYSTEM, u32(1) + bytes(TOKEN), [paying(PLAIN)]),
        create(ERIN, UNINITIALIZED, TOKEN_ACCOUNT_BYTES, TOKEN),
        move(ERIN, POOR, rent_exempt(0)),
        signers=["plain", "uninitialized"],
    ),
    step(
        "create_nonce",
        create(ERIN, NONCE, NONCE_BYTES, SYSTEM, 2_000_000),
        Instruction(SYSTEM, u32(6) + bytes(ERIN), [writable(NONCE), *NONCE_SYSVARS]),
        signers=["nonce"],
    ),
    step(
        "change_nonce",
        Instruction(
            SYSTEM,
            u32(5) + u64(100_000),
            [writable(NONCE), writable(HANK), *NONCE_SYSVARS, signing(ERIN)],
        ),
        Instruction(SYSTEM, u32(7) + bytes(FRANK), [writable(NONCE), signing(ERIN)]),
    ),
    step("failed_overdraft", move(ERIN, HANK, 1_000 * SOL), fails=True),
    step("failed_second", move(ERIN, HANK, SOL), move(ERIN, HANK, 1_000 * SOL), memo("never"), fails=True),
    step("failed_no_program", Instruction(NOBODY, b"hello", [signing(ERIN)]), fails=True),
    step("failed_wallet_as_program", Instruction(HANK, b"hello", [signing(ERIN)]), fails=True),
    step("memos", memo("old form", MEMO_V1), memo("über")),
)

FAILING_LANE: Final = (
    step("failed_memo", memo(b"\xff\xfe"), fails=True),
    step("signed_memo", memo("signed by bob", MEMO, BOB), signers=["bob"]),
    step(
        "compute_budget",
        heap_frame(64 * 1024),
        loaded_data_limit(4_000_000),
        unit_limit(60_000),
        unit_price(77),
        memo("budget"),
    ),
    step("failed_compute", unit_limit(1_000), memo("runs out of units"), fails=True),
    step("failed_data_size", loaded_data_limit(1_000), memo("loads too much"), fails=True),
    step("failed_unknown_instruction", Instruction(SYSTEM, u32(99), [paying(HENRY)]), fails=True),
    step("failed_token_instruction", Instruction(TOKEN, b"\xfe", [paying(HENRY)]), fails=True),
)

TABLES_LANE: Final = (
    Step(
        "create_table",
        lambda chain: [
            create_table(FRANK, chain.recent_slot),
            extend_table(FRANK, chain.table, TABLE_ADDRESSES),
        ],
    ),
    Step(
        "create_frozen_table",
        lambda chain: [
            create_table(FRANK, chain.recent_slot - 1),
            extend_table(FRANK, chain.frozen_table, [IVAN]),
        ],
    ),
    Step("versioned", lambda chain: [move(FRANK, IVAN, SOL)], versioned=True),
    Step(
        "versioned_with_table",
        lambda chain: [move(FRANK, IVAN, 12_345), memo("by table")],
        versioned=True,
        uses_table=True,
    ),
    Step(
        "failed_versioned",
        lambda chain: [move(FRANK, IVAN, 1_000 * SOL)],
        versioned=True,
        uses_table=True,
        fails=True,
    ),
    Step("freeze_table", lambda chain: [change_table(1, FRANK, chain.frozen_table)]),
    Step("deactivate_table", lambda chain: [change_table(3, FRANK, chain.table)]),
)

FEE_MINT_BYTES: Final = 166 + (4 + 108) + (4 + 32) + (4 + 32) + (4 + 64)
METADATA_BYTES: Final = 300
WIDE_MINT_BYTES: Final = 166 + (4 + 1) + (4 + 64) + (4 + 64) + (4 + 64)


def new_token(number: int, data: bytes, *accounts: AccountMeta) -> Instruction:
    """Return an instruction of Token-2022."""
    return token(number, data, *accounts, program=TOKEN_2022)


NEW_TOKEN_LANE: Final = (
    step(
        "create_new_mint",
        create(DORA, NEW_MINT, FEE_MINT_BYTES, TOKEN_2022, rent_exempt(FEE_MINT_BYTES + METADATA_BYTES)),
        new_token(
            26,
            b"\0\1" + bytes(DORA) + b"\1" + bytes(DORA) + u16(100) + u64(5_000),
            writable(NEW_MINT),
        ),
        new_token(25, b"\1" + bytes(DORA), writable(NEW_MINT)),
        new_token(35, bytes(DORA), writable(NEW_MINT)),
        new_token(39, b"\0" + bytes(DORA) + bytes(NEW_MINT), writable(NEW_MINT)),
        new_token(20, mint_fields(DORA, 6), writable(NEW_MINT)),
        signers=["mint 2022"],
    ),
    step(
        "write_metadata",
        Instruction(
            TOKEN_2022,
            bytes.fromhex("d2e11ea258b84d8d")
            + counted("Deal", 4)
            + counted("DEAL", 4)
            + counted("https://example.org/deal.json", 4),
            [writable(NEW_MINT), readonly(DORA), readonly(NEW_MINT), signing(DORA)],
        ),
        Instruction(
            TOKEN_2022,
            bytes.fromhex("dde9312db5cadcc8") + b"\3" + counted("colour", 4) + counted("green", 4),
            [writable(NEW_MINT), signing(DORA)],
        ),
    ),
    step(
        "open_new_accounts",
        *(open_associated(DORA, owner, NEW_MINT, TOKEN_2022) for owner in (DORA, BOB)),
    ),
    step(
        "mint_new_tokens",
        new_token(14, checked(9_000_000, 6), writable(NEW_MINT), writable(DORA_NEW), signing(DORA)),
    ),
    step(
        "transfer_with_fee",
        new_token(
            26,
            b"\1" + checked(200_000, 6) + u64(2_000),
            writable(DORA_NEW),
            readonly(NEW_MINT),
            writable(BOB_NEW),
            signing(DORA),
        ),
        new_token(
            12,
            checked(300_000, 6),
            writable(DORA_NEW),
            readonly(NEW_MINT),
            writable(BOB_NEW),
            signing(DORA),
        ),
    ),
    step("harvest_fees", new_token(26, b"\4", writable(NEW_MINT), writable(BOB_NEW))),
    step(
        "withdraw_fees",
        new_token(26, b"\2", writable(NEW_MINT), writable(DORA_NEW), signing(DORA)),
    ),
    step(
        "require_memos",
        new_token(29, u16(8), writable(DORA_NEW), paying(DORA), readonly(SYSTEM), signing(DORA)),
        new_token(30, b"\0", writable(DORA_NEW), signing(DORA)),
    ),
    step(
        "failed_new_transfer",
        new_token(3, u64(1), writable(DORA_NEW), writable(BOB_NEW), signing(DORA)),
        fails=True,
    ),
    step(
        "create_wide_mint",
        create(DORA, WIDE_MINT, WIDE_MINT_BYTES, TOKEN_2022),
        new_token(28, b"\0\1", writable(WIDE_MINT)),
        new_token(36, b"\0" + bytes(DORA) + bytes(NOBODY), writable(WIDE_MINT)),
        new_token(40, b"\0" + bytes(DORA) + bytes(WIDE_MINT), writable(WIDE_MINT)),
        new_token(41, b"\0" + bytes(DORA) + bytes(WIDE_MINT), writable(WIDE_MINT)),
        new_token(20, mint_fields(DORA, 0), writable(WIDE_MINT)),
        signers=["wide"],
    ),
)
