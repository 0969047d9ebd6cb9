"""The names of the scenario: its wallets, mints and accounts, and what a step of it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from .instructions import (
    NATIVE_MINT,
    SYSTEM,
    TOKEN,
    TOKEN_2022,
    address,
    associated,
    checked,
    readonly,
    signing,
    table_address,
    token,
    writable,
)

SOL: Final = 1_000_000_000
DEAL: Final = 100_000_000
DECIMALS: Final = 8
FUNDS: Final = {
    "alice": 100 * SOL,
    "dora": 20 * SOL,
    "erin": 20 * SOL,
    "frank": 20 * SOL,
    "gina": 20 * SOL,
    "henry": SOL,
}

ALICE, BOB, CAROL, DAVE = address("alice"), address("bob"), address("carol"), address("dave")
DORA, ERIN, FRANK, GINA = address("dora"), address("erin"), address("frank"), address("gina")
MINT, NEW_MINT, WIDE_MINT, POINTS = address("mint"), address("mint 2022"), address("wide"), address("points")
MULTISIG, OWNED = address("multisig"), address("owned")
FIRST, SECOND, THIRD = address("first"), address("second"), address("third")
NONCE, PLAIN, UNINITIALIZED = address("nonce"), address("plain"), address("uninitialized")
HANK, HENRY, IVAN = address("hank"), address("henry"), address("ivan")
JUDY, KIM, LEO = address("judy"), address("kim"), address("leo")
NOBODY, POOR, LATE = address("nobody"), address("poor"), address("late")
PRICED: Final = address("priced")
SEEDED: Final = Pubkey.create_with_seed(ERIN, "vault", SYSTEM)
ALICE_TOKENS, BOB_TOKENS = associated(ALICE, MINT), associated(BOB, MINT)
CAROL_TOKENS, DAVE_TOKENS = associated(CAROL, MINT), associated(DAVE, MINT)
DORA_NEW, BOB_NEW = associated(DORA, NEW_MINT, TOKEN_2022), associated(BOB, NEW_MINT, TOKEN_2022)
WRAPPED: Final = associated(GINA, NATIVE_MINT)

ADDRESSES: Final = {
    "alice": ALICE,
    "bob": BOB,
    "carol": CAROL,
    "dave": DAVE,
    "dora": DORA,
    "erin": ERIN,
    "frank": FRANK,
    "gina": GINA,
    "hank": HANK,
    "henry": HENRY,
    "ivan": IVAN,
    "mint": MINT,
    "new_mint": NEW_MINT,
    "wide_mint": WIDE_MINT,
    "points": POINTS,
    "multisig": MULTISIG,
    "owned": OWNED,
    "first": FIRST,
    "nonce": NONCE,
    "plain": PLAIN,
    "uninitialized": UNINITIALIZED,
    "nobody": NOBODY,
    "poor": POOR,
    "priced": PRICED,
    "late": LATE,
    "seeded": SEEDED,
    "alice_tokens": ALICE_TOKENS,
    "bob_tokens": BOB_TOKENS,
    "carol_tokens": CAROL_TOKENS,
    "dave_tokens": DAVE_TOKENS,
    "dora_new": DORA_NEW,
    "bob_new": BOB_NEW,
    "wrapped": WRAPPED,
    "token": TOKEN,
    "token_2022": TOKEN_2022,
}
"""The addresses that are the same on both chains; cases name them as `$alice`."""


@dataclass(slots=True)
class Chain:
    """Holds what differs from chain to chain: the slot that lookup tables are derived from."""

    recent_slot: int = 0

    @property
    def table(self) -> Pubkey:
        """Return the lookup table's address."""
        return table_address(FRANK, self.recent_slot)[0]

    @property
    def frozen_table(self) -> Pubkey:
        """Return the address of the lookup table that is frozen."""
        return table_address(FRANK, self.recent_slot - 1)[0]


@dataclass(frozen=True, slots=True)
class Step:
    """Names one transaction; `uses_table` makes it take addresses from the lookup table."""

    name: str
    instructions: Callable[[Chain], Sequence[Instruction]]
    signers: tuple[str, ...] = ()
    fails: bool = False
    versioned: bool = False
    uses_table: bool = False


def step(name: str, *instructions: Instruction, signers: Sequence[str] = (), fails: bool = False) -> Step:
    """Return a step whose instructions are the same on every chain."""
    return Step(name, lambda chain: instructions, tuple(signers), fails)


def transfer(amount: int, source: Pubkey = ALICE_TOKENS, owner: Pubkey = ALICE) -> Instruction:
    """Transfer tokens to bob, checked."""
    accounts = [writable(source), readonly(MINT), writable(BOB_TOKENS), signing(owner)]
    return token(12, checked(amount, DECIMALS), *accounts)


def mint_fields(authority: Pubkey, decimals: int, freeze: Pubkey | None = None) -> bytes:
    """Return the data of an instruction that initializes a mint."""
    return bytes([decimals]) + bytes(authority) + (b"\0" if freeze is None else b"\1" + bytes(freeze))


TABLE_ADDRESSES: Final = [IVAN, CAROL, ALICE_TOKENS, BOB_TOKENS, MINT, NONCE]
