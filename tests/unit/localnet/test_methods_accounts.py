from base64 import b64decode

import pytest
from solders.account import Account
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.unit.localnet.support import (
    CONFIRMED,
    PROCESSED,
    SOL,
    SYSTEM,
    TOKEN,
    TOKEN_2022,
    Driver,
    Refused,
    writable,
)

DATA = bytes(range(200))
PROGRAM = Keypair().pubkey()


@pytest.fixture
async def stored(driver: Driver) -> Pubkey:
    key = Keypair().pubkey()
    driver.localnet.set_account(key, Account(SOL, DATA, PROGRAM))
    return key


async def test_data_comes_in_each_encoding(driver: Driver, stored: Pubkey) -> None:
    async def data(**config: object) -> object:
        return (await driver.value("getAccountInfo", str(stored), {**PROCESSED, **config}))["data"]

    base64 = await data(encoding="base64")
    assert isinstance(base64, list)
    assert b64decode(base64[0]) == DATA
    assert await data(encoding="jsonParsed") == base64
    assert await data(encoding="base58", dataSlice={"offset": 1, "length": 3}) == ["Ldp", "base58"]
    assert await data(dataSlice={"offset": 1, "length": 3}) == "Ldp"
    assert await data(encoding="base64", dataSlice={"offset": 500, "length": 3}) == ["", "base64"]
    with pytest.raises(Refused, match="should be less than 128 bytes") as refused:
        await data(encoding="base58")
    assert refused.value.code == -32600


async def test_zstd_data_is_a_frame_of_raw_blocks(driver: Driver) -> None:
    shown = await driver.value("getAccountInfo", str(SYSTEM), {"encoding": "base64+zstd"})
    assert shown["data"] == ["KLUv/QBYcQAAc3lzdGVtX3Byb2dyYW0=", "base64+zstd"]


async def test_accounts_are_shown_as_agave_shows_them(driver: Driver, stored: Pubkey) -> None:
    shown = await driver.value("getAccountInfo", str(stored), {**PROCESSED, "encoding": "base64"})
    assert {name: value for name, value in shown.items() if name != "data"} == {
        "executable": False,
        "lamports": SOL,
        "owner": str(PROGRAM),
        "rentEpoch": 2**64 - 1,
        "space": 200,
    }


async def test_many_accounts_come_from_one_slot(driver: Driver, stored: Pubkey) -> None:
    absent = Keypair().pubkey()
    found = await driver.value("getMultipleAccounts", [str(stored), str(absent)], PROCESSED)
    assert found[0]["lamports"] == SOL
    assert found[1] is None


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([{"dataSize": 200}], True),
        ([{"dataSize": 201}], False),
        ([{"memcmp": {"offset": 1, "bytes": "Ldp"}}], True),
        ([{"memcmp": {"offset": 2, "bytes": "Ldp"}}], False),
        ([{"memcmp": {"offset": 1, "bytes": "AQID", "encoding": "base64"}}], True),
        ([{"memcmp": {"offset": 1, "bytes": [1, 2, 3]}}], True),
        ([{"dataSize": 200}, {"memcmp": {"offset": 500, "bytes": "Ldp"}}], False),
        (["tokenAccountState"], False),
    ],
)
async def test_filters_pick_accounts(
    driver: Driver, stored: Pubkey, filters: list[object], found: bool
) -> None:
    config = {**PROCESSED, "encoding": "base64", "filters": filters}
    listed = await driver.call("getProgramAccounts", str(PROGRAM), config)
    assert [entry["pubkey"] for entry in listed] == ([str(stored)] if found else [])


async def test_program_accounts_follow_the_commitment(driver: Driver, stored: Pubkey) -> None:
    config = {"encoding": "base64", "withContext": True}
    assert (await driver.value("getProgramAccounts", str(PROGRAM), {**config, **CONFIRMED})) == []
    driver.advance()
    assert len(await driver.value("getProgramAccounts", str(PROGRAM), {**config, **CONFIRMED})) == 1
    driver.localnet.set_account(stored, None)
    assert (await driver.value("getProgramAccounts", str(PROGRAM), {**config, **PROCESSED})) == []
    assert len(await driver.value("getProgramAccounts", str(PROGRAM), {**config, **CONFIRMED})) == 1


