"""Instructions of Token-2022's extensions, and those of the metadata that a mint carries."""

from collections.abc import Callable
from typing import Any, Final

from solders.pubkey import Pubkey

from .instruction_data import Fields, Parsed
from .token_layouts import TokenLayout, extension_types, signers
from .token_state import ui_amount

ACCOUNT_STATES: Final = ("uninitialized", "initialized", "frozen")
NO_ADDRESS: Final = str(Pubkey.default())

# The metadata interface tells its instructions apart by the first 8 bytes of a hash.
INITIALIZE_METADATA: Final = bytes.fromhex("d2e11ea258b84d8d")
UPDATE_FIELD: Final = bytes.fromhex("dde9312db5cadcc8")
REMOVE_KEY: Final = bytes.fromhex("ea122038598d25b5")
UPDATE_METADATA_AUTHORITY: Final = bytes.fromhex("d7e4a6e45464567b")
FIELD_NAMES: Final = ("name", "symbol", "uri")
FIELD_KEY: Final = 3

Read = Callable[[Fields], dict[str, Any]]


def _nonzero(fields: Fields) -> str | None:
    address = fields.address()
    return None if address == NO_ADDRESS else address


def _known(*names: str) -> Read:
    """Return a reader of addresses of which those that are all zeros are left out."""

    def read(fields: Fields) -> dict[str, Any]:
        found = {name: _nonzero(fields) for name in names}
        return {name: address for name, address in found.items() if address is not None}

    return read


def _nullable(name: str) -> Read:
    return lambda fields: {name: _nonzero(fields)}


def _fee_config(fields: Fields) -> dict[str, Any]:
    authorities = {
        "transferFeeConfigAuthority": fields.optional_address(),
        "withdrawWithheldAuthority": fields.optional_address(),
    }
    named = {name: address for name, address in authorities.items() if address is not None}
    return {**named, **_fee(fields)}


def _fee(fields: Fields) -> dict[str, Any]:
    return {"transferFeeBasisPoints": fields.unsigned(2), "maximumFee": fields.unsigned(8)}


def _amount_and_fee(fields: Fields) -> dict[str, Any]:
    amount, decimals, fee = fields.unsigned(8), fields.unsigned(1), fields.unsigned(8)
    return {"tokenAmount": ui_amount(amount, decimals), "feeAmount": ui_amount(fee, decimals)}


def _account_state(fields: Fields) -> dict[str, Any]:
    return {"accountState": ACCOUNT_STATES[fields.unsigned(1)]}


def _extension_types(fields: Fields) -> dict[str, Any]:
    return {"extensionTypes": extension_types(fields)}


def _rate(fields: Fields) -> dict[str, Any]:
    return {"rateAuthority": _nonzero(fields), "rate": fields.signed(2)}


def _new_rate(fields: Fields) -> dict[str, Any]:
    return {"newRate": fields.signed(2)}


PLAIN: Final = {
    29: TokenLayout("reallocate", ("account", "payer", "systemProgram"), _extension_types, "owner"),
    31: TokenLayout("createNativeMint", ("payer", "nativeMint", "systemProgram")),
    32: TokenLayout("initializeNonTransferableMint", ("mint",)),
    38: TokenLayout("withdrawExcessLamports", ("source", "destination"), None, "authority"),
}
EXTENSIONS: Final = {
    26: {
        0: TokenLayout("initializeTransferFeeConfig", ("mint",), _fee_config),
        1: TokenLayout(
            "transferCheckedWithFee", ("source", "mint", "destination"), _amount_and_fee, "authority"
        ),
        2: TokenLayout(
            "withdrawWithheldTokensFromMint", ("mint", "feeRecipient"), None, "withdrawWithheldAuthority"
        ),
        5: TokenLayout("setTransferFee", ("mint",), _fee, "transferFeeConfigAuthority"),
    },
    28: {
        0: TokenLayout("initializeDefaultAccountState", ("mint",), _account_state),
        1: TokenLayout("updateDefaultAccountState", ("mint",), _account_state, "freezeAuthority"),
    },
    30: {
        0: TokenLayout("enableRequiredMemoTransfers", ("account",), None, "owner"),
        1: TokenLayout("disableRequiredMemoTransfers", ("account",), None, "owner"),
    },
    33: {
        0: TokenLayout("initializeInterestBearingConfig", ("mint",), _rate),
        1: TokenLayout("updateInterestBearingConfigRate", ("mint",), _new_rate, "rateAuthority"),
    },
    34: {
        0: TokenLayout("enableCpiGuard", ("account",), None, "owner"),
        1: TokenLayout("disableCpiGuard", ("account",), None, "owner"),
    },
    36: {
        0: TokenLayout("initializeTransferHook", ("mint",), _known("authority", "programId")),
        1: TokenLayout("updateTransferHook", ("mint",), _known("programId"), "authority"),
    },
    39: {
        0: TokenLayout("initializeMetadataPointer", ("mint",), _known("authority", "metadataAddress")),
        1: TokenLayout("updateMetadataPointer", ("mint",), _known("metadataAddress"), "authority"),
    },
    40: {
        0: TokenLayout("initializeGroupPointer", ("mint",), _known("authority", "groupAddress")),
        1: TokenLayout("updateGroupPointer", ("mint",), _known("groupAddress"), "authority"),
    },
    41: {
        0: TokenLayout("initializeGroupMemberPointer", ("mint",), _known("authority", "memberAddress")),
        1: TokenLayout("updateGroupMemberPointer", ("mint",), _known("memberAddress"), "authority"),
    },
    44: {
        0: TokenLayout("initializePausableConfig", ("mint",), _nullable("authority")),
        1: TokenLayout("pause", ("mint",), None, "authority"),
        2: TokenLayout("resume", ("mint",), None, "authority"),
    },
}
TRANSFER_FEE: Final = 26
WITHDRAW_FROM_ACCOUNTS: Final = 3
HARVEST: Final = 4


