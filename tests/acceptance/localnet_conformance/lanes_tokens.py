"""The lanes of the classic token program: payments, and accounts that several keys own together."""

from __future__ import annotations

from typing import Final

from .instructions import (
    MEMO,
    MINT_BYTES,
    MULTISIG_BYTES,
    NATIVE_MINT,
    RENT,
    TOKEN,
    TOKEN_ACCOUNT_BYTES,
    checked,
    create,
    memo,
    move,
    open_associated,
    readonly,
    signing,
    token,
    u64,
    unit_limit,
    unit_price,
    writable,
)
from .world import (
    ALICE,
    ALICE_TOKENS,
    BOB,
    BOB_TOKENS,
    CAROL,
    CAROL_TOKENS,
    DAVE,
    DAVE_TOKENS,
    DEAL,
    DECIMALS,
    FIRST,
    GINA,
    JUDY,
    KIM,
    LEO,
    MINT,
    MULTISIG,
    OWNED,
    POINTS,
    PRICED,
    SECOND,
    SOL,
    THIRD,
    WRAPPED,
    mint_fields,
    step,
    transfer,
)

APPROVED: Final = [writable(ALICE_TOKENS), readonly(MINT), readonly(BOB), signing(ALICE)]
MINTED: Final = [writable(MINT), writable(ALICE_TOKENS), signing(ALICE)]
BURNT: Final = [writable(ALICE_TOKENS), writable(MINT), signing(ALICE)]
FROZEN: Final = [writable(CAROL_TOKENS), readonly(MINT), signing(ALICE)]

CLASSIC_LANE: Final = (
    step(
        "create_mint",
        create(ALICE, MINT, MINT_BYTES, TOKEN),
        token(20, mint_fields(ALICE, DECIMALS, ALICE), writable(MINT)),
        signers=["mint"],
    ),
    step(
        "open_accounts",
        open_associated(ALICE, ALICE, MINT, data=b""),
        *(open_associated(ALICE, owner, MINT) for owner in (BOB, CAROL, DAVE)),
    ),
    step(
        "mint_tokens",
        token(14, checked(1_000_000 * DEAL, DECIMALS), *MINTED),
        token(7, u64(5 * DEAL), writable(MINT), writable(BOB_TOKENS), signing(ALICE)),
    ),
    step(
        "transfer",
        unit_limit(60_000),
        unit_price(1_000),
        transfer(150_000_000),
        memo("order 17"),
        memo("second, signed", MEMO, ALICE),
        move(ALICE, PRICED, 2_000_000),
    ),
    step(
        "approve",
        token(13, checked(5 * DEAL, DECIMALS), *APPROVED),
        token(4, u64(2 * DEAL), writable(BOB_TOKENS), readonly(CAROL), signing(BOB)),
        signers=["bob"],
    ),
    step(
        "transfer_from",
        token(3, u64(DEAL), writable(ALICE_TOKENS), writable(CAROL_TOKENS), signing(BOB)),
        signers=["bob"],
    ),
    step(
        "burn",
        token(15, checked(25_000_000, DECIMALS), *BURNT),
        token(8, u64(10_000_000), *BURNT),
    ),
    step("failed_transfer", memo("too much"), transfer(10_000_000 * DEAL), fails=True),
    step("freeze", token(10, b"", *FROZEN), token(11, b"", *FROZEN), token(10, b"", *FROZEN)),
    step(
        "set_authority",
        token(6, b"\1\1" + bytes(BOB), writable(MINT), signing(ALICE)),
        token(6, b"\3\1" + bytes(ALICE), writable(BOB_TOKENS), signing(BOB)),
        signers=["bob"],
    ),
    step(
        "close",
        token(9, b"", writable(DAVE_TOKENS), writable(ALICE), signing(DAVE)),
        token(5, b"", writable(ALICE_TOKENS), signing(ALICE)),
        token(4, u64(3 * DEAL), writable(ALICE_TOKENS), readonly(CAROL), signing(ALICE)),
        signers=["dave"],
    ),
    step("ui_amount", token(23, u64(150_000_000), readonly(MINT))),
    step("amount_of_text", token(24, b"1.5", readonly(MINT))),
    step("account_size", token(21, b"", readonly(MINT))),
)

SHARED_LANE: Final = (
    step(
        "create_multisig",
        create(GINA, MULTISIG, MULTISIG_BYTES, TOKEN),
        token(19, b"\2", writable(MULTISIG), readonly(JUDY), readonly(KIM), readonly(LEO)),
        create(GINA, POINTS, MINT_BYTES, TOKEN),
        token(0, mint_fields(GINA, 0), writable(POINTS), readonly(RENT)),
        signers=["multisig", "points"],
    ),
    step(
        "open_owned",
        create(GINA, OWNED, TOKEN_ACCOUNT_BYTES, TOKEN),
        token(18, bytes(MULTISIG), writable(OWNED), readonly(POINTS)),
        create(GINA, FIRST, TOKEN_ACCOUNT_BYTES, TOKEN),
        token(1, b"", writable(FIRST), readonly(POINTS), readonly(GINA), readonly(RENT)),
        create(GINA, SECOND, TOKEN_ACCOUNT_BYTES, TOKEN),
        token(16, bytes(DAVE), writable(SECOND), readonly(POINTS), readonly(RENT)),
        signers=["owned", "first", "second"],
    ),
    step(
        "immutable_owner",
        create(GINA, THIRD, TOKEN_ACCOUNT_BYTES, TOKEN),
        token(22, b"", writable(THIRD)),
        token(18, bytes(LEO), writable(THIRD), readonly(POINTS)),
        token(7, u64(1_000), writable(POINTS), writable(OWNED), signing(GINA)),
        signers=["third"],
    ),
    step(
        "multisig_transfer",
        token(
            3,
            u64(300),
            writable(OWNED),
            writable(FIRST),
            readonly(MULTISIG),
            signing(JUDY),
            signing(LEO),
        ),
        signers=["judy", "leo"],
    ),
    step(
        "failed_multisig",
        token(3, u64(300), writable(OWNED), writable(FIRST), readonly(MULTISIG), signing(JUDY)),
        signers=["judy"],
        fails=True,
    ),
    step(
        "wrap",
        open_associated(GINA, GINA, NATIVE_MINT),
        move(GINA, WRAPPED, 2 * SOL),
        token(17, b"", writable(WRAPPED)),
    ),
    step("failed_owner", token(3, u64(1), writable(SECOND), writable(FIRST), signing(GINA)), fails=True),
    step(
        "failed_mismatch",
        token(12, checked(1, 3), writable(FIRST), readonly(POINTS), writable(OWNED), signing(GINA)),
        fails=True,
    ),
    step("failed_frozen_mint", token(10, b"", writable(FIRST), readonly(POINTS), signing(GINA)), fails=True),
)