@pytest.mark.parametrize("program", [TOKEN, TOKEN_2022])
async def test_token_methods_agree(driver: Driver, program: Pubkey) -> None:
    owner, friend = driver.payer.pubkey(), Keypair().pubkey()
    mint = await driver.create_mint(program)
    account = await driver.open_account(mint, owner, program)
    other = await driver.open_account(mint, friend, program)
    await driver.mint_to(mint, account, 150_000_000, program)
    amount = {"amount": "150000000", "decimals": 8, "uiAmount": 1.5, "uiAmountString": "1.5"}

    assert await driver.value("getTokenAccountBalance", str(account), PROCESSED) == amount
    assert await driver.value("getTokenSupply", str(mint), PROCESSED) == amount
    largest = await driver.value("getTokenLargestAccounts", str(mint), PROCESSED)
    assert [entry["address"] for entry in largest] == [str(account), str(other)]
    assert largest[0] == {"address": str(account), **amount}
    config = {**PROCESSED, "encoding": "jsonParsed"}
    for wanted in ({"mint": str(mint)}, {"programId": str(program)}):
        (found,) = await driver.value("getTokenAccountsByOwner", str(owner), wanted, config)
        assert found["pubkey"] == str(account)
        assert found["account"]["data"]["parsed"]["info"]["tokenAmount"] == amount
    elsewhere = TOKEN if program == TOKEN_2022 else TOKEN_2022
    assert (
        await driver.value("getTokenAccountsByOwner", str(owner), {"programId": str(elsewhere)}, config) == []
    )


async def test_delegates_are_found_until_revoked(driver: Driver) -> None:
    owner, delegate = driver.payer.pubkey(), Keypair().pubkey()
    mint = await driver.create_mint()
    account = await driver.open_account(mint, owner)
    await driver.mint_to(mint, account, 1_000)
    approve = bytes([4]) + (77).to_bytes(8, "little")

    async def found(level: dict[str, str]) -> list[dict[str, object]]:
        config = {"encoding": "jsonParsed", **level}
        return await driver.value("getTokenAccountsByDelegate", str(delegate), {"mint": str(mint)}, config)

    driver.advance()
    await driver.run(Instruction(TOKEN, approve, [writable(account), writable(delegate), driver.authority]))
    info = (await found(PROCESSED))[0]["account"]["data"]["parsed"]["info"]  # type: ignore[index]
    assert info["delegate"] == str(delegate)
    assert info["delegatedAmount"]["amount"] == "77"
    assert await found(CONFIRMED) == []
    driver.advance()
    await driver.run(Instruction(TOKEN, bytes([5]), [writable(account), driver.authority]))
    assert await found(PROCESSED) == []
    assert len(await found(CONFIRMED)) == 1


async def test_token_2022_metadata_is_stored_and_shown(driver: Driver) -> None:
    from solders.system_program import CreateAccountParams, create_account

    payer, mint = driver.payer.pubkey(), Keypair()
    key = mint.pubkey()
    texts = b"".join(len(text).to_bytes(4, "little") + text for text in (b"Deals Token", b"DEAL", b""))
    create = create_account(
        CreateAccountParams(
            from_pubkey=payer, to_pubkey=key, lamports=SOL // 100, space=234, owner=TOKEN_2022
        )
    )
    await driver.run(
        create,
        Instruction(TOKEN_2022, bytes([39, 0]) + bytes(payer) + bytes(key), [writable(key)]),
        Instruction(TOKEN_2022, bytes([20, 8]) + bytes(payer) + b"\0", [writable(key)]),
        Instruction(
            TOKEN_2022,
            bytes.fromhex("d2e11ea258b84d8d") + texts,
            [writable(key), writable(payer), writable(key), driver.authority],
        ),
        signers=[mint],
    )
    shown = await driver.value("getAccountInfo", str(key), {**PROCESSED, "encoding": "jsonParsed"})
    assert shown["data"]["program"] == "spl-token-2022"
    pointer, metadata = shown["data"]["parsed"]["info"]["extensions"]
    assert pointer["state"] == {"authority": str(payer), "metadataAddress": str(key)}
    assert metadata["state"] == {
        "additionalMetadata": [],
        "mint": str(key),
        "name": "Deals Token",
        "symbol": "DEAL",
        "updateAuthority": str(payer),
        "uri": "",
    }
