"""Methods that read accounts, by address or by program."""

from typing import Any, Final

from solders.account import Account
from solders.pubkey import Pubkey

from .account_filters import parse_filters, refuse_partial_addresses
from .errors import invalid_params
from .params import commitment_config, flag, pubkey, sequence, struct, unsigned
from .registry import MethodTable, Node, chosen_block, with_context
from .render_accounts import AccountFormat, AccountReader
from .rent import rent_exempt_minimum

MAX_MULTIPLE_ACCOUNTS: Final = 100

table: Final = MethodTable()


def reader_at(node: Node, slot: int) -> AccountReader:
    """Return a reader of accounts as they were at a slot."""

    def read(key: Pubkey) -> Account | None:
        return node.bank.account_at(key, slot)

    return read


@table.method("getBalance", 1, 2)
def get_balance(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return an account's lamports; one that does not exist has none."""
    key = pubkey(params[0])
    block, _ = chosen_block(node, struct(params[1], "RpcContextConfig"))
    account = node.bank.accounts.at(key, block.slot)
    return with_context(block.slot, account.lamports if account is not None else 0)


@table.method("getAccountInfo", 1, 2)
def get_account_info(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return an account."""
    key = pubkey(params[0])
    config = struct(params[1], "RpcAccountInfoConfig")
    block, _ = chosen_block(node, config)
    read = reader_at(node, block.slot)
    return with_context(block.slot, AccountFormat.of(config, read).optional(key, read(key)))


@table.method("getMultipleAccounts", 1, 2)
def get_multiple_accounts(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return many accounts from the same slot."""
    values = sequence(params[0])
    if len(values) > MAX_MULTIPLE_ACCOUNTS:
        raise invalid_params(f"Too many inputs provided; max {MAX_MULTIPLE_ACCOUNTS}")
    keys = [pubkey(value) for value in values]
    config = struct(params[1], "RpcAccountInfoConfig")
    block, _ = chosen_block(node, config)
    read = reader_at(node, block.slot)
    shape = AccountFormat.of(config, read, "base64")
    return with_context(block.slot, [shape.optional(key, read(key)) for key in keys])


@table.method("getProgramAccounts", 1, 2)
def get_program_accounts(node: Node, params: list[Any]) -> Any:
    """Return a program's accounts that pass all filters."""
    program = pubkey(params[0])
    config = struct(params[1], "RpcProgramAccountsConfig")
    accepts = parse_filters(config)
    refuse_partial_addresses(program, config)
    block, _ = chosen_block(node, config)
    read = reader_at(node, block.slot)
    shape = AccountFormat.of(config, read)
    found = [
        shape.keyed(key, account)
        for key in node.bank.accounts.index.of_program(program)
        if (account := read(key)) is not None and account.owner == program and accepts(account)
    ]
    return with_context(block.slot, found) if flag(config, "withContext") else found


@table.method("getMinimumBalanceForRentExemption", 1, 2)
def get_minimum_balance(node: Node, params: list[Any]) -> int:
    """Return the lamports that an account of a size must hold."""
    data_bytes = unsigned(params[0], "usize")
    commitment_config(params[1])
    return rent_exempt_minimum(data_bytes)
