"""Instructions of the two token programs, which share their first numbers."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .instruction_data import Fields, Parsed
from .token_state import ui_amount

AUTHORITY_TYPES: Final = {
    0: "mintTokens",
    1: "freezeAccount",
    2: "accountOwner",
    3: "closeAccount",
    4: "transferFeeConfig",
    5: "withheldWithdraw",
    6: "closeMint",
    7: "interestRate",
    8: "permanentDelegate",
    9: "confidentialTransferMint",
    10: "transferHookProgramId",
    11: "confidentialTransferFeeConfig",
    12: "metadataPointer",
    13: "groupPointer",
    14: "groupMemberPointer",
}
MINT_AUTHORITY_TYPES: Final = frozenset(AUTHORITY_TYPES) - {2, 3}
EXTENSION_TYPES: Final = {
    1: "transferFeeConfig",
    2: "transferFeeAmount",
    7: "immutableOwner",
    8: "memoTransfer",
}

ReadData = Callable[[Fields], dict[str, Any]]


class TokenLayout(NamedTuple):
    """Names an instruction's accounts, how its data is read and who must sign it."""

    kind: str
    accounts: tuple[str, ...]
    data: ReadData | None = None
    signer: str | None = None


def _amount(fields: Fields) -> dict[str, Any]:
    return {"amount": str(fields.unsigned(8))}


def _token_amount(fields: Fields) -> dict[str, Any]:
    return {"tokenAmount": ui_amount(fields.unsigned(8), fields.unsigned(1))}


def _owner(fields: Fields) -> dict[str, Any]:
    return {"owner": fields.address()}


def _mint(fields: Fields) -> dict[str, Any]:
    info: dict[str, Any] = {"decimals": fields.unsigned(1), "mintAuthority": fields.address()}
    freeze = fields.optional_address()
    return info if freeze is None else {**info, "freezeAuthority": freeze}


def _extension_types(fields: Fields) -> dict[str, Any]:
    raw = fields.rest()
    kinds = [int.from_bytes(raw[at : at + 2], "little") for at in range(0, len(raw), 2)]
    return {"extensionTypes": [EXTENSION_TYPES.get(kind, "unknown") for kind in kinds]} if kinds else {}


def _ui_text(fields: Fields) -> dict[str, Any]:
    return {"uiAmount": fields.rest().decode()}


def _new_authority(fields: Fields) -> dict[str, Any]:
    return {"newAuthority": fields.optional_address()}


def _delegate(fields: Fields) -> dict[str, Any]:
    return {"delegate": fields.address()}


LAYOUTS: Final = {
    0: TokenLayout("initializeMint", ("mint", "rentSysvar"), _mint),
    1: TokenLayout("initializeAccount", ("account", "mint", "owner", "rentSysvar")),
    3: TokenLayout("transfer", ("source", "destination"), _amount, "authority"),
    4: TokenLayout("approve", ("source", "delegate"), _amount, "owner"),
    5: TokenLayout("revoke", ("source",), None, "owner"),
    7: TokenLayout("mintTo", ("mint", "account"), _amount, "mintAuthority"),
    8: TokenLayout("burn", ("account", "mint"), _amount, "authority"),
    9: TokenLayout("closeAccount", ("account", "destination"), None, "owner"),
    10: TokenLayout("freezeAccount", ("account", "mint"), None, "freezeAuthority"),
    11: TokenLayout("thawAccount", ("account", "mint"), None, "freezeAuthority"),
    12: TokenLayout("transferChecked", ("source", "mint", "destination"), _token_amount, "authority"),
    13: TokenLayout("approveChecked", ("source", "mint", "delegate"), _token_amount, "owner"),
    14: TokenLayout("mintToChecked", ("mint", "account"), _token_amount, "mintAuthority"),
    15: TokenLayout("burnChecked", ("account", "mint"), _token_amount, "authority"),
    16: TokenLayout("initializeAccount2", ("account", "mint", "rentSysvar"), _owner),
    17: TokenLayout("syncNative", ("account",)),
    18: TokenLayout("initializeAccount3", ("account", "mint"), _owner),
    20: TokenLayout("initializeMint2", ("mint",), _mint),
    21: TokenLayout("getAccountDataSize", ("mint",), _extension_types),
    22: TokenLayout("initializeImmutableOwner", ("account",)),
    23: TokenLayout("amountToUiAmount", ("mint",), _amount),
    24: TokenLayout("uiAmountToAmount", ("mint",), _ui_text),
    25: TokenLayout("initializeMintCloseAuthority", ("mint",), _new_authority),
    35: TokenLayout("initializePermanentDelegate", ("mint",), _delegate),
}
SET_AUTHORITY: Final = 6
MEMO_TRANSFER: Final = 30
METADATA_POINTER: Final = 39
# The metadata interface tells its instructions apart by the first 8 bytes of a hash.
INITIALIZE_METADATA: Final = bytes.fromhex("d2e11ea258b84d8d")
MEMO_TRANSFER_LAYOUTS: Final = {
    0: TokenLayout("enableRequiredMemoTransfers", ("account",), None, "owner"),
    1: TokenLayout("disableRequiredMemoTransfers", ("account",), None, "owner"),
}


