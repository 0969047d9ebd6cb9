"""Lookup tables: the program's instructions byte by byte, and its accounts."""

from __future__ import annotations

import struct

import pytest
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey

from deal_sdk.chain import AccountSnapshot, instructions
from deal_sdk.chain.addresses import SYSTEM_PROGRAM
from deal_sdk.chain.lookup_tables import (
    LOOKUP_TABLE_PROGRAM,
    MAX_EXTENSION_ADDRESSES,
    close_table,
    create_table,
    deactivate_table,
    decode_table,
    extend_table,
    table_address,
    table_size_bytes,
)
from deal_sdk.chain.transactions import MAX_TRANSACTION_BYTES

PAYER = Keypair().pubkey()
TABLE = table_address(PAYER, 77)
FRIENDS = tuple(Keypair().pubkey() for _ in range(29))
NEVER = 2**64 - 1


def account(data: bytes, owner: Pubkey = LOOKUP_TABLE_PROGRAM) -> AccountSnapshot:
    return AccountSnapshot(TABLE, owner, 5, data, False, 100)


def table_data(deactivated: int, extended: int, *addresses: Pubkey) -> bytes:
    meta = struct.pack("<IQQBB", 1, deactivated, extended, 0, 1) + bytes(PAYER) + bytes(2)
    return meta + b"".join(map(bytes, addresses))


def test_instructions_are_laid_out_as_documented() -> None:
    create = create_table(authority=PAYER, payer=PAYER, recent_slot=77)
    address, bump = Pubkey.find_program_address([bytes(PAYER), struct.pack("<Q", 77)], LOOKUP_TABLE_PROGRAM)
    assert address == TABLE
    assert bytes(create.data) == struct.pack("<IQB", 0, 77, bump)
    extend = extend_table(table=TABLE, authority=PAYER, payer=PAYER, addresses=FRIENDS[:2])
    assert bytes(extend.data) == struct.pack("<IQ", 2, 2) + bytes(FRIENDS[0]) + bytes(FRIENDS[1])
    deactivate = deactivate_table(table=TABLE, authority=PAYER)
    assert bytes(deactivate.data) == struct.pack("<I", 3)
    close = close_table(table=TABLE, authority=PAYER, recipient=FRIENDS[0])
    assert bytes(close.data) == struct.pack("<I", 4)
    flags = {
        step.data[0]: [(meta.pubkey, meta.is_signer, meta.is_writable) for meta in step.accounts]
        for step in (create, extend, deactivate, close)
    }
    table, authority = (TABLE, False, True), (PAYER, True, False)
    funded = [table, authority, (PAYER, True, True), (SYSTEM_PROGRAM, False, False)]
    assert flags == {
        0: funded,
        2: funded,
        3: [table, authority],
        4: [table, authority, (FRIENDS[0], False, True)],
    }


@pytest.mark.parametrize(("count", "fits"), [(MAX_EXTENSION_ADDRESSES, True), (29, False)])
def test_the_first_extension_is_as_large_as_a_transaction_allows(count: int, fits: bool) -> None:
    steps = [
        instructions.compute_unit_limit(100_000),
        instructions.compute_unit_price(1),
        create_table(authority=PAYER, payer=PAYER, recent_slot=77),
        extend_table(table=TABLE, authority=PAYER, payer=PAYER, addresses=FRIENDS[:count]),
    ]
    message = MessageV0.try_compile(PAYER, steps, [], Hash.default())
    size_bytes = 1 + 64 + 1 + len(bytes(message))
    assert (size_bytes <= MAX_TRANSACTION_BYTES) == fits


def test_accounts_are_read_and_other_accounts_are_none() -> None:
    data = table_data(NEVER, 99, *FRIENDS[:3])
    assert len(data) == table_size_bytes(3)
    table = decode_table(account(data))
    assert table is not None
    assert (table.authority, table.addresses, table.deactivation_slot) == (PAYER, FRIENDS[:3], None)
    assert table.is_usable
    just_extended = decode_table(account(table_data(NEVER, 100, *FRIENDS[:3])))
    ended = decode_table(account(table_data(98, 50, *FRIENDS[:3])))
    assert just_extended is not None
    assert not just_extended.is_usable
    assert ended is not None
    assert (ended.deactivation_slot, ended.is_usable) == (98, False)
    assert decode_table(None) is None
    assert decode_table(account(data, SYSTEM_PROGRAM)) is None
    assert decode_table(account(data[:20])) is None
