"""The first block: LiteSVM with its programs, the faucet's lamports and the native mint."""

import os
from collections.abc import Iterable, Sequence
from typing import Final

from solders.account import Account
from solders.epoch_schedule import EpochSchedule
from solders.hash import Hash
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.rent import Rent

from .addresses import BPF_LOADER_2, NATIVE_MINT, SYSTEM_PROGRAM, TOKEN_PROGRAM
from .config import DEFAULT_SLOTS_PER_EPOCH, LocalnetConfig
from .engine import UnloadableProgramError, refused_programs
from .live_accounts import MAX_U64
from .rent import RENT_LAMPORTS_PER_BYTE
from .setup_errors import ProgramFileError, SetupError
from .slots import Block

SEED_BYTES: Final = 32
NATIVE_MINT_LAMPORTS: Final = 1_000_000_000
# No authority, supply 0, 9 decimals, initialized, no freeze authority.
NATIVE_MINT_DATA: Final = bytes(44) + bytes([9, 1]) + bytes(36)


def new_seed() -> bytes:
    """Return fresh randomness, from which a chain's genesis hash and its keys follow."""
    return os.urandom(SEED_BYTES)


def new_svm(
    programs: Sequence[tuple[Pubkey, bytes]], slots_per_epoch: int = DEFAULT_SLOTS_PER_EPOCH
) -> LiteSVM:
    """Start LiteSVM with programs of the caller's, without the checks that the bank makes itself.

    Raises:
        ProgramFileError: for a program that cannot be loaded.
    """
    svm = LiteSVM().with_blockhash_check(False).with_sigverify(False).with_transaction_history(0)
    rent = Rent(lamports_per_byte_year=RENT_LAMPORTS_PER_BYTE, exemption_threshold=1.0, burn_percent=50)
    svm.set_rent(rent)
    svm.set_epoch_schedule(EpochSchedule.custom(slots_per_epoch, slots_per_epoch, False))
    svm.set_account(NATIVE_MINT, Account(NATIVE_MINT_LAMPORTS, NATIVE_MINT_DATA, TOKEN_PROGRAM, False, 1))
    # Set as accounts, because LiteSVM's own way to add a program ends the process at code that is none.
    loaded = [(address, _program_account(svm, elf)) for address, elf in programs]
    put_accounts(svm, loaded, ProgramFileError)
    return svm


def _program_account(svm: LiteSVM, elf: bytes) -> Account:
    lamports = svm.minimum_balance_for_rent_exemption(len(elf))
    return Account(lamports, elf, BPF_LOADER_2, True, 0)


def put_accounts(svm: LiteSVM, accounts: Iterable[tuple[Pubkey, Account]], refusal: type[SetupError]) -> None:
    """Set accounts, programs last: LiteSVM loads one at once, and needs its code for that.

    Raises:
        SetupError: of the given kind, for a program whose code LiteSVM does not load.
    """
    for address, account in sorted(accounts, key=lambda named: named[1].executable):
        try:
            with refused_programs(address):
                svm.set_account(address, account)
        except UnloadableProgramError as error:
            raise refusal(str(error)) from None


def genesis_hash(seed: bytes) -> Hash:
    """Return the hash that names a chain."""
    return Hash.hash(b"genesis" + seed)


def faucet_keypair(seed: bytes) -> Keypair:
    """Return the chain's faucet."""
    return Keypair.from_seed(bytes(Hash.hash(b"faucet" + seed)))


def identity_keypair(seed: bytes) -> Keypair:
    """Return the node's own key."""
    return Keypair.from_seed(bytes(Hash.hash(b"identity" + seed)))


def fund_faucet(svm: LiteSVM, seed: bytes, lamports: int) -> None:
    """Give the faucet what it hands out."""
    account = Account(lamports, b"", SYSTEM_PROGRAM, False, MAX_U64)
    svm.set_account(faucet_keypair(seed).pubkey(), account)


def first_blocks(seed: bytes, config: LocalnetConfig) -> list[Block]:
    """Return the genesis block and the first open one."""
    chain_hash = genesis_hash(seed)
    now = int(config.wall_clock())
    genesis = Block(0, 0, 0, chain_hash, now, 0)
    return [genesis, next_block(genesis, config)]


def next_block(parent: Block, config: LocalnetConfig, slot: int | None = None) -> Block:
    """Return the block that follows another, in the slot after its or in a later one."""
    number = parent.slot + 1 if slot is None else slot
    return Block(
        slot=number,
        parent_slot=parent.slot,
        height=parent.height + 1,
        blockhash=Hash.hash(bytes(parent.blockhash) + number.to_bytes(8, "little")),
        time=int(config.wall_clock()),
        transactions_before=parent.transaction_count,
    )
