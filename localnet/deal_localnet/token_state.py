"""Mints and token accounts of both token programs, decoded and shown as Agave's jsonParsed does."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from solders.account import Account
from solders.pubkey import Pubkey

from .addresses import TOKEN_2022_PROGRAM, TOKEN_PROGRAMS
from .extensions import render_extensions
from .native_state import parsed_state
from .records import TOKEN_ACCOUNT_BYTES
from .sysvar_state import parsed_sysvar

MINT_BYTES: Final = 82
MULTISIG_BYTES: Final = 355
MULTISIG_HEAD_BYTES: Final = 3
NO_ADDRESS: Final = str(Pubkey.default())
ACCOUNT_TYPE_OFFSET: Final = TOKEN_ACCOUNT_BYTES
MINT_TYPE: Final = 1
ACCOUNT_TYPE: Final = 2
EXTENSIONS_OFFSET: Final = TOKEN_ACCOUNT_BYTES + 1
STATES: Final = {1: "initialized", 2: "frozen"}
PROGRAM_NAMES: Final = {False: "spl-token", True: "spl-token-2022"}

AccountReader = Callable[[Pubkey], Account | None]


class MintState(NamedTuple):
    """Holds what a mint's data says."""

    authority: str | None
    supply: int
    decimals: int
    freeze_authority: str | None
    initialized: bool


class TokenState(NamedTuple):
    """Holds what a token account's data says."""

    mint: str
    owner: str
    amount: int
    delegate: str | None
    state: int
    native_reserve: int | None
    delegated_amount: int
    close_authority: str | None


def _address(data: bytes, offset: int) -> str:
    return str(Pubkey.from_bytes(data[offset : offset + 32]))


def _optional_address(data: bytes, offset: int) -> str | None:
    return _address(data, offset + 4) if data[offset : offset + 4] == b"\1\0\0\0" else None


def _u64(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 8], "little")


def _type_of(account: Account) -> int:
    data = account.data
    if account.owner not in TOKEN_PROGRAMS or len(data) == MULTISIG_BYTES:
        return 0
    if len(data) == MINT_BYTES:
        return MINT_TYPE
    if len(data) == TOKEN_ACCOUNT_BYTES:
        return ACCOUNT_TYPE
    extended = account.owner == TOKEN_2022_PROGRAM and len(data) > TOKEN_ACCOUNT_BYTES
    return data[ACCOUNT_TYPE_OFFSET] if extended else 0


def decode_mint(account: Account) -> MintState | None:
    """Read a mint; None when the account is none."""
    data = account.data
    if _type_of(account) != MINT_TYPE or data[45] != 1:
        return None
    return MintState(_optional_address(data, 0), _u64(data, 36), data[44], _optional_address(data, 46), True)


def decode_token_account(account: Account) -> TokenState | None:
    """Read a token account; None when the account is none."""
    data = account.data
    if _type_of(account) != ACCOUNT_TYPE or data[108] not in STATES:
        return None
    native = _u64(data, 113) if data[109:113] == b"\1\0\0\0" else None
    return TokenState(
        mint=_address(data, 0),
        owner=_address(data, 32),
        amount=_u64(data, 64),
        delegate=_optional_address(data, 72),
        state=data[108],
        native_reserve=native,
        delegated_amount=_u64(data, 121),
        close_authority=_optional_address(data, 129),
    )


def ui_amount(amount: int, decimals: int) -> dict[str, Any]:
    """Return an amount the way Solana shows it: exact text, and a float for display."""
    digits = text = str(amount)
    if decimals:
        padded = digits.rjust(decimals + 1, "0")
        text = f"{padded[:-decimals]}.{padded[-decimals:]}".rstrip("0").rstrip(".")
    return {"amount": digits, "decimals": decimals, "uiAmount": float(text), "uiAmountString": text}


def parsed_account(key: Pubkey, account: Account, read: AccountReader) -> dict[str, Any] | None:
    """Return an account's data as JSON that names its fields; None when its program is not known here."""
    shown = _parsed_token(account, read) or parsed_sysvar(key, account) or parsed_state(account)
    if shown is None:
        return None
    program, kind, info = shown
    return {"parsed": {"info": info, "type": kind}, "program": program, "space": len(account.data)}


def _parsed_token(account: Account, read: AccountReader) -> tuple[str, str, dict[str, Any]] | None:
    program = PROGRAM_NAMES[account.owner == TOKEN_2022_PROGRAM]
    mint = decode_mint(account)
    if mint is not None:
        return program, "mint", _with_extensions(account, _mint_info(mint))
    state = decode_token_account(account)
    if state is None:
        shared = _multisig_info(account)
        return None if shared is None else (program, "multisig", shared)
    decimals = _decimals_of(state.mint, read)
    if decimals is None:
        return None
    return program, "account", _with_extensions(account, _account_info(state, decimals))


def _decimals_of(mint: str, read: AccountReader) -> int | None:
    account = read(Pubkey.from_string(mint))
    decoded = decode_mint(account) if account is not None else None
    return decoded.decimals if decoded is not None else None


def _mint_info(mint: MintState) -> dict[str, Any]:
    return {
        "decimals": mint.decimals,
        "freezeAuthority": mint.freeze_authority,
        "isInitialized": mint.initialized,
        "mintAuthority": mint.authority,
        "supply": str(mint.supply),
    }


def _account_info(state: TokenState, decimals: int) -> dict[str, Any]:
    info: dict[str, Any] = {
        "isNative": state.native_reserve is not None,
        "mint": state.mint,
        "owner": state.owner,
        "state": STATES[state.state],
        "tokenAmount": ui_amount(state.amount, decimals),
    }
    if state.delegate is not None:
        info["delegate"] = state.delegate
        info["delegatedAmount"] = ui_amount(state.delegated_amount, decimals)
    if state.native_reserve is not None:
        info["rentExemptReserve"] = ui_amount(state.native_reserve, decimals)
    if state.close_authority is not None:
        info["closeAuthority"] = state.close_authority
    return info


def _with_extensions(account: Account, info: dict[str, Any]) -> dict[str, Any]:
    if len(account.data) > EXTENSIONS_OFFSET:
        info["extensions"] = render_extensions(account.data[EXTENSIONS_OFFSET:])
    return info


def _multisig_info(account: Account) -> dict[str, Any] | None:
    data = account.data
    if account.owner not in TOKEN_PROGRAMS or len(data) != MULTISIG_BYTES or data[2] != 1:
        return None
    members = [_address(data, at) for at in range(MULTISIG_HEAD_BYTES, MULTISIG_BYTES, 32)]
    return {
        "isInitialized": True,
        "numRequiredSigners": data[0],
        "numValidSigners": data[1],
        "signers": [member for member in members if member != NO_ADDRESS],
    }
