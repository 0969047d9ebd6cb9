"""What the comparison with Agave's validator taught: each found there first, and kept here without one."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from solders.account import Account
from solders.compute_budget import set_compute_unit_price
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_localnet.addresses import (
    BPF_LOADER_UPGRADEABLE,
    COMPUTE_BUDGET_PROGRAM,
    SYSVAR_FEES,
    SYSVAR_RECENT_BLOCKHASHES,
    SYSVAR_SLOT_HASHES,
)
from tests.unit.localnet.support import CONFIRMED, MEMO, PROCESSED, SOL, TOKEN, Driver, Refused, encoded

FRIEND = Pubkey.new_unique()
PARSED = {"encoding": "jsonParsed", **PROCESSED}
WRAPPER = "Invalid params: data did not match any variant of untagged enum {}."


def budget(number: int, amount: int) -> Instruction:
    return Instruction(COMPUTE_BUDGET_PROGRAM, bytes([number]) + struct.pack("<I", amount), [])


async def test_a_transaction_that_loads_more_than_it_allows_pays_and_does_nothing(driver: Driver) -> None:
    before = await driver.value("getBalance", str(driver.payer.pubkey()), PROCESSED)
    limited = [budget(4, 1_000), Instruction(MEMO, b"much code", [])]
    signature = await driver.run(*limited, driver.pay(FRIEND, SOL), skipPreflight=True)
    driver.advance()
    found = await driver.transaction(signature)
    assert found["meta"]["err"] == "MaxLoadedAccountsDataSizeExceeded"
    assert found["meta"]["computeUnitsConsumed"] == 0
    assert await driver.value("getBalance", str(driver.payer.pubkey()), PROCESSED) == before - 5_000
    assert await driver.value("getBalance", str(FRIEND), PROCESSED) == 0
    with pytest.raises(Refused, match="exceeded max loaded accounts data size"):
        await driver.run(*limited)


@pytest.mark.parametrize(("number", "amount"), [(1, 1_000), (1, 33 * 1024 + 1), (1, 300 * 1024), (4, 0)])
async def test_a_budget_that_nobody_gets_is_refused_before_any_fee(
    driver: Driver, number: int, amount: int
) -> None:
    before = await driver.value("getBalance", str(driver.payer.pubkey()), PROCESSED)
    transaction = await driver.signed([driver.pay(FRIEND, SOL), budget(number, amount)])
    result = await driver.value(
        "simulateTransaction", encoded(transaction), {"encoding": "base64", **PROCESSED}
    )
    assert result["err"] == {"InstructionError": [1, "InvalidInstructionData"]}
    assert result["fee"] is None
    await driver.send(transaction, skipPreflight=True)
    assert await driver.value("getBalance", str(driver.payer.pubkey()), PROCESSED) == before


async def test_the_code_of_an_upgradeable_program_counts_as_loaded(driver: Driver) -> None:
    program, code = Pubkey.new_unique(), Pubkey.new_unique()
    shell = Account(SOL, (2).to_bytes(4, "little") + bytes(code), BPF_LOADER_UPGRADEABLE, False, 0)
    reading = Instruction(MEMO, b"x", [])
    plain = await driver.signed([reading])
    config = {"encoding": "base64", "sigVerify": False, "replaceRecentBlockhash": True, **PROCESSED}
    base = (await driver.value("simulateTransaction", encoded(plain), config))["loadedAccountsDataSize"]
    driver.localnet.set_account(code, Account(SOL, bytes(5_000), BPF_LOADER_UPGRADEABLE, False, 0))
    driver.localnet.set_account(program, shell)
    naming = await driver.signed([driver.pay(program, 1), reading])
    size = (await driver.value("simulateTransaction", encoded(naming), config))["loadedAccountsDataSize"]
    system_program_bytes = len("system_program") + 64
    assert size == base + (36 + 64) + (5_000 + 64) + system_program_bytes


async def test_signatures_end_at_one_even_when_the_listing_begins_below_it(driver: Driver) -> None:
    first = await driver.run(driver.pay(FRIEND, SOL))
    driver.advance()
    second = await driver.run(driver.pay(FRIEND, 2 * SOL))
    driver.advance()

    async def listed(**config: str) -> list[str]:
        found = await driver.call("getSignaturesForAddress", str(FRIEND), {**config, **CONFIRMED})
        return [entry["signature"] for entry in found]

    assert await listed(until=first) == [second]
    assert await listed(before=second, until=second) == []
    assert await listed(before=second) == [first]


async def test_sysvars_are_as_large_and_rich_as_a_validators(driver: Driver) -> None:
    hashes = await driver.value("getAccountInfo", str(SYSVAR_SLOT_HASHES), PARSED)
    assert (hashes["space"], hashes["lamports"]) == (20_488, 143_487_360)
    recent = await driver.value("getAccountInfo", str(SYSVAR_RECENT_BLOCKHASHES), PARSED)
    entries = recent["data"]["parsed"]["info"]
    assert entries[0]["feeCalculator"] == {"lamportsPerSignature": "5000"}
    assert recent["space"] == 6_008
    assert await driver.value("getAccountInfo", str(SYSVAR_FEES), PARSED) is None


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("getBlockTime", [], "Invalid params: invalid length 0, expected a tuple of size 1."),
        ("getBlockTime", [1, 2], "Invalid params: invalid length 2, expected fewer elements in array."),
        ("getBlock", [0, {"rewards": "yes"}], WRAPPER.format("RpcEncodingConfigWrapper")),
        ("getBlocks", [0, "1"], WRAPPER.format("RpcBlocksConfigWrapper")),
        ("getTokenSupply", [str(TOKEN), {}], "Invalid params: missing field `commitment`."),
        (
            "getTokenSupply",
            [str(TOKEN), {"commitment": "sure"}],
            "Invalid params: unknown variant `sure`, expected one of `processed`, `confirmed`, `finalized`.",
        ),
        ("getSignatureStatuses", [[], {}], "Invalid params: missing field `searchTransactionHistory`."),
        (
            "getAccountInfo",
            [str(TOKEN), {"encoding": "base64", "dataSlice": [1]}],
            "Invalid params: invalid length 1, expected struct UiDataSliceConfig with 2 elements.",
        ),
        (
            "getProgramAccounts",
            [str(TOKEN), {"filters": [{"dataSize": 165}, {"memcmp": {"offset": 32, "bytes": "2"}}]}],
            "Incorrect byte length 1 for SPL token owner filter, expected 32",
        ),
        (
            "getProgramAccounts",
            [str(TOKEN), {"filters": [{"memcmp": {"offset": 0, "bytes": [256]}}]}],
            WRAPPER.format("DataType"),
        ),
        (
            "getTokenAccountsByOwner",
            [str(FRIEND), "mint"],
            "Invalid params: invalid type: unit variant, expected newtype variant.",
        ),
    ],
)
async def test_bad_parameters_are_refused_in_agaves_words(
    driver: Driver, method: str, params: list[Any], message: str
) -> None:
    with pytest.raises(Refused) as refused:
        await driver.call(method, *params)
    assert (refused.value.code, refused.value.message) == (-32602, message)


async def test_a_body_that_is_no_text_is_a_bad_request(driver: Driver) -> None:
    status, headers, body = await driver.localnet.handle_http(b'{"jsonrpc":"\xff"}')
    assert (status, body) == (400, b"utf-8 encoding error at byte 12 in request body")
    assert headers["content-type"] == "text/plain; charset=utf-8"


async def test_a_priced_block_shows_rewards_only_to_who_wants_them(driver: Driver) -> None:
    await driver.run(set_compute_unit_price(5), driver.pay(FRIEND, SOL))
    slot = driver.localnet.bank.chain.open.slot
    driver.advance()
    for wanted, shown in ((True, []), (False, None)):
        config = {"maxSupportedTransactionVersion": 0, "rewards": wanted, **CONFIRMED}
        block = await driver.call("getBlock", slot, config)
        assert [entry["meta"]["rewards"] for entry in block["transactions"]] == [shown]
