import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_localnet import (
    AccountFileError,
    Localnet,
    LocalnetConfig,
    ProgramFileError,
    read_account_directory,
    read_account_file,
    read_program,
)
from deal_localnet.account_files import account_of_json, read_address
from tests.unit.localnet.support import TOKEN, Driver

MINT = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
# As `solana account ADDRESS --output json` writes a mint of six decimals.
MINT_DATA = b64encode(bytes(36) + (10**15).to_bytes(8, "little") + bytes([6, 1]) + bytes(36)).decode()
DUMP: dict[str, Any] = {
    "pubkey": MINT,
    "account": {
        "lamports": 406_892_142_880,
        "data": [MINT_DATA, "base64"],
        "owner": str(TOKEN),
        "executable": False,
        "rentEpoch": 2**64 - 1,
        "space": 82,
    },
}


def written(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def dump(**changed: Any) -> dict[str, Any]:
    return {**DUMP, "account": {**DUMP["account"], **changed}}


async def test_a_chain_begins_with_accounts_of_a_cluster(tmp_path: Path) -> None:
    named = read_account_file(written(tmp_path / "mint.json", DUMP))
    async with Localnet(LocalnetConfig(auto_advance=False, accounts=(named,))) as localnet:
        driver = Driver(localnet)
        supply = await driver.value("getTokenSupply", MINT)
        assert supply == {
            "amount": str(10**15),
            "decimals": 6,
            "uiAmount": 1e9,
            "uiAmountString": "1000000000",
        }
        found = await driver.call("getProgramAccounts", str(TOKEN), {"filters": [{"dataSize": 82}]})
        assert MINT in [entry["pubkey"] for entry in found]


def test_the_address_may_be_another(tmp_path: Path) -> None:
    path = written(tmp_path / "mint.json", DUMP)
    other = str(Keypair().pubkey())
    assert str(read_account_file(path, other).address) == other
    assert str(read_account_file(path, "-").address) == MINT


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    keys = sorted(str(Keypair().pubkey()) for _ in range(3))
    for number, key in enumerate(keys):
        written(tmp_path / f"{number}.json", {**DUMP, "pubkey": key})
    written(tmp_path / "notes.txt", "not an account")
    assert [str(named.address) for named in read_account_directory(tmp_path)] == keys


def test_data_comes_in_base58_too() -> None:
    assert account_of_json({"data": ["2g", "base58"]}).data == b"a"
    assert account_of_json({"data": "2g"}).data == b"a"
    present = Account(5, b"data", TOKEN, False, 7)
    assert account_of_json({"lamports": 6}, present) == Account(6, b"data", TOKEN, False, 7)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "not an account"),
        ({"pubkey": MINT}, "not an account"),
        ({**DUMP, "pubkey": "here"}, "'here' is no address"),
        ({"account": DUMP["account"]}, "None is no address"),
        (dump(lamports=-1), "lamports must be"),
        (dump(lamports=2**64), "lamports must be"),
        (dump(lamports=True), "lamports must be"),
        (dump(lamports=1.5), "lamports must be"),
        (dump(rentEpoch="0"), "rentEpoch must be"),
        (dump(owner="me"), "'me' is no address"),
        (dump(executable=1), "executable must be"),
        (dump(data=["?", "base64"]), "base64"),
        (dump(data=["", "base64+zstd"]), "data must be base58"),
        (dump(data=["0", "base58"]), "data is no base58"),
        (dump(data={"parsed": {}}), "data must be"),
        (dump(space=81), "space is 81"),
        (dump(colour="red"), "has no colour"),
    ],
)
def test_what_is_no_account_is_refused_with_its_file(tmp_path: Path, document: Any, reason: str) -> None:
    path = written(tmp_path / "account.json", document)
    with pytest.raises(AccountFileError, match=reason) as refused:
        read_account_file(path)
    assert str(path) in str(refused.value)
    assert refused.value.code == "localnet_account_file"


def test_a_missing_file_or_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AccountFileError, match="No such file"):
        read_account_file(tmp_path / "none.json")
    with pytest.raises(AccountFileError, match="no such folder"):
        read_account_directory(tmp_path / "none")


def test_a_program_goes_to_an_address_or_to_a_keys_address(tmp_path: Path) -> None:
    program = tmp_path / "program.so"
    program.write_bytes(b"\x7fELF and more")
    key = Keypair()
    path = written(tmp_path / "key.json", list(bytes(key)))
    assert read_program(MINT, program) == (Pubkey.from_string(MINT), b"\x7fELF and more")
    assert read_program(str(path), program)[0] == key.pubkey()


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProgramFileError, match="not an ELF file"):
        read_program(MINT, written(tmp_path / "program.so", "text"))
    with pytest.raises(ProgramFileError, match="No such file"):
        read_program(MINT, tmp_path / "none.so")


@pytest.mark.parametrize(
    "document", ["{", "[1, 2, 3]", json.dumps(["a"] * 64), json.dumps([300] * 64), "[" + "0," * 63 + "0]"]
)
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, document: str) -> None:
    path = written(tmp_path / "key.json", document)
    with pytest.raises(ProgramFileError) as refused:
        read_address(str(path))
    assert document not in str(refused.value)
    with pytest.raises(ProgramFileError, match="neither an address nor"):
        read_address("nobody")
