"""Instructions of the two token programs, which share their first numbers."""

from typing import Any, Final

from .instruction_data import Fields, Parsed
from .parse_token_extensions import parse_extension, parse_metadata
from .token_layouts import TokenLayout, extension_types, plain_amount, signers, token_amount

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
    15: "scaledUiAmount",
    16: "pause",
}
MINT_AUTHORITY_TYPES: Final = frozenset(AUTHORITY_TYPES) - {2, 3}


def _owner(fields: Fields) -> dict[str, Any]:
    return {"owner": fields.address()}


def _mint(fields: Fields) -> dict[str, Any]:
    info: dict[str, Any] = {"decimals": fields.unsigned(1), "mintAuthority": fields.address()}
    freeze = fields.optional_address()
    return info if freeze is None else {**info, "freezeAuthority": freeze}


def _size_extensions(fields: Fields) -> dict[str, Any]:
    kinds = extension_types(fields)
    return {"extensionTypes": kinds} if kinds else {}


def _ui_text(fields: Fields) -> dict[str, Any]:
    return {"uiAmount": fields.rest().decode()}


def _new_authority(fields: Fields) -> dict[str, Any]:
    return {"newAuthority": fields.optional_address()}


def _delegate(fields: Fields) -> dict[str, Any]:
    return {"delegate": fields.address()}


LAYOUTS: Final = {
    0: TokenLayout("initializeMint", ("mint", "rentSysvar"), _mint),
    1: TokenLayout("initializeAccount", ("account", "mint", "owner", "rentSysvar")),
    3: TokenLayout("transfer", ("source", "destination"), plain_amount, "authority"),
    4: TokenLayout("approve", ("source", "delegate"), plain_amount, "owner"),
    5: TokenLayout("revoke", ("source",), None, "owner"),
    7: TokenLayout("mintTo", ("mint", "account"), plain_amount, "mintAuthority"),
    8: TokenLayout("burn", ("account", "mint"), plain_amount, "authority"),
    9: TokenLayout("closeAccount", ("account", "destination"), None, "owner"),
    10: TokenLayout("freezeAccount", ("account", "mint"), None, "freezeAuthority"),
    11: TokenLayout("thawAccount", ("account", "mint"), None, "freezeAuthority"),
    12: TokenLayout("transferChecked", ("source", "mint", "destination"), token_amount, "authority"),
    13: TokenLayout("approveChecked", ("source", "mint", "delegate"), token_amount, "owner"),
    14: TokenLayout("mintToChecked", ("mint", "account"), token_amount, "mintAuthority"),
    15: TokenLayout("burnChecked", ("account", "mint"), token_amount, "authority"),
    16: TokenLayout("initializeAccount2", ("account", "mint", "rentSysvar"), _owner),
    17: TokenLayout("syncNative", ("account",)),
    18: TokenLayout("initializeAccount3", ("account", "mint"), _owner),
    20: TokenLayout("initializeMint2", ("mint",), _mint),
    21: TokenLayout("getAccountDataSize", ("mint",), _size_extensions),
    22: TokenLayout("initializeImmutableOwner", ("account",)),
    23: TokenLayout("amountToUiAmount", ("mint",), plain_amount),
    24: TokenLayout("uiAmountToAmount", ("mint",), _ui_text),
    25: TokenLayout("initializeMintCloseAuthority", ("mint",), _new_authority),
    35: TokenLayout("initializePermanentDelegate", ("mint",), _delegate),
}
SET_AUTHORITY: Final = 6
MULTISIGS: Final = {
    2: ("initializeMultisig", ("multisig", "rentSysvar")),
    19: ("initializeMultisig2", ("multisig",)),
}


def parse_token(accounts: list[str], data: bytes) -> Parsed:
    """Read a token instruction; None for those that have no layout here."""
    metadata = parse_metadata(accounts, data)
    if metadata is not None:
        return metadata
    fields = Fields(data)
    number = fields.unsigned(1)
    if number == SET_AUTHORITY:
        return _set_authority(accounts, fields)
    if number in MULTISIGS:
        return _initialize_multisig(*MULTISIGS[number], accounts, fields)
    known = LAYOUTS.get(number)
    return parse_extension(number, accounts, fields) if known is None else known.read(accounts, fields)


def _initialize_multisig(kind: str, names: tuple[str, ...], accounts: list[str], fields: Fields) -> Parsed:
    if len(accounts) <= len(names):
        return None
    info = dict(zip(names, accounts, strict=False))
    return kind, {**info, "m": fields.unsigned(1), "signers": accounts[len(names) :]}


def _set_authority(accounts: list[str], fields: Fields) -> Parsed:
    kind = fields.unsigned(1)
    owned = "mint" if kind in MINT_AUTHORITY_TYPES else "account"
    info = {
        owned: accounts[0],
        "authorityType": AUTHORITY_TYPES[kind],
        "newAuthority": fields.optional_address(),
        **signers("authority", accounts[1:]),
    }
    return "setAuthority", info
