"""Methods that send, simulate and look up transactions."""

from collections.abc import Mapping
from typing import Any, Final

from solders.pubkey import Pubkey

from .errors import invalid_params
from .fees import message_fee
from .history import STATUS_CACHE_SLOTS, place_of
from .memos import memo_of
from .nonces import nonce_use
from .params import (
    MAX_U8,
    TRANSACTION_ENCODINGS,
    Config,
    encoding,
    flag,
    history_level,
    optional_unsigned,
    pubkey,
    required_field,
    sequence,
    signature,
    string,
    struct,
    unsigned,
    untagged,
)
from .records import TransactionRecord, writable_indexes
from .registry import MethodTable, Node, chosen_block, with_context
from .render_transactions import TransactionView, status
from .sending import send
from .simulation import simulate
from .slots import Commitment
from .wire import decode_message

MAX_STATUSES: Final = 256
MAX_SIGNATURES: Final = 1_000

table: Final = MethodTable()

table.method("sendTransaction", 1, 2)(send)
table.method("simulateTransaction", 1, 2)(simulate)


@table.method("requestAirdrop", 2, 3)
def request_airdrop(node: Node, params: list[Any]) -> str:
    """Send lamports from the faucet."""
    to, lamports = pubkey(params[0]), unsigned(params[1])
    struct(params[2], "RpcRequestAirdropConfig")
    for block in node.bank.chain.last_blocks(node.bank.chain.lifetime_blocks):
        transaction = node.faucet.airdrop(to, lamports, block.blockhash)
        # The same amount to the same address is the same transaction: an older blockhash parts them.
        if node.bank.history.find(transaction.signature) is None:
            break
    node.bank.process(transaction)
    return transaction.signature


@table.method("getFeeForMessage", 1, 2)
def get_fee_for_message(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return what a message would cost, or None when its blockhash cannot be used."""
    message = decode_message(string(params[0]))
    block, level = chosen_block(node, struct(params[1], "RpcContextConfig"))
    keys = message.account_keys
    use = nonce_use(message, keys, writable_indexes(message, len(keys), 0))
    named = message.recent_blockhash
    usable = node.bank.chain.is_blockhash_valid(named, level) or node.bank.is_nonce_usable(use, named, level)
    return with_context(block.slot, message_fee(message).total if usable else None)


@table.method("getSignatureStatuses", 1, 2)
def get_signature_statuses(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return where each transaction stands; older ones only when history is searched."""
    values = sequence(params[0])
    if len(values) > MAX_STATUSES:
        raise invalid_params(f"Too many inputs provided; max {MAX_STATUSES}")
    search = _searches_history(params[1])
    chain = node.bank.chain
    tops = {level: chain.slot_at(level) for level in Commitment}
    statuses = [_status(node, value, search, tops) for value in values]
    return with_context(tops[Commitment.PROCESSED], statuses)


def _searches_history(value: Any) -> bool:
    if value is None:
        return False
    config = struct(value, "RpcSignatureStatusConfig")
    required_field(config, "searchTransactionHistory")
    return flag(config, "searchTransactionHistory")


def _status(node: Node, value: Any, search: bool, tops: Mapping[Commitment, int]) -> dict[str, Any] | None:
    record = node.bank.history.find(value) if isinstance(value, str) else None
    if record is None:
        signature(value)
        return None
    if record.slot > tops[Commitment.PROCESSED]:
        return None
    final = record.slot <= tops[Commitment.FINALIZED]
    if final and not search and record.slot < tops[Commitment.FINALIZED] - STATUS_CACHE_SLOTS:
        return None
    error = record.execution.error
    level = Commitment.CONFIRMED if record.slot <= tops[Commitment.CONFIRMED] else Commitment.PROCESSED
    return {
        "confirmationStatus": (Commitment.FINALIZED if final else level).label,
        "confirmations": None if final else node.bank.chain.confirmations(record.slot),
        "err": error,
        "slot": record.slot,
        "status": status(error),
    }


@table.method("getTransaction", 1, 2)
def get_transaction(node: Node, params: list[Any]) -> dict[str, Any] | None:
    """Return a landed transaction; None until it reaches the asked commitment."""
    text = signature(params[0])
    config, chosen, max_version = untagged(lambda: _asked_form(params[1]), "RpcEncodingConfigWrapper")
    level = history_level(config)
    record = node.bank.history.find(text)
    if record is None or record.slot > node.bank.chain.slot_at(level):
        return None
    entry = TransactionView(record).entry(chosen, max_version)
    return {"blockTime": _block_time(node, record), **entry, "slot": record.slot}


def _asked_form(value: Any) -> tuple[Config, str, int | None]:
    config = {"encoding": value} if isinstance(value, str) else struct(value, "RpcTransactionConfig")
    chosen = encoding(config, TRANSACTION_ENCODINGS, "json")
    return config, chosen, optional_unsigned(config, "maxSupportedTransactionVersion", "u8", MAX_U8)


def _block_time(node: Node, record: TransactionRecord) -> int | None:
    block = node.bank.chain.block_of_slot(record.slot)
    return block.time if block is not None else None


@table.method("getSignaturesForAddress", 1, 2)
def get_signatures_for_address(node: Node, params: list[Any]) -> list[dict[str, Any]]:
    """Return an address's transactions, newest first, between two signatures."""
    address = pubkey(params[0])
    config = struct(params[1], "RpcSignaturesForAddressConfig")
    before, until = _optional_signature(config, "before"), _optional_signature(config, "until")
    limit = optional_unsigned(config, "limit", "usize")
    limit = MAX_SIGNATURES if limit is None else limit
    if not 1 <= limit <= MAX_SIGNATURES:
        raise invalid_params(f"Invalid limit; max {MAX_SIGNATURES}")
    level = history_level(config)
    chosen_block(node, config)
    start = node.bank.history.find(before) if before is not None else None
    end = node.bank.history.find(until) if until is not None else None
    if before is not None and start is None:
        return []
    return _listed(node, address, level, start, end, limit)


def _optional_signature(config: Config, field: str) -> str | None:
    value = config.get(field)
    return None if value is None else signature(value)


def _listed(
    node: Node,
    address: Pubkey,
    level: Commitment,
    start: TransactionRecord | None,
    end: TransactionRecord | None,
    limit: int,
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    top = node.bank.chain.slot_at(level)
    for record in node.bank.history.mentioning(address, max_slot=top, before=start):
        if len(found) == limit or (end is not None and place_of(record) <= place_of(end)):
            break
        found.append(
            {
                "blockTime": _block_time(node, record),
                "confirmationStatus": node.bank.chain.commitment_of(record.slot).label,
                "err": record.execution.error,
                "memo": memo_of(record),
                "signature": record.signature,
                "slot": record.slot,
            }
        )
    return found