def parse_extension(number: int, accounts: list[str], fields: Fields) -> Parsed:
    """Read an instruction of an extension; None for those that have no layout here."""
    plain = PLAIN.get(number)
    if plain is not None:
        return plain.read(accounts, fields)
    layouts = EXTENSIONS.get(number)
    if layouts is None:
        return None
    kind = fields.unsigned(1)
    if number == TRANSFER_FEE and kind == WITHDRAW_FROM_ACCOUNTS:
        return _withdraw_from_accounts(accounts, fields.unsigned(1))
    if number == TRANSFER_FEE and kind == HARVEST:
        return "harvestWithheldTokensToMint", {"mint": accounts[0], "sourceAccounts": accounts[1:]}
    known = layouts.get(kind)
    return None if known is None else known.read(accounts, fields)


def _withdraw_from_accounts(accounts: list[str], count: int) -> Parsed:
    if len(accounts) < 3 + count:
        return None
    sources_at = len(accounts) - count
    info = {
        "mint": accounts[0],
        "feeRecipient": accounts[1],
        "sourceAccounts": accounts[sources_at:],
        **signers("withdrawWithheldAuthority", accounts[2:sources_at]),
    }
    return "withdrawWithheldTokensFromAccounts", info


def parse_metadata(accounts: list[str], data: bytes) -> Parsed:
    """Read an instruction of the metadata interface; None for any other."""
    read = METADATA.get(data[:8])
    return None if read is None else read(accounts, Fields(data[8:]))


def _initialize_metadata(accounts: list[str], fields: Fields) -> Parsed:
    names = ("metadata", "updateAuthority", "mint", "mintAuthority")
    info: dict[str, Any] = dict(zip(names, accounts, strict=True))
    for name in FIELD_NAMES:
        info[name] = fields.short_text()
    return "initializeTokenMetadata", info


def _update_field(accounts: list[str], fields: Fields) -> Parsed:
    kind = fields.unsigned(1)
    field = fields.short_text() if kind == FIELD_KEY else FIELD_NAMES[kind]
    return "updateTokenMetadataField", {**_updated(accounts), "field": field, "value": fields.short_text()}


def _remove_key(accounts: list[str], fields: Fields) -> Parsed:
    info = {"idempotent": bool(fields.unsigned(1)), "key": fields.short_text()}
    return "removeTokenMetadataKey", {**_updated(accounts), **info}


def _update_metadata_authority(accounts: list[str], fields: Fields) -> Parsed:
    return "updateTokenMetadataAuthority", {**_updated(accounts), "newAuthority": _nonzero(fields)}


def _updated(accounts: list[str]) -> dict[str, Any]:
    return {"metadata": accounts[0], "updateAuthority": accounts[1]}


METADATA: Final[dict[bytes, Callable[[list[str], Fields], Parsed]]] = {
    INITIALIZE_METADATA: _initialize_metadata,
    UPDATE_FIELD: _update_field,
    REMOVE_KEY: _remove_key,
    UPDATE_METADATA_AUTHORITY: _update_metadata_authority,
}
