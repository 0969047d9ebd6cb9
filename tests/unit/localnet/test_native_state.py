"""What native programs keep in accounts, shown with its fields named."""

from base64 import b64encode
from typing import Any

import pytest
from solders.account import Account
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import create_nonce_account

from tests.unit.localnet.support import PROCESSED, SOL, SYSTEM, Driver, writable

TABLE_PROGRAM = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
UPGRADEABLE_LOADER = Pubkey.from_string("BPFLoaderUpgradeab1e11111111111111111111111")
OTHERS = [Keypair().pubkey() for _ in range(3)]
AUTHORITY = Keypair().pubkey()
CODE = b"\x7fELF and so on, more than a program's account is long"


async def parsed(driver: Driver, key: Pubkey) -> Any:
    config = {**PROCESSED, "encoding": "jsonParsed"}
    return (await driver.value("getAccountInfo", str(key), config))["data"]


async def test_a_lookup_table_shows_its_addresses(driver: Driver) -> None:
    driver.advance()
    slot = await driver.call("getSlot")
    payer = driver.payer.pubkey()
    table, bump = Pubkey.find_program_address([bytes(payer), slot.to_bytes(8, "little")], TABLE_PROGRAM)
    accounts = [
        writable(table),
        driver.authority,
        AccountMeta(payer, True, True),
        AccountMeta(SYSTEM, False, False),
    ]
    create = bytes(4) + slot.to_bytes(8, "little") + bytes([bump])
    extend = bytes([2, 0, 0, 0]) + (3).to_bytes(8, "little") + b"".join(bytes(key) for key in OTHERS)
    await driver.run(*(Instruction(TABLE_PROGRAM, data, accounts) for data in (create, extend)))
    shown = await parsed(driver, table)
    assert (shown["program"], shown["parsed"]["type"]) == ("address-lookup-table", "lookupTable")
    assert shown["parsed"]["info"] == {
        "addresses": [str(key) for key in OTHERS],
        "authority": str(payer),
        "deactivationSlot": str(2**64 - 1),
        "lastExtendedSlot": str(await driver.call("getSlot", PROCESSED)),
        "lastExtendedSlotStartIndex": 0,
    }


async def test_a_nonce_shows_its_value(driver: Driver) -> None:
    nonce = Keypair()
    instructions = create_nonce_account(driver.payer.pubkey(), nonce.pubkey(), AUTHORITY, SOL)
    await driver.run(*instructions, signers=[nonce])
    shown = await parsed(driver, nonce.pubkey())
    assert (shown["program"], shown["parsed"]["type"], shown["space"]) == ("nonce", "initialized", 80)
    assert shown["parsed"]["info"]["authority"] == str(AUTHORITY)
    assert shown["parsed"]["info"]["feeCalculator"] == {"lamportsPerSignature": "5000"}


@pytest.mark.parametrize(
    ("data", "kind", "info"),
    [
        (
            bytes([1, 0, 0, 0, 1]) + bytes(AUTHORITY) + CODE,
            "buffer",
            {"authority": str(AUTHORITY), "data": [b64encode(CODE).decode(), "base64"]},
        ),
        (
            bytes([1, 0, 0, 0, 0]) + CODE,
            "buffer",
            {"authority": None, "data": [b64encode(CODE).decode(), "base64"]},
        ),
        (bytes([2, 0, 0, 0]) + bytes(OTHERS[0]), "program", {"programData": str(OTHERS[0])}),
        (
            bytes([3, 0, 0, 0]) + (7).to_bytes(8, "little") + b"\1" + bytes(AUTHORITY) + CODE,
            "programData",
            {"authority": str(AUTHORITY), "data": [b64encode(CODE).decode(), "base64"], "slot": 7},
        ),
    ],
    ids=["buffer", "buffer without authority", "program", "program data"],
)
async def test_a_deployed_program_shows_its_parts(
    driver: Driver, data: bytes, kind: str, info: dict[str, Any]
) -> None:
    key = Keypair().pubkey()
    driver.localnet.set_account(key, Account(SOL, data, UPGRADEABLE_LOADER))
    shown = await parsed(driver, key)
    assert (shown["program"], shown["parsed"]) == ("bpf-upgradeable-loader", {"info": info, "type": kind})


@pytest.mark.parametrize(
    ("data", "owner"),
    [
        (bytes(80), SYSTEM),
        (bytes([9, 0, 0, 0]) + bytes(76), SYSTEM),
        (bytes(55), TABLE_PROGRAM),
        (bytes(56), TABLE_PROGRAM),
        (bytes([9, 0, 0, 0]) + bytes(60), UPGRADEABLE_LOADER),
        (b"\2", UPGRADEABLE_LOADER),
    ],
    ids=["nonce of zeros", "nonce of no version", "short table", "table of zeros", "no program", "one byte"],
)
async def test_what_says_nothing_is_shown_as_it_is(driver: Driver, data: bytes, owner: Pubkey) -> None:
    key = Keypair().pubkey()
    driver.localnet.set_account(key, Account(SOL, data, owner))
    assert await parsed(driver, key) == [b64encode(data).decode(), "base64"]
