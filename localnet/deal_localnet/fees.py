"""Fees and cost units by Agave's rules, since LiteSVM charges the signature fee alone."""

from typing import Final, NamedTuple

from solders.message import Message, MessageV0

from .addresses import (
    BPF_LOADER_2,
    BPF_LOADER_UPGRADEABLE,
    COMPUTE_BUDGET_PROGRAM,
    ED25519_PROGRAM,
    PRECOMPILES,
)
from .records import WireTransaction

LAMPORTS_PER_SIGNATURE: Final = 5_000
MICRO_LAMPORTS_PER_LAMPORT: Final = 1_000_000
MAX_COMPUTE_UNITS: Final = 1_400_000
DEFAULT_INSTRUCTION_COMPUTE_UNITS: Final = 200_000
BUILTIN_INSTRUCTION_COMPUTE_UNITS: Final = 3_000
SIGNATURE_COST_UNITS: Final = 720
ED25519_COST_UNITS: Final = 2_400
SECP256K1_COST_UNITS: Final = 6_690
WRITE_LOCK_COST_UNITS: Final = 300
INSTRUCTION_BYTES_PER_COST_UNIT: Final = 4
LOADED_PAGE_BYTES: Final = 32 * 1024
LOADED_PAGE_COST_UNITS: Final = 8

SET_COMPUTE_UNIT_LIMIT: Final = 2
SET_COMPUTE_UNIT_PRICE: Final = 3
BPF_LOADERS: Final = frozenset({BPF_LOADER_2, BPF_LOADER_UPGRADEABLE})
BUILTIN_PROGRAM_NAMES: Final = (
    "11111111111111111111111111111111",
    "ComputeBudget111111111111111111111111111111",
    "Vote111111111111111111111111111111111111111",
    "BPFLoader1111111111111111111111111111111111",
    "BPFLoader2111111111111111111111111111111111",
    "BPFLoaderUpgradeab1e11111111111111111111111",
    "LoaderV411111111111111111111111111111111111",
    "KeccakSecp256k11111111111111111111111111111",
    "Ed25519SigVerify111111111111111111111111111",
)


class ComputeBudget(NamedTuple):
    """Keeps what a transaction's compute budget instructions ask for."""

    unit_limit: int
    micro_lamports_per_unit: int

    @property
    def prioritization_fee(self) -> int:
        """Return the lamports paid on top of the signatures, rounded up as Agave does."""
        return -(-self.unit_limit * self.micro_lamports_per_unit // MICRO_LAMPORTS_PER_LAMPORT)


def compute_budget(message: Message | MessageV0) -> ComputeBudget:
    """Read the compute budget instructions; without a limit each instruction brings its default."""
    keys = message.account_keys
    limit: int | None = None
    price = default = 0
    for instruction in message.instructions:
        index = instruction.program_id_index
        program = keys[index] if index < len(keys) else None
        default += _default_units(str(program))
        data = instruction.data
        if program != COMPUTE_BUDGET_PROGRAM or not data:
            continue
        if data[0] == SET_COMPUTE_UNIT_LIMIT and len(data) >= 5:
            limit = int.from_bytes(data[1:5], "little")
        elif data[0] == SET_COMPUTE_UNIT_PRICE and len(data) >= 9:
            price = int.from_bytes(data[1:9], "little")
    return ComputeBudget(min(default if limit is None else limit, MAX_COMPUTE_UNITS), price)


def duplicate_budget_instruction(message: Message | MessageV0) -> int | None:
    """Return the index of a compute budget instruction that repeats an earlier one; None when none does."""
    keys = message.account_keys
    if COMPUTE_BUDGET_PROGRAM not in keys:
        return None
    seen: set[int] = set()
    for position, instruction in enumerate(message.instructions):
        index, data = instruction.program_id_index, instruction.data
        if index >= len(keys) or keys[index] != COMPUTE_BUDGET_PROGRAM or not data:
            continue
        if data[0] in seen:
            return position
        seen.add(data[0])
    return None


def _default_units(program: str) -> int:
    if program in BUILTIN_PROGRAM_NAMES:
        return BUILTIN_INSTRUCTION_COMPUTE_UNITS
    return DEFAULT_INSTRUCTION_COMPUTE_UNITS


def _precompile_signatures(message: Message | MessageV0) -> dict[str, int]:
    keys = message.account_keys
    counts: dict[str, int] = {}
    for instruction in message.instructions:
        index = instruction.program_id_index
        if index < len(keys) and keys[index] in PRECOMPILES and instruction.data:
            name = "ed25519" if keys[index] == ED25519_PROGRAM else "secp256k1"
            counts[name] = counts.get(name, 0) + instruction.data[0]
    return counts


def message_fee(message: Message | MessageV0) -> tuple[int, int]:
    """Return a message's signature fee and its prioritization fee, in lamports."""
    signatures = message.header.num_required_signatures
    keys = message.account_keys
    if not PRECOMPILES.isdisjoint(keys):
        signatures += sum(_precompile_signatures(message).values())
    priority = compute_budget(message).prioritization_fee if COMPUTE_BUDGET_PROGRAM in keys else 0
    return signatures * LAMPORTS_PER_SIGNATURE, priority


def cost_units(transaction: WireTransaction, units_consumed: int, loaded_bytes: int) -> int:
    """Return what a transaction counts against its block's limits."""
    message = transaction.message
    precompiles = _precompile_signatures(message)
    data_bytes = sum(len(instruction.data) for instruction in message.instructions)
    return (
        message.header.num_required_signatures * SIGNATURE_COST_UNITS
        + precompiles.get("ed25519", 0) * ED25519_COST_UNITS
        + precompiles.get("secp256k1", 0) * SECP256K1_COST_UNITS
        + len(transaction.writable) * WRITE_LOCK_COST_UNITS
        + data_bytes // INSTRUCTION_BYTES_PER_COST_UNIT
        + -(-loaded_bytes // LOADED_PAGE_BYTES) * LOADED_PAGE_COST_UNITS
        + units_consumed
    )
