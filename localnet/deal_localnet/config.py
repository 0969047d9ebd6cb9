"""What a localnet is started with, and the bounds that all of its parts share."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from solders.account import Account
from solders.pubkey import Pubkey

DEFAULT_SLOT_SECONDS: Final = 0.4
DEFAULT_CONFIRM_SLOTS: Final = 1
DEFAULT_FINALITY_SLOTS: Final = 32
DEFAULT_FAUCET_LAMPORTS: Final = 500_000_000 * 1_000_000_000
DEFAULT_SLOTS_PER_EPOCH: Final = 432_000
MIN_SLOTS_PER_EPOCH: Final = 32
MAX_PROCESSING_AGE_BLOCKS: Final = 150
MIN_BLOCKHASH_LIFETIME_SECONDS: Final = 10.0
MAX_REQUEST_BODY_BYTES: Final = 50 * 1024
BATCH_SLICE_SECONDS: Final = 0.008


@dataclass(frozen=True, slots=True)
class LocalnetConfig:
    """Names every choice of a localnet, so that a test can make each of them explicit.

    With `auto_advance` off no clock task runs: slots pass only through `Localnet.advance_slots`.
    """

    slot_seconds: float = DEFAULT_SLOT_SECONDS
    auto_advance: bool = True
    confirm_slots: int = DEFAULT_CONFIRM_SLOTS
    finality_slots: int = DEFAULT_FINALITY_SLOTS
    ledger_directory: Path | None = None
    reset_ledger: bool = False
    faucet_lamports: int = DEFAULT_FAUCET_LAMPORTS
    wall_clock: Callable[[], float] = time.time
    programs: tuple[tuple[Pubkey, bytes], ...] = ()
    """Programs that are there from the first block on, each address with its ELF file."""
    accounts: tuple[tuple[Pubkey, Account], ...] = ()
    """Accounts that are there from the first block on, those of a real cluster for instance."""
    slots_per_epoch: int = DEFAULT_SLOTS_PER_EPOCH
    snapshot_file: Path | None = None
    """A file that `Localnet.save_snapshot` wrote: the chain goes on from there."""
    max_lag_slots: int = 0
    """How far behind an endpoint may be told to lag: for so long older states of accounts are kept."""
    test_methods: bool = False
    """Whether the `localnet_*` methods, which move time and overwrite accounts, answer over the wire."""

    def __post_init__(self) -> None:
        """Refuse values that no chain could run with."""
        if not 0 < self.slot_seconds < math.inf:
            raise ValueError("slot_seconds must be positive")
        if not 0 <= self.confirm_slots <= self.finality_slots:
            raise ValueError("confirm_slots must lie between 0 and finality_slots")
        if self.slots_per_epoch < MIN_SLOTS_PER_EPOCH:
            raise ValueError(f"slots_per_epoch must be at least {MIN_SLOTS_PER_EPOCH}")
        if self.max_lag_slots < 0:
            raise ValueError("max_lag_slots must not be negative")
        if self.faucet_lamports < 0:
            raise ValueError("faucet_lamports must not be negative")
        if self.snapshot_file is not None and self.ledger_directory is not None:
            raise ValueError("a chain goes on from a snapshot or from a ledger, not from both")

    @property
    def blockhash_lifetime_blocks(self) -> int:
        """Return how many blocks a blockhash lives: Solana's 150, or more when slots are very short."""
        return max(MAX_PROCESSING_AGE_BLOCKS, math.ceil(MIN_BLOCKHASH_LIFETIME_SECONDS / self.slot_seconds))
