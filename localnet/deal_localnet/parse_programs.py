"""The programs whose instructions are shown with their fields named, and how each is read."""

from collections.abc import Callable
from typing import Any, Final

from .instruction_data import Fields, Parsed, layout
from .parse_token import parse_token

Parser = Callable[[list[str], bytes], Parsed]

SYSTEM_LAYOUTS: Final = {
    0: layout("createAccount", ["source", "newAccount"], "lamports:u64 space:u64 owner:key"),
    1: layout("assign", ["account"], "owner:key"),
    2: layout("transfer", ["source", "destination"], "lamports:u64"),
    3: layout(
        "createAccountWithSeed",
        ["source", "newAccount"],
        "base:key seed:text lamports:u64 space:u64 owner:key",
    ),
    4: layout("advanceNonce", ["nonceAccount", "recentBlockhashesSysvar", "nonceAuthority"], ""),
    5: layout(
        "withdrawFromNonce",
        ["nonceAccount", "destination", "recentBlockhashesSysvar", "rentSysvar", "nonceAuthority"],
        "lamports:u64",
    ),
    6: layout(
        "initializeNonce", ["nonceAccount", "recentBlockhashesSysvar", "rentSysvar"], "nonceAuthority:key"
    ),
    7: layout("authorizeNonce", ["nonceAccount", "nonceAuthority"], "newAuthorized:key"),
    8: layout("allocate", ["account"], "space:u64"),
    9: layout("allocateWithSeed", ["account"], "base:key seed:text space:u64 owner:key"),
    10: layout("assignWithSeed", ["account"], "base:key seed:text owner:key"),
    11: layout(
        "transferWithSeed",
        ["source", "sourceBase", "destination"],
        "lamports:u64 sourceSeed:text sourceOwner:key",
    ),
}
LOOKUP_TABLE_LAYOUTS: Final = {
    0: layout(
        "createLookupTable",
        ["lookupTableAccount", "lookupTableAuthority", "payerAccount", "systemProgram"],
        "recentSlot:u64 bumpSeed:u8",
    ),
    1: layout("freezeLookupTable", ["lookupTableAccount", "lookupTableAuthority"], ""),
    3: layout("deactivateLookupTable", ["lookupTableAccount", "lookupTableAuthority"], ""),
    4: layout("closeLookupTable", ["lookupTableAccount", "lookupTableAuthority", "recipient"], ""),
}
EXTEND_LOOKUP_TABLE: Final = 2
ASSOCIATED_TYPES: Final = {0: "create", 1: "createIdempotent"}
ASSOCIATED_ACCOUNTS: Final = ("source", "account", "wallet", "mint", "systemProgram", "tokenProgram")


def _parse_system(accounts: list[str], data: bytes) -> Parsed:
    fields = Fields(data)
    known = SYSTEM_LAYOUTS.get(fields.unsigned(4))
    return None if known is None else known.read(accounts, fields)


def _parse_lookup_table(accounts: list[str], data: bytes) -> Parsed:
    fields = Fields(data)
    kind = fields.unsigned(4)
    if kind == EXTEND_LOOKUP_TABLE:
        return _extend_lookup_table(accounts, fields)
    known = LOOKUP_TABLE_LAYOUTS.get(kind)
    return None if known is None else known.read(accounts, fields)


def _extend_lookup_table(accounts: list[str], fields: Fields) -> Parsed:
    info: dict[str, Any] = {"lookupTableAccount": accounts[0], "lookupTableAuthority": accounts[1]}
    info["newAddresses"] = [fields.address() for _ in range(fields.unsigned(8))]
    if len(accounts) >= 4:
        info |= {"payerAccount": accounts[2], "systemProgram": accounts[3]}
    return "extendLookupTable", info


def _parse_associated(accounts: list[str], data: bytes) -> Parsed:
    kind = ASSOCIATED_TYPES.get(data[0] if data else 0)
    if kind is None or len(accounts) < len(ASSOCIATED_ACCOUNTS):
        return None
    return kind, dict(zip(ASSOCIATED_ACCOUNTS, accounts, strict=False))


PARSERS: Final[dict[str, tuple[str, Parser]]] = {
    "11111111111111111111111111111111": ("system", _parse_system),
    "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA": ("spl-token", parse_token),
    "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb": ("spl-token", parse_token),
    "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL": ("spl-associated-token-account", _parse_associated),
    "AddressLookupTab1e1111111111111111111111111": ("address-lookup-table", _parse_lookup_table),
}
