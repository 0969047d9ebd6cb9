"""sendTransaction: preflight on the asked bank, then the open slot."""

from typing import Any

from .errors import PREFLIGHT_FAILURE, RpcError, min_context_slot_not_reached
from .params import (
    COMMITMENTS,
    TRANSACTION_ENCODINGS,
    Config,
    encoding,
    flag,
    optional_unsigned,
    string,
    struct,
    unsigned,
    variant,
)
from .records import Execution, WireTransaction
from .registry import Node
from .render_transactions import return_data
from .slots import Commitment
from .transaction_errors import describe_error
from .wire import decode_transaction


def send(node: Node, params: list[Any]) -> str:
    """Take a transaction in; without preflight the reply says nothing about its fate, as in Agave."""
    config = struct(params[1], "RpcSendTransactionConfig")
    chosen = encoding(config, TRANSACTION_ENCODINGS, "base58")
    level = preflight_level(config)
    if config.get("maxRetries") is not None:
        unsigned(config["maxRetries"], "usize")
    transaction = decode_transaction(string(params[0]), chosen, node.bank.lookup_table)
    signed = all(transaction.transaction.verify_with_results())
    skips = flag(config, "skipPreflight")
    slot = node.bank.chain.slot_at(level)
    wanted = optional_unsigned(config, "minContextSlot")
    if wanted is not None and slot < wanted:
        raise min_context_slot_not_reached(slot)
    if not skips:
        _preflight(node, transaction, level, signed)
    if signed:
        node.bank.process(transaction)
    return transaction.signature


def preflight_level(config: Config) -> Commitment:
    """Read the commitment of the bank that a transaction is tried on first."""
    value = config.get("preflightCommitment")
    return Commitment.FINALIZED if value is None else COMMITMENTS[variant(value, tuple(COMMITMENTS))]


def _preflight(node: Node, transaction: WireTransaction, level: Commitment, signed: bool) -> None:
    if not signed:
        raise _simulation_failed("SignatureFailure", None)
    execution, _ = node.bank.simulate(transaction, level)
    if execution.error is not None:
        raise _simulation_failed(execution.error, execution)


def _simulation_failed(error: Any, execution: Execution | None) -> RpcError:
    returned = return_data(execution) if execution is not None and execution.return_data else None
    data = {
        "accounts": None,
        "err": error,
        "fee": execution.fee if execution is not None else None,
        "innerInstructions": None,
        "loadedAccountsDataSize": execution.loaded_bytes if execution is not None else 0,
        "loadedAddresses": None,
        "logs": (execution.logs if execution is not None else None) or [],
        "postBalances": None,
        "postTokenBalances": None,
        "preBalances": None,
        "preTokenBalances": None,
        "replacementBlockhash": None,
        "returnData": returned,
        "unitsConsumed": execution.units if execution is not None else 0,
    }
    return RpcError(PREFLIGHT_FAILURE, f"Transaction simulation failed: {describe_error(error)}", data)
