"""Fees and cost units by Agave's rules, since LiteSVM charges the signature fee alone."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from solders.instruction import CompiledInstruction
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey

from .addresses import (
    BPF_LOADER_1,
    BPF_LOADER_2,
    BPF_LOADER_UPGRADEABLE,
    COMPUTE_BUDGET_PROGRAM,
    ED25519_PROGRAM,
    LOADER_4,
    PRECOMPILES,
    SECP256K1_PROGRAM,
    SYSTEM_PROGRAM,
    VOTE_PROGRAM,
)
from .records import WireTransaction

LAMPORTS_PER_SIGNATURE: Final = 5_000
MICRO_LAMPORTS_PER_LAMPORT: Final = 1_000_000
MAX_COMPUTE_UNITS: Final = 1_400_000
MAX_LOADED_BYTES: Final = 64 * 1024 * 1024
DEFAULT_INSTRUCTION_COMPUTE_UNITS: Final = 200_000
BUILTIN_INSTRUCTION_COMPUTE_UNITS: Final = 3_000
SIGNATURE_COST_UNITS: Final = 720
ED25519_COST_UNITS: Final = 2_400
SECP256K1_COST_UNITS: Final = 6_690
WRITE_LOCK_COST_UNITS: Final = 300
INSTRUCTION_BYTES_PER_COST_UNIT: Final = 4
LOADED_PAGE_BYTES: Final = 32 * 1024
LOADED_PAGE_COST_UNITS: Final = 8

MIN_HEAP_BYTES: Final = 32 * 1024
MAX_HEAP_BYTES: Final = 256 * 1024
HEAP_STEP_BYTES: Final = 1024

REQUEST_HEAP_FRAME: Final = 1
SET_COMPUTE_UNIT_LIMIT: Final = 2
SET_COMPUTE_UNIT_PRICE: Final = 3
SET_LOADED_BYTES_LIMIT: Final = 4
BPF_LOADERS: Final = frozenset({BPF_LOADER_2, BPF_LOADER_UPGRADEABLE})
BUILTIN_PROGRAMS: Final = frozenset(
    {
        SYSTEM_PROGRAM,
        COMPUTE_BUDGET_PROGRAM,
        VOTE_PROGRAM,
        BPF_LOADER_1,
        BPF_LOADER_2,
        BPF_LOADER_UPGRADEABLE,
        LOADER_4,
        SECP256K1_PROGRAM,
        ED25519_PROGRAM,
    }
)


class ComputeBudget(NamedTuple):
    """Keeps what a transaction's compute budget instructions ask for."""

    unit_limit: int
    micro_lamports_per_unit: int
    loaded_bytes_limit: int

    @property
    def prioritization_fee(self) -> int:
        """Return the lamports paid on top of the signatures, rounded up as Agave does."""
        return -(-self.unit_limit * self.micro_lamports_per_unit // MICRO_LAMPORTS_PER_LAMPORT)


def compute_budget(keys: Sequence[Pubkey], instructions: Sequence[CompiledInstruction]) -> ComputeBudget:
    """Read the compute budget instructions; without a limit each instruction brings its default."""
    limit: int | None = None
    price = 0
    loaded_bytes = MAX_LOADED_BYTES
    for _, data in _budget_instructions(keys, instructions):
        if data[0] == SET_COMPUTE_UNIT_LIMIT and len(data) >= 5:
            limit = int.from_bytes(data[1:5], "little")
        elif data[0] == SET_COMPUTE_UNIT_PRICE and len(data) >= 9:
            price = int.from_bytes(data[1:9], "little")
        elif data[0] == SET_LOADED_BYTES_LIMIT and len(data) >= 5:
            loaded_bytes = min(int.from_bytes(data[1:5], "little"), MAX_LOADED_BYTES)
    if limit is None:
        limit = sum(_default_units(keys, instruction.program_id_index) for instruction in instructions)
    return ComputeBudget(min(limit, MAX_COMPUTE_UNITS), price, loaded_bytes)


def duplicate_budget_instruction(message: Message | MessageV0) -> int | None:
    """Return the index of a compute budget instruction that repeats an earlier one; None when none does."""
    keys = message.account_keys
    if COMPUTE_BUDGET_PROGRAM not in keys:
        return None
    seen: set[int] = set()
    for position, data in _budget_instructions(keys, message.instructions):
        if data[0] in seen:
            return position
        seen.add(data[0])
    return None


def invalid_budget(transaction: WireTransaction) -> dict[str, Any] | None:
    """Return the error of a compute budget instruction that asks for what nobody gets; else None."""
    keys = transaction.keys
    if COMPUTE_BUDGET_PROGRAM not in keys:
        return None
    for position, data in _budget_instructions(keys, transaction.message.instructions):
        amount = int.from_bytes(data[1:5], "little")
        heap = data[0] == REQUEST_HEAP_FRAME and not (
            MIN_HEAP_BYTES <= amount <= MAX_HEAP_BYTES and amount % HEAP_STEP_BYTES == 0
        )
        if heap or (data[0] == SET_LOADED_BYTES_LIMIT and not amount):
            return {"InstructionError": [position, "InvalidInstructionData"]}
    return None


def _budget_instructions(
    keys: Sequence[Pubkey], instructions: Sequence[CompiledInstruction]
) -> Iterator[tuple[int, bytes]]:
    program = keys.index(COMPUTE_BUDGET_PROGRAM)
    for position, instruction in enumerate(instructions):
        if instruction.program_id_index == program and instruction.data:
            yield position, instruction.data


def _default_units(keys: Sequence[Pubkey], program: int) -> int:
    if program < len(keys) and keys[program] in BUILTIN_PROGRAMS:
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


class MessageFee(NamedTuple):
    """Keeps what a message costs, in lamports, and the price that its priority fee comes from."""

    signature_fee: int
    priority_fee: int
    micro_lamports_per_unit: int
    loaded_bytes_limit: int

    @property
    def total(self) -> int:
        """Return all that is charged."""
        return self.signature_fee + self.priority_fee


def message_fee(message: Message | MessageV0) -> MessageFee:
    """Return a message's signature fee and its prioritization fee."""
    signatures = message.header.num_required_signatures
    keys = message.account_keys
    if not PRECOMPILES.isdisjoint(keys):
        signatures += sum(_precompile_signatures(message).values())
    if COMPUTE_BUDGET_PROGRAM not in keys:
        return MessageFee(signatures * LAMPORTS_PER_SIGNATURE, 0, 0, MAX_LOADED_BYTES)
    budget = compute_budget(keys, message.instructions)
    return MessageFee(
        signatures * LAMPORTS_PER_SIGNATURE,
        budget.prioritization_fee,
        budget.micro_lamports_per_unit,
        budget.loaded_bytes_limit,
    )


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
