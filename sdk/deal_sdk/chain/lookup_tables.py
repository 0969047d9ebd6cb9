"""Address lookup tables: accounts that hold addresses, so that a transaction names each in one byte.

Owns the program's instructions and what its accounts mean; never decides whether a table pays off. The
layouts are those of `ProgramInstruction` and `LookupTableMeta`:
https://docs.rs/solana-address-lookup-table-interface
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from solders.address_lookup_table_account import (
    AddressLookupTable,
    AddressLookupTableAccount,
    derive_lookup_table_address,
)
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from deal_sdk.amounts import MAX_U64
from deal_sdk.chain.addresses import SYSTEM_PROGRAM
from deal_sdk.chain.replies import AccountSnapshot
from deal_sdk.chain.rpc import Rpc
from deal_sdk.errors import RpcMalformedReplyError

LOOKUP_TABLE_PROGRAM: Final = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
MAX_TABLE_ADDRESSES: Final = 256
MAX_EXTENSION_ADDRESSES: Final = 28
"""What fits into a transaction that also creates the table and sets its compute budget."""
COOLDOWN_SLOTS: Final = 513
"""The shortest that a table cools down: until the slot in which it was deactivated is none of the 512 in
`SlotHashes`. Slots without a block are not among those, so it may last longer."""

_SLOT_HASHES: Final = Pubkey.from_string("SysvarS1otHashes111111111111111111111111111")
_SLOT_HASH_BYTES: Final = 8 + 32
_META_BYTES: Final = 56
_ADDRESS_BYTES: Final = 32
_CREATE: Final = 0
_EXTEND: Final = 2
_DEACTIVATE: Final = 3
_CLOSE: Final = 4


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A table as it was at a slot."""

    address: Pubkey
    authority: Pubkey | None
    addresses: tuple[Pubkey, ...]
    last_extended_slot: int
    deactivation_slot: int | None
    lamports: int
    slot: int

    @property
    def is_usable(self) -> bool:
        """Return whether transactions from now on may look all its addresses up."""
        return self.deactivation_slot is None and self.slot > self.last_extended_slot

    @property
    def account(self) -> AddressLookupTableAccount:
        """Return it as messages are compiled with it."""
        return AddressLookupTableAccount(self.address, list(self.addresses))


def table_size_bytes(addresses: int) -> int:
    """Return how large a table's account is, for its rent."""
    return _META_BYTES + _ADDRESS_BYTES * addresses


def table_address(authority: Pubkey, recent_slot: int) -> Pubkey:
    """Return where a table is that an authority creates with a slot, which must be recent then."""
    return derive_lookup_table_address(authority, recent_slot)[0]


def create_table(*, authority: Pubkey, payer: Pubkey, recent_slot: int) -> Instruction:
    """Create an empty table; it exists once for each authority and slot."""
    address, bump = derive_lookup_table_address(authority, recent_slot)
    data = _CREATE.to_bytes(4, "little") + recent_slot.to_bytes(8, "little") + bytes([bump])
    return Instruction(LOOKUP_TABLE_PROGRAM, data, _funded(address, authority, payer))


def extend_table(
    *, table: Pubkey, authority: Pubkey, payer: Pubkey, addresses: tuple[Pubkey, ...]
) -> Instruction:
    """Append addresses; they can be looked up from the slot after this one on."""
    count = len(addresses).to_bytes(8, "little")
    data = _EXTEND.to_bytes(4, "little") + count + b"".join(map(bytes, addresses))
    return Instruction(LOOKUP_TABLE_PROGRAM, data, _funded(table, authority, payer))


def deactivate_table(*, table: Pubkey, authority: Pubkey) -> Instruction:
    """Begin to end a table; it can still be looked up in until its cooldown is over."""
    accounts = [AccountMeta(table, False, True), AccountMeta(authority, True, False)]
    return Instruction(LOOKUP_TABLE_PROGRAM, _DEACTIVATE.to_bytes(4, "little"), accounts)


def close_table(*, table: Pubkey, authority: Pubkey, recipient: Pubkey) -> Instruction:
    """End a deactivated table and give its rent back."""
    accounts = [
        AccountMeta(table, False, True),
        AccountMeta(authority, True, False),
        AccountMeta(recipient, False, True),
    ]
    return Instruction(LOOKUP_TABLE_PROGRAM, _CLOSE.to_bytes(4, "little"), accounts)


def decode_table(found: AccountSnapshot | None) -> LookupTable | None:
    """Read a table's account, or return None where it is none."""
    if found is None or found.owner != LOOKUP_TABLE_PROGRAM:
        return None
    try:
        table = AddressLookupTable.deserialize(found.data)
    except ValueError:
        return None
    ended = table.meta.deactivation_slot
    return LookupTable(
        address=found.address,
        authority=table.meta.authority,
        addresses=tuple(table.addresses),
        last_extended_slot=table.meta.last_extended_slot,
        deactivation_slot=None if ended == MAX_U64 else ended,
        lamports=found.lamports,
        slot=found.slot,
    )


async def recent_slots(rpc: Rpc) -> list[int]:
    """Return the slots that the table program takes for recent, the newest first.

    A table can be created with one of them, and closed once none is the slot of its deactivation.

    Raises:
        ChainError: when they could not be read.
        RpcMalformedReplyError: when a node has none.
    """
    found = await rpc.get_account(_SLOT_HASHES)
    data = b"" if found is None else found.data
    count = int.from_bytes(data[:8], "little")
    if not 0 < count <= (len(data) - 8) // _SLOT_HASH_BYTES:
        raise RpcMalformedReplyError("the node shows no recent slots")
    starts = range(8, 8 + count * _SLOT_HASH_BYTES, _SLOT_HASH_BYTES)
    return [int.from_bytes(data[start : start + 8], "little") for start in starts]


def _funded(table: Pubkey, authority: Pubkey, payer: Pubkey) -> list[AccountMeta]:
    return [
        AccountMeta(table, False, True),
        AccountMeta(authority, True, False),
        AccountMeta(payer, True, True),
        AccountMeta(SYSTEM_PROGRAM, False, False),
    ]
