"""Instructions of the token programs, read as Agave's jsonParsed shows them."""

from __future__ import annotations

from typing import Any, Final

import pytest
from solders.pubkey import Pubkey

from deal_localnet.parse_token import parse_token

KEY: Final = Pubkey.new_unique()
OWNER: Final = str(KEY)
NOBODY: Final = bytes(32)
UI_FIFTY: Final = {"amount": "50", "decimals": 1, "uiAmount": 5.0, "uiAmountString": "5"}
UI_TWO: Final = {"amount": "2", "decimals": 1, "uiAmount": 0.2, "uiAmountString": "0.2"}


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def text(value: str) -> bytes:
    return len(value).to_bytes(4, "little") + value.encode()


CASES: Final[list[tuple[str, bytes, list[str], dict[str, Any]]]] = [
    (
        "initializeMultisig2",
        b"\x13\2",
        ["m", "a", "b"],
        {"m": 2, "multisig": "m", "signers": ["a", "b"]},
    ),
    (
        "initializeMultisig",
        b"\2\1",
        ["m", "rent", "a"],
        {"m": 1, "multisig": "m", "rentSysvar": "rent", "signers": ["a"]},
    ),
    (
        "initializeTransferFeeConfig",
        b"\x1a\0\0\1" + bytes(KEY) + b"\x64\0" + u64(9),
        ["mint"],
        {
            "maximumFee": 9,
            "mint": "mint",
            "transferFeeBasisPoints": 100,
            "withdrawWithheldAuthority": OWNER,
        },
    ),
    (
        "transferCheckedWithFee",
        b"\x1a\1" + u64(50) + b"\1" + u64(2),
        ["from", "mint", "to", "multi", "a", "b"],
        {
            "destination": "to",
            "feeAmount": UI_TWO,
            "mint": "mint",
            "multisigAuthority": "multi",
            "signers": ["a", "b"],
            "source": "from",
            "tokenAmount": UI_FIFTY,
        },
    ),
    (
        "withdrawWithheldTokensFromAccounts",
        b"\x1a\3\2",
        ["mint", "to", "owner", "a", "b"],
        {
            "feeRecipient": "to",
            "mint": "mint",
            "sourceAccounts": ["a", "b"],
            "withdrawWithheldAuthority": "owner",
        },
    ),
    ("harvestWithheldTokensToMint", b"\x1a\4", ["mint", "a"], {"mint": "mint", "sourceAccounts": ["a"]}),
    (
        "reallocate",
        b"\x1d\2\0\x08\0",
        ["account", "payer", "system", "owner"],
        {
            "account": "account",
            "extensionTypes": ["transferFeeAmount", "memoTransfer"],
            "owner": "owner",
            "payer": "payer",
            "systemProgram": "system",
        },
    ),
    (
        "initializeInterestBearingConfig",
        b"\x21\0" + NOBODY + b"\xff\xff",
        ["mint"],
        {"mint": "mint", "rate": -1, "rateAuthority": None},
    ),
    (
        "updateInterestBearingConfigRate",
        b"\x21\1\x05\0",
        ["mint", "owner"],
        {"mint": "mint", "newRate": 5, "rateAuthority": "owner"},
    ),
    (
        "initializeTransferHook",
        b"\x24\0" + NOBODY + bytes(KEY),
        ["mint"],
        {"mint": "mint", "programId": OWNER},
    ),
    (
        "initializePausableConfig",
        b"\x2c\0" + bytes(KEY),
        ["mint"],
        {"authority": OWNER, "mint": "mint"},
    ),
    (
        "updateTokenMetadataField",
        bytes.fromhex("dde9312db5cadcc8") + b"\3" + text("colour") + text("green"),
        ["mint", "owner"],
        {"field": "colour", "metadata": "mint", "updateAuthority": "owner", "value": "green"},
    ),
    (
        "updateTokenMetadataField",
        bytes.fromhex("dde9312db5cadcc8") + b"\1" + text("DEAL"),
        ["mint", "owner"],
        {"field": "symbol", "metadata": "mint", "updateAuthority": "owner", "value": "DEAL"},
    ),
    (
        "removeTokenMetadataKey",
        bytes.fromhex("ea122038598d25b5") + b"\1" + text("colour"),
        ["mint", "owner"],
        {"idempotent": True, "key": "colour", "metadata": "mint", "updateAuthority": "owner"},
    ),
    (
        "updateTokenMetadataAuthority",
        bytes.fromhex("d7e4a6e45464567b") + NOBODY,
        ["mint", "owner"],
        {"metadata": "mint", "newAuthority": None, "updateAuthority": "owner"},
    ),
]


@pytest.mark.parametrize(("kind", "data", "accounts", "info"), CASES)
def test_instructions_are_read(kind: str, data: bytes, accounts: list[str], info: dict[str, Any]) -> None:
    assert parse_token(accounts, data) == (kind, info)


@pytest.mark.parametrize(
    "data",
    [b"\x1a\x63", b"\x2b\0" + NOBODY + u64(1), b"\xc8"],
    ids=["unknown part", "no layout", "unknown number"],
)
def test_what_has_no_layout_is_left_to_its_raw_parts(data: bytes) -> None:
    assert parse_token(["mint", "owner"], data) is None


@pytest.mark.parametrize("data", [b"\x13\2", b"\x1a\3\3", b"\x1d\2\0"])
def test_too_few_accounts_are_left_to_their_raw_parts(data: bytes) -> None:
    assert parse_token(["only"], data) is None


@pytest.mark.parametrize("data", [b"\x1a\1\0", b"\x1c\0\x09", b"\x1d\xff\xff"])
def test_damaged_data_raises_for_the_caller_to_fall_back(data: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        parse_token(["a", "b", "c", "d"], data)
