"""Methods about slots, blocks, epochs and the node itself."""

from itertools import islice
from typing import Any, Final

from .errors import block_not_available, invalid_params, slot_skipped
from .params import Config, blockhash, history_level, pubkey, sequence, struct, unsigned, untagged
from .registry import MethodTable, Node, chosen_block, with_context
from .render_blocks import BlockShape, render_block
from .slots import Block, Commitment
from .version import API_VERSION, FEATURE_SET

MAX_BLOCK_RANGE_SLOTS: Final = 500_000
MAX_FEE_ACCOUNTS: Final = 128
RECENT_FEE_BLOCKS: Final = 150
# Agave counts blocks that transactions landed in; an idle chain is not searched to its beginning.
SEARCHED_FEE_BLOCKS: Final = 3_000

table: Final = MethodTable()


@table.method("getHealth")
def get_health(node: Node, params: list[Any]) -> str:
    """Answer ok: an embedded chain never lags behind itself."""
    return "ok"


@table.method("getVersion")
def get_version(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return the release whose replies are given."""
    return {"feature-set": FEATURE_SET, "solana-core": API_VERSION}


@table.method("getGenesisHash")
def get_genesis_hash(node: Node, params: list[Any]) -> str:
    """Return what tells this chain from every other."""
    return str(node.bank.genesis_hash)


@table.method("getIdentity")
def get_identity(node: Node, params: list[Any]) -> dict[str, str]:
    """Return the node's address."""
    return {"identity": node.identity}


@table.method("getSlot", 0, 1)
def get_slot(node: Node, params: list[Any]) -> int:
    """Return the newest slot of a commitment."""
    return chosen_block(node, struct(params[0], "RpcContextConfig"))[0].slot


@table.method("getBlockHeight", 0, 1)
def get_block_height(node: Node, params: list[Any]) -> int:
    """Return the newest height of a commitment."""
    return chosen_block(node, struct(params[0], "RpcContextConfig"))[0].height


@table.method("getTransactionCount", 0, 1)
def get_transaction_count(node: Node, params: list[Any]) -> int:
    """Return how many transactions landed up to a commitment's block."""
    return chosen_block(node, struct(params[0], "RpcContextConfig"))[0].transaction_count


@table.method("getSlotLeader", 0, 1)
def get_slot_leader(node: Node, params: list[Any]) -> str:
    """Return the only node there is."""
    chosen_block(node, struct(params[0], "RpcContextConfig"))
    return node.identity


@table.method("getEpochInfo", 0, 1)
def get_epoch_info(node: Node, params: list[Any]) -> dict[str, int]:
    """Return where a commitment's block stands in its epoch."""
    block, _ = chosen_block(node, struct(params[0], "RpcContextConfig"))
    return {
        "absoluteSlot": block.slot,
        "blockHeight": block.height,
        "epoch": block.slot // node.bank.slots_per_epoch,
        "slotIndex": block.slot % node.bank.slots_per_epoch,
        "slotsInEpoch": node.bank.slots_per_epoch,
        "transactionCount": block.transaction_count,
    }


@table.method("getEpochSchedule")
def get_epoch_schedule(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return the epochs' length, which never changes here."""
    return {
        "firstNormalEpoch": 0,
        "firstNormalSlot": 0,
        "leaderScheduleSlotOffset": node.bank.slots_per_epoch,
        "slotsPerEpoch": node.bank.slots_per_epoch,
        "warmup": False,
    }


@table.method("getLatestBlockhash", 0, 1)
def get_latest_blockhash(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return the blockhash of a commitment's block and the last height that it can be used at."""
    block, _ = chosen_block(node, struct(params[0], "RpcContextConfig"))
    return with_context(
        block.slot,
        {
            "blockhash": str(block.blockhash),
            "lastValidBlockHeight": block.height + node.bank.chain.lifetime_blocks,
        },
    )


@table.method("isBlockhashValid", 1, 2)
def is_blockhash_valid(node: Node, params: list[Any]) -> dict[str, Any]:
    """Tell whether a transaction with this blockhash could still land."""
    wanted = blockhash(params[0])
    block, level = chosen_block(node, struct(params[1], "RpcContextConfig"))
    return with_context(block.slot, node.bank.chain.is_blockhash_valid(wanted, level))


def _closed_block(node: Node, slot: int, level: Commitment) -> Block:
    chain = node.bank.chain
    if slot > chain.slot_at(level):
        raise block_not_available(slot)
    block = chain.block_of_slot(slot)
    if block is None:
        raise slot_skipped(slot)
    return block


@table.method("getBlockTime", 1, 1)
def get_block_time(node: Node, params: list[Any]) -> int:
    """Return when a block was opened, in seconds since 1970."""
    return _closed_block(node, unsigned(params[0]), Commitment.CONFIRMED).time


@table.method("getBlock", 1, 2)
def get_block(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return a block with as much of its transactions as is asked for."""
    slot = unsigned(params[0])
    config, shape = untagged(lambda: _asked_block(params[1]), "RpcEncodingConfigWrapper")
    block = _closed_block(node, slot, history_level(config))
    return render_block(node.bank.chain, block, shape, node.block_replies)


def _asked_block(value: Any) -> tuple[Config, BlockShape]:
    config = {"encoding": value} if isinstance(value, str) else struct(value, "RpcBlockConfig")
    return config, BlockShape.asked(config)


@table.method("getBlocks", 1, 3)
def get_blocks(node: Node, params: list[Any]) -> list[int]:
    """Return the slots with a block within a range."""
    first = unsigned(params[0])
    config_at = 1 if isinstance(params[1], dict) else 2
    top = node.bank.chain.slot_at(history_level(struct(params[config_at], "RpcContextConfig")))
    asked = None if config_at == 1 else untagged(lambda: _last_slot(params[1]), "RpcBlocksConfigWrapper")
    last = top if asked is None else min(asked, top)
    if last - first > MAX_BLOCK_RANGE_SLOTS:
        raise invalid_params(f"Slot range too large; max {MAX_BLOCK_RANGE_SLOTS}")
    return node.bank.chain.slots_between(first, last)


def _last_slot(value: Any) -> int | None:
    return None if value is None else unsigned(value)


@table.method("getBlocksWithLimit", 2, 3)
def get_blocks_with_limit(node: Node, params: list[Any]) -> list[int]:
    """Return the first slots with a block from a slot on."""
    first, limit = unsigned(params[0]), unsigned(params[1], "usize")
    if limit > MAX_BLOCK_RANGE_SLOTS:
        raise invalid_params(f"Limit too large; max {MAX_BLOCK_RANGE_SLOTS}")
    top = node.bank.chain.slot_at(history_level(struct(params[2], "RpcContextConfig")))
    return node.bank.chain.slots_between(first, top)[:limit]


@table.method("getFirstAvailableBlock")
def get_first_available_block(node: Node, params: list[Any]) -> int:
    """Return 0: nothing is ever purged."""
    return 0


@table.method("minimumLedgerSlot")
def minimum_ledger_slot(node: Node, params: list[Any]) -> int:
    """Return 0: nothing is ever purged."""
    return 0


@table.method("getRecentPrioritizationFees", 0, 1)
def get_recent_prioritization_fees(node: Node, params: list[Any]) -> list[dict[str, int]]:
    """Return the lowest price that landed in each recent block for the given accounts."""
    wanted = sequence(params[0]) if params[0] is not None else []
    if len(wanted) > MAX_FEE_ACCOUNTS:
        raise invalid_params(f"Too many inputs provided; max {MAX_FEE_ACCOUNTS}")
    keys = {pubkey(value) for value in wanted}
    used = (block for block in node.bank.chain.last_blocks(SEARCHED_FEE_BLOCKS) if block.records)
    return [
        {"prioritizationFee": node.bank.lowest_price(block, keys), "slot": block.slot}
        for block in reversed(list(islice(used, RECENT_FEE_BLOCKS)))
    ]
