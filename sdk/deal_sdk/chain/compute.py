"""Compute units: what a transaction may use, measured once for all transactions of its shape.

Owns the simulations and what is derived from them. A simulation decides nothing but the limit: one that
fails says that the node could not measure now, and the payment goes on with a limit that always suffices.
Whether a transaction works is for the chain to say, because a node that lags would refuse good payments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from deal_sdk.chain import instructions
from deal_sdk.chain.addresses import (
    ASSOCIATED_TOKEN_PROGRAM,
    COMPUTE_BUDGET_PROGRAM,
    MEMO_PROGRAM,
    TOKEN_PROGRAMS,
)
from deal_sdk.chain.allowance.build import searching_discriminators
from deal_sdk.chain.estimates import Estimates
from deal_sdk.chain.rpc import Rpc
from deal_sdk.chain.transactions import unsigned_transaction
from deal_sdk.clock import Clock

MAX_COMPUTE_UNITS: Final = 1_400_000
DEFAULT_INSTRUCTION_UNITS: Final = 200_000
"""What the runtime grants an instruction of a transaction that names no limit."""
DEFAULT_MARGIN_PERCENT: Final = 15
DEFAULT_REFRESH_SECONDS: Final = 600.0
SLACK_UNITS: Final = 1_000
"""So that a percentage of next to nothing (a transfer in p-token takes about a hundred) is still a margin."""
MAX_WIDENING: Final = 16
_MAX_WIDENED: Final = 1_024

BUMP_UNITS: Final = 1_500
"""What each failed try for a program address costs, and so each token account of its own to create."""
MEMO_UNITS_PER_BYTE: Final = 12
"""Above what the memo program takes to check a byte (about 8, measured)."""
SIZE_CLASS_BYTES: Final = 64
_MAX_BUMP: Final = 255
_CREATION_ACCOUNTS: Final = 6
_DISCRIMINATOR_BYTES: Final = 8
_EXCEEDED: Final = frozenset({"ComputationalBudgetExceeded", "ProgramFailedToComplete"})

_Part: TypeAlias = tuple[Pubkey, bytes]
"""An instruction's program and data."""


@dataclass(frozen=True, slots=True)
class TransactionShape:
    """What a transaction's compute depends on: its instructions by program, kind and size, and signatures.

    Token program, account creations, the number of transfers and the memo's size are all in the
    instructions; a fee payer of its own is one more signature.
    """

    instructions: frozenset[tuple[tuple[Pubkey, bytes, int], int]]
    signatures: int


def shape_of(built: Sequence[Instruction], payer: Pubkey) -> TransactionShape:
    """Return the shape of instructions that are about to be signed, their compute budget left out."""
    return _shape(_parts(built), len(signers_of(built) | {payer}))


def signers_of(built: Sequence[Instruction]) -> set[Pubkey]:
    """Return who signs instructions."""
    return {meta.pubkey for step in built for meta in step.accounts if meta.is_signer}


def _parts(built: Sequence[Instruction]) -> list[_Part]:
    # Each look at an instruction's fields makes copies of them.
    return [(step.program_id, step.data) for step in built]


def shape_of_signed(raw_bytes: bytes) -> TransactionShape:
    """Return the shape of a signed transaction, the same that its instructions had before."""
    message = VersionedTransaction.from_bytes(raw_bytes).message
    keys = message.account_keys
    parts = [(keys[step.program_id_index], bytes(step.data)) for step in message.instructions]
    return _shape(parts, message.header.num_required_signatures)


def exceeded_compute(error: Any) -> bool:
    """Return whether a transaction's error, in whatever JSON it is wrapped, says that its units ran out."""
    if isinstance(error, dict):
        return any(exceeded_compute(value) for value in error.values())
    if isinstance(error, list):
        return any(exceeded_compute(value) for value in error)
    return isinstance(error, str) and error in _EXCEEDED


