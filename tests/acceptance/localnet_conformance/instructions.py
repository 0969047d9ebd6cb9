"""Instructions written down by their bytes, so that no builder stands between the scenario and the chain."""

from __future__ import annotations

import hashlib
from typing import Final

from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

SYSTEM: Final = Pubkey.from_string("11111111111111111111111111111111")
TOKEN: Final = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022: Final = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASSOCIATED: Final = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
MEMO: Final = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
MEMO_V1: Final = Pubkey.from_string("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo")
COMPUTE_BUDGET: Final = Pubkey.from_string("ComputeBudget111111111111111111111111111111")
LOOKUP_TABLES: Final = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
NATIVE_MINT: Final = Pubkey.from_string("So11111111111111111111111111111111111111112")
RENT: Final = Pubkey.from_string("SysvarRent111111111111111111111111111111111")
RECENT_BLOCKHASHES: Final = Pubkey.from_string("SysvarRecentB1ockHashes11111111111111111111")

MINT_BYTES: Final = 82
TOKEN_ACCOUNT_BYTES: Final = 165
MULTISIG_BYTES: Final = 355
NONCE_BYTES: Final = 80


def keypair(name: str) -> Keypair:
    """Return the keypair that a name stands for, the same in every run."""
    return Keypair.from_seed(hashlib.sha256(b"localnet conformance: " + name.encode()).digest())


def address(name: str) -> Pubkey:
    """Return the address that a name stands for."""
    return keypair(name).pubkey()


def writable(key: Pubkey) -> AccountMeta:
    return AccountMeta(key, is_signer=False, is_writable=True)


def readonly(key: Pubkey) -> AccountMeta:
    return AccountMeta(key, is_signer=False, is_writable=False)


def signing(key: Pubkey) -> AccountMeta:
    return AccountMeta(key, is_signer=True, is_writable=False)


def paying(key: Pubkey) -> AccountMeta:
    return AccountMeta(key, is_signer=True, is_writable=True)


def u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def counted(text: str, width: int = 8) -> bytes:
    """Return a text behind its length."""
    return len(text.encode()).to_bytes(width, "little") + text.encode()


def rent_exempt(size: int) -> int:
    """Return the lamports that an account of a size must hold."""
    return (128 + size) * 6_960


def associated(owner: Pubkey, mint: Pubkey, program: Pubkey = TOKEN) -> Pubkey:
    """Return the token account that a wallet has for a mint."""
    return Pubkey.find_program_address([bytes(owner), bytes(program), bytes(mint)], ASSOCIATED)[0]


def create(payer: Pubkey, new: Pubkey, size: int, owner: Pubkey, lamports: int | None = None) -> Instruction:
    data = u32(0) + u64(rent_exempt(size) if lamports is None else lamports) + u64(size) + bytes(owner)
    return Instruction(SYSTEM, data, [paying(payer), paying(new)])


def move(source: Pubkey, to: Pubkey, lamports: int) -> Instruction:
    return Instruction(SYSTEM, u32(2) + u64(lamports), [paying(source), writable(to)])


def token(number: int, data: bytes, *accounts: AccountMeta, program: Pubkey = TOKEN) -> Instruction:
    return Instruction(program, bytes([number]) + data, list(accounts))


def checked(amount: int, decimals: int) -> bytes:
    return u64(amount) + bytes([decimals])


def open_associated(
    payer: Pubkey, owner: Pubkey, mint: Pubkey, program: Pubkey = TOKEN, data: bytes = b"\1"
) -> Instruction:
    accounts = [
        paying(payer),
        writable(associated(owner, mint, program)),
        readonly(owner),
        readonly(mint),
        readonly(SYSTEM),
        readonly(program),
    ]
    return Instruction(ASSOCIATED, data, accounts)


def memo(text: str | bytes, program: Pubkey = MEMO, *signers: Pubkey) -> Instruction:
    data = text.encode() if isinstance(text, str) else text
    return Instruction(program, data, [signing(signer) for signer in signers])


def unit_limit(units: int) -> Instruction:
    return Instruction(COMPUTE_BUDGET, b"\2" + u32(units), [])


def unit_price(micro_lamports: int) -> Instruction:
    return Instruction(COMPUTE_BUDGET, b"\3" + u64(micro_lamports), [])


def heap_frame(size: int) -> Instruction:
    return Instruction(COMPUTE_BUDGET, b"\1" + u32(size), [])


def loaded_data_limit(size: int) -> Instruction:
    return Instruction(COMPUTE_BUDGET, b"\4" + u32(size), [])


def table_address(authority: Pubkey, slot: int) -> tuple[Pubkey, int]:
    """Return where a lookup table of a slot lies, and its bump seed."""
    return Pubkey.find_program_address([bytes(authority), u64(slot)], LOOKUP_TABLES)


def create_table(authority: Pubkey, slot: int) -> Instruction:
    table, bump = table_address(authority, slot)
    accounts = [writable(table), signing(authority), paying(authority), readonly(SYSTEM)]
    return Instruction(LOOKUP_TABLES, u32(0) + u64(slot) + bytes([bump]), accounts)


def extend_table(authority: Pubkey, table: Pubkey, addresses: list[Pubkey]) -> Instruction:
    data = u32(2) + u64(len(addresses)) + b"".join(bytes(one) for one in addresses)
    accounts = [writable(table), signing(authority), paying(authority), readonly(SYSTEM)]
    return Instruction(LOOKUP_TABLES, data, accounts)


def change_table(number: int, authority: Pubkey, table: Pubkey) -> Instruction:
    """Freeze (1) or deactivate (3) a lookup table."""
    return Instruction(LOOKUP_TABLES, u32(number), [writable(table), signing(authority)])