def parse_token(accounts: list[str], data: bytes) -> Parsed:
    """Read a token instruction; None for those that have no layout here."""
    if data[:8] == INITIALIZE_METADATA:
        return _initialize_metadata(accounts, Fields(data[8:]))
    fields = Fields(data)
    number = fields.unsigned(1)
    if number == SET_AUTHORITY:
        return _set_authority(accounts, fields)
    if number == METADATA_POINTER:
        return _metadata_pointer(accounts, fields)
    layouts = LAYOUTS
    if number == MEMO_TRANSFER:
        layouts, number = MEMO_TRANSFER_LAYOUTS, fields.unsigned(1)
    known = layouts.get(number)
    return None if known is None else _read(known, accounts, fields)


def _read(known: TokenLayout, accounts: list[str], fields: Fields) -> Parsed:
    if len(accounts) < len(known.accounts) + (known.signer is not None):
        return None
    info: dict[str, Any] = dict(zip(known.accounts, accounts, strict=False))
    if known.data is not None:
        info |= known.data(fields)
    if known.signer is not None:
        info |= _signers(known.signer, accounts[len(known.accounts) :])
    return known.kind, info


def _signers(name: str, accounts: list[str]) -> dict[str, Any]:
    if len(accounts) == 1:
        return {name: accounts[0]}
    return {"multisig" + name[0].upper() + name[1:]: accounts[0], "signers": accounts[1:]}


def _set_authority(accounts: list[str], fields: Fields) -> Parsed:
    kind = fields.unsigned(1)
    owned = "mint" if kind in MINT_AUTHORITY_TYPES else "account"
    info = {
        owned: accounts[0],
        "authorityType": AUTHORITY_TYPES[kind],
        "newAuthority": fields.optional_address(),
        **_signers("authority", accounts[1:]),
    }
    return "setAuthority", info


def _initialize_metadata(accounts: list[str], fields: Fields) -> Parsed:
    names = ("metadata", "updateAuthority", "mint", "mintAuthority")
    info: dict[str, Any] = dict(zip(names, accounts, strict=True))
    for name in ("name", "symbol", "uri"):
        info[name] = fields.take(fields.unsigned(4)).decode()
    return "initializeTokenMetadata", info


def _metadata_pointer(accounts: list[str], fields: Fields) -> Parsed:
    if fields.unsigned(1):
        info = {"mint": accounts[0], "metadataAddress": fields.address()}
        return "updateMetadataPointer", {**info, **_signers("authority", accounts[1:])}
    pointer = {"authority": fields.address(), "metadataAddress": fields.address()}
    return "initializeMetadataPointer", {"mint": accounts[0], **pointer}