class ComputeUnits:
    """Says how many compute units a transaction should ask for."""

    def __init__(
        self,
        rpc: Rpc,
        *,
        clock: Clock,
        margin_percent: int = DEFAULT_MARGIN_PERCENT,
        refresh_seconds: float = DEFAULT_REFRESH_SECONDS,
    ) -> None:
        """Prepare; nothing is simulated before the first question.

        Args:
            rpc: simulates.
            clock: measures the ages of what was measured.
            margin_percent: added to what a simulation took, 0 to 1,000.
            refresh_seconds: after which a shape is measured again in the background.
        """
        self._rpc = rpc
        self._margin_percent = margin_percent
        self._measured: Estimates[_Measured] = Estimates(
            "compute units", clock=clock, refresh_seconds=refresh_seconds
        )
        self._widening: dict[TransactionShape, int] = {}

    async def limit(
        self,
        built: Sequence[Instruction],
        payer: Pubkey,
        *,
        lookup_tables: Sequence[AddressLookupTableAccount] = (),
    ) -> int:
        """Return the limit for a transaction, simulating it when it is the first of its shape.

        Args:
            built: its instructions, without a compute budget.
            payer: who pays its fee.
            lookup_tables: those that it will be compiled with.

        Returns:
            Units, at most 1,400,000. Where nothing could be measured, what the runtime itself would
            grant.
        """
        parts, searching = _parts(built), searching_discriminators()
        if any(data[:_DISCRIMINATOR_BYTES] in searching for _, data in parts):
            # What one of them takes says little of the next: each searches for an address of its own.
            return default_limit(built)
        shape = _shape(parts, len(signers_of(built) | {payer}))
        measured = await self._measured.get(shape, lambda: self._simulate(built, payer, lookup_tables))
        granted = default_limit(built)
        if measured is None:
            return granted
        units = measured.units + max(_variable_units(built, parts) - measured.variable_units, 0)
        limit = (units * (100 + self._margin_percent) // 100 + SLACK_UNITS) * self._widening.get(shape, 1)
        return min(limit, max(granted, units))

    def exceeded(self, raw_bytes: bytes) -> None:
        """Take note that a transaction ran out of units: its shape is measured again, with twice the margin.

        Args:
            raw_bytes: the transaction that failed.
        """
        shape = shape_of_signed(raw_bytes)
        self._measured.forget(shape)
        if len(self._widening) >= _MAX_WIDENED:
            self._widening.clear()
        self._widening[shape] = min(self._widening.get(shape, 1) * 2, MAX_WIDENING)

    async def close(self) -> None:
        """Cancel the simulations under way."""
        await self._measured.close()

    async def _simulate(
        self,
        built: Sequence[Instruction],
        payer: Pubkey,
        lookup_tables: Sequence[AddressLookupTableAccount],
    ) -> _Measured | None:
        budget = (instructions.compute_unit_limit(MAX_COMPUTE_UNITS), instructions.compute_unit_price(0))
        raw_bytes = unsigned_transaction([*budget, *built], payer, lookup_tables=lookup_tables)
        simulation = await self._rpc.simulate_transaction(raw_bytes, replace_blockhash=True)
        if simulation.error is not None or simulation.compute_units <= 0:
            return None
        return _Measured(simulation.compute_units, _variable_units(built, _parts(built)))


@dataclass(frozen=True, slots=True)
class _Measured:
    units: int
    variable_units: int


def default_limit(built: Sequence[Instruction]) -> int:
    """Return what the runtime grants instructions that come without a limit."""
    return min(len(built) * DEFAULT_INSTRUCTION_UNITS, MAX_COMPUTE_UNITS)


def _shape(parts: Sequence[_Part], signatures: int) -> TransactionShape:
    counts = Counter(
        (program, _kind(program, data), -(-len(data) // SIZE_CLASS_BYTES))
        for program, data in parts
        if program != COMPUTE_BUDGET_PROGRAM
    )
    return TransactionShape(frozenset(counts.items()), signatures)


def _kind(program: Pubkey, data: bytes) -> bytes:
    if program == MEMO_PROGRAM:
        return b""
    if program in TOKEN_PROGRAMS or program == ASSOCIATED_TOKEN_PROGRAM:
        return data[:1]
    return data[:_DISCRIMINATOR_BYTES]


def _variable_units(built: Sequence[Instruction], parts: Sequence[_Part]) -> int:
    """Return what differs between transactions of one shape and can be computed."""
    units = 0
    for step, (program, data) in zip(built, parts, strict=True):
        if program == MEMO_PROGRAM:
            units += len(data) * MEMO_UNITS_PER_BYTE
        elif program == ASSOCIATED_TOKEN_PROGRAM:
            units += _failed_bumps(step) * BUMP_UNITS
    return units


def _failed_bumps(creation: Instruction) -> int:
    if len(creation.accounts) < _CREATION_ACCOUNTS:
        return 0
    _, _, owner, mint, _, program = (meta.pubkey for meta in creation.accounts[:_CREATION_ACCOUNTS])
    seeds = [bytes(owner), bytes(program), bytes(mint)]
    return _MAX_BUMP - Pubkey.find_program_address(seeds, ASSOCIATED_TOKEN_PROGRAM)[1]
