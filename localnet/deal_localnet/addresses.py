"""The program and sysvar addresses that the localnet treats in a special way."""

from functools import lru_cache
from typing import Final

from solders.pubkey import Pubkey

SYSTEM_PROGRAM: Final = Pubkey.from_string("11111111111111111111111111111111")
NATIVE_LOADER: Final = Pubkey.from_string("NativeLoader1111111111111111111111111111111")
COMPUTE_BUDGET_PROGRAM: Final = Pubkey.from_string("ComputeBudget111111111111111111111111111111")
LOOKUP_TABLE_PROGRAM: Final = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
TOKEN_PROGRAM: Final = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022_PROGRAM: Final = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASSOCIATED_TOKEN_PROGRAM: Final = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
MEMO_PROGRAM: Final = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
MEMO_V1_PROGRAM: Final = Pubkey.from_string("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo")
CONFIG_PROGRAM: Final = Pubkey.from_string("Config1111111111111111111111111111111111111")
STAKE_PROGRAM: Final = Pubkey.from_string("Stake11111111111111111111111111111111111111")
VOTE_PROGRAM: Final = Pubkey.from_string("Vote111111111111111111111111111111111111111")
BPF_LOADER_1: Final = Pubkey.from_string("BPFLoader1111111111111111111111111111111111")
BPF_LOADER_2: Final = Pubkey.from_string("BPFLoader2111111111111111111111111111111111")
BPF_LOADER_UPGRADEABLE: Final = Pubkey.from_string("BPFLoaderUpgradeab1e11111111111111111111111")
LOADER_4: Final = Pubkey.from_string("LoaderV411111111111111111111111111111111111")
NATIVE_MINT: Final = Pubkey.from_string("So11111111111111111111111111111111111111112")
SYSVAR_OWNER: Final = Pubkey.from_string("Sysvar1111111111111111111111111111111111111")
SYSVAR_CLOCK: Final = Pubkey.from_string("SysvarC1ock11111111111111111111111111111111")
SYSVAR_RENT: Final = Pubkey.from_string("SysvarRent111111111111111111111111111111111")
SYSVAR_SLOT_HASHES: Final = Pubkey.from_string("SysvarS1otHashes111111111111111111111111111")
SYSVAR_RECENT_BLOCKHASHES: Final = Pubkey.from_string("SysvarRecentB1ockHashes11111111111111111111")
SYSVAR_EPOCH_SCHEDULE: Final = Pubkey.from_string("SysvarEpochSchedu1e111111111111111111111111")
SYSVAR_FEES: Final = Pubkey.from_string("SysvarFees111111111111111111111111111111111")
SYSVAR_STAKE_HISTORY: Final = Pubkey.from_string("SysvarStakeHistory1111111111111111111111111")
SYSVAR_LAST_RESTART_SLOT: Final = Pubkey.from_string("SysvarLastRestartS1ot1111111111111111111111")
SYSVAR_EPOCH_REWARDS: Final = Pubkey.from_string("SysvarEpochRewards1111111111111111111111111")
ED25519_PROGRAM: Final = Pubkey.from_string("Ed25519SigVerify111111111111111111111111111")
SECP256K1_PROGRAM: Final = Pubkey.from_string("KeccakSecp256k11111111111111111111111111111")

TOKEN_PROGRAMS: Final = frozenset({TOKEN_PROGRAM, TOKEN_2022_PROGRAM})
MEMO_PROGRAMS: Final = frozenset({MEMO_PROGRAM, MEMO_V1_PROGRAM})
PRECOMPILES: Final = frozenset({ED25519_PROGRAM, SECP256K1_PROGRAM})

# LiteSVM cannot list its accounts, so those it starts with are named here for the owner index.
GENESIS_ADDRESSES: Final = (
    SYSTEM_PROGRAM,
    COMPUTE_BUDGET_PROGRAM,
    LOOKUP_TABLE_PROGRAM,
    TOKEN_PROGRAM,
    TOKEN_2022_PROGRAM,
    ASSOCIATED_TOKEN_PROGRAM,
    MEMO_PROGRAM,
    MEMO_V1_PROGRAM,
    CONFIG_PROGRAM,
    STAKE_PROGRAM,
    VOTE_PROGRAM,
    BPF_LOADER_2,
    BPF_LOADER_UPGRADEABLE,
    NATIVE_MINT,
    ED25519_PROGRAM,
    SECP256K1_PROGRAM,
    SYSVAR_CLOCK,
    SYSVAR_RENT,
    SYSVAR_SLOT_HASHES,
    SYSVAR_RECENT_BLOCKHASHES,
    SYSVAR_EPOCH_SCHEDULE,
)

MAX_KEPT_TEXTS: Final = 50_000


@lru_cache(MAX_KEPT_TEXTS)
def address_text(raw: bytes) -> str:
    """Return an address as text, which takes long enough to be kept: the same few appear again and again."""
    return str(Pubkey.from_bytes(raw))
