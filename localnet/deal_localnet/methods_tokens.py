"""Methods about mints and token accounts."""

import heapq
from collections.abc import Callable
from typing import Any, Final

from solders.account import Account
from solders.pubkey import Pubkey

from .accounts import AccountIndex
from .addresses import TOKEN_PROGRAMS
from .errors import invalid_params
from .methods_accounts import reader_at
from .params import commitment_config, pubkey, struct, wrong_type
from .registry import MethodTable, Node, chosen_block, with_context
from .render_accounts import AccountFormat, AccountReader
from .token_state import MintState, TokenState, decode_mint, decode_token_account, ui_amount

LARGEST_ACCOUNTS: Final = 20
TOKEN_FILTERS: Final = ("mint", "programId")
AMOUNT: Final = slice(64, 72)

Lookup = Callable[[AccountIndex, Pubkey], list[Pubkey]]
Owns = Callable[[TokenState, str], bool]

table: Final = MethodTable()


def _existing(read: AccountReader, key: Pubkey) -> Account:
    account = read(key)
    if account is None:
        raise invalid_params("Invalid param: could not find account")
    return account


def _mint(read: AccountReader, key: Pubkey, refusal: str) -> MintState:
    account = _existing(read, key)
    if account.owner not in TOKEN_PROGRAMS:
        raise invalid_params(f"Invalid param: {refusal}")
    mint = decode_mint(account)
    if mint is None:
        raise invalid_params("Invalid param: mint could not be unpacked")
    return mint


@table.method("getTokenAccountBalance", 1, 2)
def get_token_account_balance(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return a token account's amount."""
    key = pubkey(params[0])
    block, _ = chosen_block(node, commitment_config(params[1]))
    read = reader_at(node, block.slot)
    account = _existing(read, key)
    state = decode_token_account(account) if account.owner in TOKEN_PROGRAMS else None
    if state is None:
        raise invalid_params("Invalid param: not a Token account")
    mint = _mint(read, Pubkey.from_string(state.mint), "not a Token mint")
    return with_context(block.slot, ui_amount(state.amount, mint.decimals))


@table.method("getTokenSupply", 1, 2)
def get_token_supply(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return how much of a token exists."""
    key = pubkey(params[0])
    block, _ = chosen_block(node, commitment_config(params[1]))
    mint = _mint(reader_at(node, block.slot), key, "not a Token mint")
    return with_context(block.slot, ui_amount(mint.supply, mint.decimals))


@table.method("getTokenLargestAccounts", 1, 2)
def get_token_largest_accounts(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return the token accounts that hold most of a mint."""
    key = pubkey(params[0])
    block, _ = chosen_block(node, commitment_config(params[1]))
    read = reader_at(node, block.slot)
    decimals = _known_mint(read, key).decimals
    mint = bytes(key)
    holders = (
        (int.from_bytes(data[AMOUNT], "little"), holder)
        for holder in node.bank.accounts.index.of_mint(key)
        if (account := read(holder)) is not None and (data := account.data)[:32] == mint
    )
    largest = heapq.nlargest(LARGEST_ACCOUNTS, holders)
    return with_context(
        block.slot, [{"address": str(address), **ui_amount(amount, decimals)} for amount, address in largest]
    )


def _known_mint(read: AccountReader, key: Pubkey) -> MintState:
    account = read(key)
    if account is None:
        raise invalid_params("Invalid param: could not find mint")
    mint = decode_mint(account)
    if mint is None:
        raise invalid_params("Invalid param: Token mint could not be unpacked")
    return mint


@table.method("getTokenAccountsByOwner", 2, 3)
def get_token_accounts_by_owner(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return a wallet's token accounts, of one mint or of one token program."""
    return _token_accounts(node, params, AccountIndex.of_token_owner, _is_owner)


@table.method("getTokenAccountsByDelegate", 2, 3)
def get_token_accounts_by_delegate(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return the token accounts that a delegate may spend from."""
    return _token_accounts(node, params, AccountIndex.of_delegate, _is_delegate)


def _is_owner(state: TokenState, address: str) -> bool:
    return state.owner == address


def _is_delegate(state: TokenState, address: str) -> bool:
    return state.delegate == address


def _token_accounts(node: Node, params: list[Any], lookup: Lookup, owns: Owns) -> dict[str, Any]:
    holder = pubkey(params[0])
    field, wanted = _token_filter(params[1])
    config = struct(params[2], "RpcAccountInfoConfig")
    block, _ = chosen_block(node, config)
    read = reader_at(node, block.slot)
    if field == "mint":
        _known_mint(read, wanted)
    elif wanted not in TOKEN_PROGRAMS:
        raise invalid_params("Invalid param: unrecognized Token program id")
    shape = AccountFormat.of(config, read)
    found = []
    for key in lookup(node.bank.accounts.index, holder):
        account = read(key)
        state = decode_token_account(account) if account is not None else None
        if account is None or state is None or not owns(state, str(holder)):
            continue
        if (account.owner == wanted) if field == "programId" else (state.mint == str(wanted)):
            found.append(shape.keyed(key, account))
    return with_context(block.slot, found)


def _token_filter(value: Any) -> tuple[str, Pubkey]:
    if isinstance(value, str) and value in TOKEN_FILTERS:
        raise invalid_params("Invalid params: invalid type: unit variant, expected newtype variant.")
    if not isinstance(value, dict):
        raise wrong_type(value, "string or map")
    if len(value) != 1:
        raise invalid_params("Invalid params: invalid value: map, expected map with a single key.")
    field, address = next(iter(value.items()))
    if field not in TOKEN_FILTERS:
        raise invalid_params(f"Invalid params: unknown variant `{field}`, expected `mint` or `programId`.")
    return field, pubkey(address)
