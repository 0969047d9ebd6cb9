"""How many payments one transaction holds: by its size in bytes, and by what the runtime allows.

The size is counted, member by member, exactly as a v0 message is laid out; nothing is compiled until a
group is complete. https://solana.com/docs/core/transactions and agave's `MAX_TX_ACCOUNT_LOCKS`,
`max_instruction_trace_length` and `MAX_COMPUTE_UNIT_LIMIT` are where the bounds come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.pubkey import Pubkey

from deal_sdk.chain import MintFacts
from deal_sdk.chain.addresses import (
    ASSOCIATED_TOKEN_PROGRAM,
    COMPUTE_BUDGET_PROGRAM,
    MEMO_PROGRAM,
    SYSTEM_PROGRAM,
)
from deal_sdk.chain.transactions import MAX_TRANSACTION_BYTES
from deal_sdk.payments.batches.shares import Share
from deal_sdk.payments.fees import MAX_BUDGET_BYTES

MAX_ACCOUNT_LOCKS: Final = 64
"""What every cluster takes; 128 needs a feature that not all have."""
MAX_INSTRUCTIONS: Final = 64
"""Inner ones included."""
MAX_COMPUTE_UNITS: Final = 1_400_000
CREATION_INSTRUCTIONS: Final = 7
"""Itself and the inner ones, at the most: the program asks for the size, pays, allocates, assigns and
initializes; an address that somebody sent lamports to takes two more than an empty one."""
TRANSFER_COMPUTE_UNITS: Final = 15_000
CREATION_COMPUTE_UNITS: Final = 60_000
MEMO_COMPUTE_UNITS: Final = 25_000

_ADDRESS_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_MEMO_BYTES: Final = len("deal:") + 36
_GROUP_MEMO_BYTES: Final = len("deal:batch:") + 36
_BUDGET_BYTES: Final = MAX_BUDGET_BYTES - _ADDRESS_BYTES
"""Of the two instructions that set the compute budget; their program is an address like others."""
_TRANSFER_ACCOUNTS: Final = 4
_TRANSFER_DATA_BYTES: Final = 10
_CREATION_ACCOUNTS: Final = 6
_CREATION_DATA_BYTES: Final = 1


@dataclass(frozen=True, slots=True)
class Frame:
    """What every transaction of a batch has, whoever it pays.

    `tables` says which lookup table holds an address; addresses in none are written out. `held` is what
    those tables hold; where one address is in several, the first of them.
    """

    fee_payer: Pubkey
    authority: Pubkey
    source: Pubkey
    mint: MintFacts
    tables: Mapping[Pubkey, Pubkey] = field(default_factory=dict)
    held: tuple[AddressLookupTableAccount, ...] = ()


class _Load:
    """A transaction being filled, and what it weighs so far."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._signers = {frame.fee_payer, frame.authority}
        self._written = self._signers | {frame.mint.program_id, MEMO_PROGRAM, COMPUTE_BUDGET_PROGRAM}
        self._looked_up: dict[Pubkey, Pubkey] = {}
        self._tables: set[Pubkey] = set()
        self._instruction_bytes = _instruction_bytes(0, _GROUP_MEMO_BYTES) + _BUDGET_BYTES
        self._instructions = self._trace = 3
        self._compute_units = MEMO_COMPUTE_UNITS
        self.shares: list[Share] = []
        self._use((frame.source, frame.mint.address))

    def add(self, share: Share) -> None:
        self.shares.append(share)
        self._add_instruction(_TRANSFER_ACCOUNTS, _TRANSFER_DATA_BYTES, 1, TRANSFER_COMPUTE_UNITS)
        self._use((share.account,))
        if share.wants_memo:
            self._add_instruction(0, _MEMO_BYTES, 1, MEMO_COMPUTE_UNITS)
        if share.creates_account:
            self._invoke(ASSOCIATED_TOKEN_PROGRAM)
            self._use((SYSTEM_PROGRAM, share.owner))
            self._add_instruction(
                _CREATION_ACCOUNTS, _CREATION_DATA_BYTES, CREATION_INSTRUCTIONS, CREATION_COMPUTE_UNITS
            )

    def size_bytes(self) -> int:
        lookups = len(self._tables) * (_ADDRESS_BYTES + 2) + len(self._looked_up)
        return (
            1
            + _SIGNATURE_BYTES * len(self._signers)
            + 4
            + _length_bytes(len(self._written))
            + _ADDRESS_BYTES * len(self._written)
            + _ADDRESS_BYTES
            + _length_bytes(self._instructions)
            + self._instruction_bytes
            + _length_bytes(len(self._tables))
            + lookups
        )

    def is_within_bounds(self) -> bool:
        return (
            self.size_bytes() <= MAX_TRANSACTION_BYTES
            and len(self._written) + len(self._looked_up) <= MAX_ACCOUNT_LOCKS
            and self._trace <= MAX_INSTRUCTIONS
            and self._compute_units <= MAX_COMPUTE_UNITS
        )

    def _use(self, addresses: Iterable[Pubkey]) -> None:
        for address in addresses:
            if address in self._written:
                continue
            table = self._frame.tables.get(address)
            if table is None:
                self._written.add(address)
            else:
                self._looked_up[address] = table
                self._tables.add(table)

    def _invoke(self, program: Pubkey) -> None:
        # A program that a transaction invokes itself must be written out, whatever the tables hold.
        self._written.add(program)

    def _add_instruction(self, accounts: int, data_bytes: int, trace: int, compute_units: int) -> None:
        self._instructions += 1
        self._instruction_bytes += _instruction_bytes(accounts, data_bytes)
        self._trace += trace
        self._compute_units += compute_units


def pack(frame: Frame, shares: Sequence[Share]) -> list[list[Share]]:
    """Cut shares into groups that fit a transaction each, in their order, everybody exactly once.

    Args:
        frame: what the transactions have in common.
        shares: whom they pay.
    """
    groups: list[list[Share]] = []
    position = 0
    while position < len(shares):
        count = _fitting(frame, shares, position)
        groups.append(list(shares[position : position + count]))
        position += count
    return groups


def size_bytes(frame: Frame, shares: Sequence[Share]) -> int:
    """Return how many bytes the signed transaction of a group has at most, with a price for its compute."""
    return _loaded(frame, shares).size_bytes()


def used_tables(frame: Frame, shares: Sequence[Share]) -> list[AddressLookupTableAccount]:
    """Return the tables that a group's transaction is compiled with, in the frame's order."""
    addresses = {frame.source, frame.mint.address}
    for share in shares:
        addresses |= {share.account, share.owner}
    used = {frame.tables.get(address) for address in addresses}
    return [table for table in frame.held if table.key in used]


def _fitting(frame: Frame, shares: Sequence[Share], start: int) -> int:
    load = _Load(frame)
    for position in range(start, len(shares)):
        load.add(shares[position])
        if not load.is_within_bounds():
            assert position > start, "a single payment always fits"
            return position - start
    return len(shares) - start


def _loaded(frame: Frame, shares: Sequence[Share]) -> _Load:
    load = _Load(frame)
    for share in shares:
        load.add(share)
    return load


def _instruction_bytes(accounts: int, data_bytes: int) -> int:
    return 1 + _length_bytes(accounts) + accounts + _length_bytes(data_bytes) + data_bytes


def _length_bytes(count: int) -> int:
    """Return the size of a compact length; nothing in a transaction reaches three bytes."""
    return 1 if count < 128 else 2
