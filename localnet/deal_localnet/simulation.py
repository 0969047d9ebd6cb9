"""simulateTransaction: runs a transaction on a commitment's accounts and shows what it would do."""

from typing import Any, Final

from solders.account import Account
from solders.hash import Hash
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from .errors import invalid_params
from .instructions import parse_instruction
from .methods_accounts import reader_at
from .params import (
    ACCOUNT_ENCODINGS,
    TRANSACTION_ENCODINGS,
    Config,
    encoding,
    flag,
    pubkey,
    required_field,
    sequence,
    string,
    struct,
)
from .records import Execution, WireTransaction
from .registry import Node, chosen_block, with_context
from .render_accounts import AccountFormat
from .render_transactions import balances, inner_instructions, loaded_addresses, return_data
from .slots import Block
from .wire import decode_transaction

NO_BALANCES: Final = {
    "postBalances": None,
    "postTokenBalances": None,
    "preBalances": None,
    "preTokenBalances": None,
}


def simulate(node: Node, params: list[Any]) -> dict[str, Any]:
    """Run a transaction without a trace."""
    config = struct(params[1], "RpcSimulateTransactionConfig")
    verify, swap = flag(config, "sigVerify"), flag(config, "replaceRecentBlockhash")
    text = string(params[0])
    chosen = encoding(config, TRANSACTION_ENCODINGS, "base58")
    transaction = decode_transaction(text, chosen, node.bank.lookup_table)
    if verify and swap:
        raise invalid_params("sigVerify may not be used with replaceRecentBlockhash")
    block, level = chosen_block(node, config)
    if swap:
        transaction = _with_blockhash(transaction, block.blockhash)
    wanted = _wanted_accounts(config, transaction)
    if verify and not all(transaction.transaction.verify_with_results()):
        return with_context(block.slot, _unsigned_result(transaction))
    execution, posts = node.bank.simulate(transaction, level, check_blockhash=not swap)
    result = _result(transaction, execution, flag(config, "innerInstructions"))
    result["accounts"] = _accounts(node, block, config, wanted, execution, posts)
    if swap:
        last = block.height + node.bank.chain.lifetime_blocks
        result["replacementBlockhash"] = {"blockhash": str(block.blockhash), "lastValidBlockHeight": last}
    return with_context(block.slot, result)


def _with_blockhash(transaction: WireTransaction, blockhash: Hash) -> WireTransaction:
    old = transaction.message
    fresh: Message | MessageV0
    if isinstance(old, MessageV0):
        fresh = MessageV0(
            old.header, old.account_keys, blockhash, old.instructions, old.address_table_lookups
        )
    else:
        header = old.header
        fresh = Message.new_with_compiled_instructions(
            header.num_required_signatures,
            header.num_readonly_signed_accounts,
            header.num_readonly_unsigned_accounts,
            old.account_keys,
            blockhash,
            old.instructions,
        )
    swapped = VersionedTransaction.populate(fresh, transaction.transaction.signatures)
    return transaction._replace(transaction=swapped, message=fresh)


def _wanted_accounts(config: Config, transaction: WireTransaction) -> list[Pubkey]:
    if config.get("accounts") is None:
        return []
    wanted = struct(config["accounts"], "RpcSimulateTransactionAccountsConfig")
    if encoding(wanted, ACCOUNT_ENCODINGS, "base64") in ("binary", "base58"):
        raise invalid_params("base58 encoding not supported")
    addresses = sequence(required_field(wanted, "addresses"))
    if len(addresses) > len(transaction.keys):
        raise invalid_params(f"Too many accounts provided; max {len(transaction.keys)}")
    return [pubkey(address) for address in addresses]


def _accounts(
    node: Node,
    block: Block,
    config: Config,
    wanted: list[Pubkey],
    execution: Execution,
    posts: dict[Pubkey, Account | None],
) -> list[dict[str, Any] | None] | None:
    if config.get("accounts") is None:
        return None
    if execution.error is not None:
        return [None] * len(wanted)
    read = reader_at(node, block.slot)

    def after(key: Pubkey) -> Account | None:
        return posts[key] if key in posts else read(key)

    shape = AccountFormat.of({"encoding": "base64", **config["accounts"]}, after)
    return [shape.optional(key, after(key)) for key in wanted]


def _result(transaction: WireTransaction, execution: Execution, show_inner: bool) -> dict[str, Any]:
    return {
        "accounts": None,
        "err": execution.error,
        "fee": execution.fee,
        "innerInstructions": _inner(transaction, execution) if show_inner else None,
        "loadedAccountsDataSize": execution.loaded_bytes,
        "loadedAddresses": loaded_addresses(transaction),
        "logs": execution.logs or [],
        **balances(execution, shows_zero=True),
        "replacementBlockhash": None,
        "returnData": return_data(execution) if execution.return_data else None,
        "unitsConsumed": execution.units,
    }


def _inner(transaction: WireTransaction, execution: Execution) -> list[dict[str, Any]] | None:
    if execution.inner is None:
        return None
    names = [str(key) for key in transaction.keys]
    return inner_instructions(execution.inner, lambda *parts: parse_instruction(names, *parts))


def _unsigned_result(transaction: WireTransaction) -> dict[str, Any]:
    refused = Execution("SignatureFailure", [], None, 0, "", b"", (), (), (), (), 0, None)
    return {**_result(transaction, refused, False), **NO_BALANCES}
