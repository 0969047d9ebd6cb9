"""Methods about a cluster: an embedded chain answers them as a cluster of one node that never votes."""

from typing import Any, Final

from .bank import EPOCH_SLOTS
from .params import struct
from .registry import MethodTable, Node, chosen_block, with_context
from .version import API_VERSION, FEATURE_SET

STAKE_MINIMUM_LAMPORTS: Final = 1_000_000_000

table: Final = MethodTable()


@table.method("getClusterNodes")
def get_cluster_nodes(node: Node, params: list[Any]) -> list[dict[str, Any]]:
    """Return the only node; it takes transactions by RPC alone, so it names no other ports."""
    ports = ("gossip", "pubsub", "rpc", "serveRepair", "tpu", "tpuForwards", "tpuForwardsQuic", "tpuQuic")
    return [
        {
            **dict.fromkeys((*ports, "tpuVote", "tvu")),
            "featureSet": FEATURE_SET,
            "pubkey": node.identity,
            "shredVersion": 0,
            "version": API_VERSION,
        }
    ]


@table.method("getVoteAccounts", 0, 1)
def get_vote_accounts(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return no voters."""
    return {"current": [], "delinquent": []}


@table.method("getLeaderSchedule", 0, 2)
def get_leader_schedule(node: Node, params: list[Any]) -> dict[str, list[int]]:
    """Return the only node as the leader of every slot."""
    return {node.identity: list(range(EPOCH_SLOTS))}


@table.method("getBlockProduction", 0, 1)
def get_block_production(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return how many slots had a block."""
    block, _ = chosen_block(node, struct(params[0], "RpcBlockProductionConfig"))
    produced = {node.identity: [block.slot + 1, block.height + 1]}
    slots = {"firstSlot": 0, "lastSlot": block.slot}
    return with_context(block.slot, {"byIdentity": produced, "range": slots})


@table.method("getStakeMinimumDelegation", 0, 1)
def get_stake_minimum_delegation(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return Solana's minimum, although nobody stakes here."""
    block, _ = chosen_block(node, struct(params[0], "RpcContextConfig"))
    return with_context(block.slot, STAKE_MINIMUM_LAMPORTS)


@table.method("getInflationGovernor", 0, 1)
def get_inflation_governor(node: Node, params: list[Any]) -> dict[str, float]:
    """Return the inflation that Solana began with."""
    return {"foundation": 0.05, "foundationTerm": 7.0, "initial": 0.08, "taper": 0.15, "terminal": 0.015}


@table.method("getInflationRate")
def get_inflation_rate(node: Node, params: list[Any]) -> dict[str, float]:
    """Return the first epoch's inflation."""
    return {"epoch": 0, "foundation": 0.004, "total": 0.08, "validator": 0.076}


@table.method("getSupply", 0, 1)
def get_supply(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return the faucet's first lamports as the supply, for nothing else mints any."""
    block, _ = chosen_block(node, struct(params[0], "RpcSupplyConfig"))
    supply = node.faucet.initial_lamports
    return with_context(
        block.slot,
        {"circulating": supply, "nonCirculating": 0, "nonCirculatingAccounts": [], "total": supply},
    )


@table.method("getHighestSnapshotSlot")
def get_highest_snapshot_slot(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return the start of the chain, the only state to begin from."""
    return {"full": 0, "incremental": None}


@table.method("getMaxRetransmitSlot")
def get_max_retransmit_slot(node: Node, params: list[Any]) -> int:
    """Return 0: nothing is retransmitted."""
    return 0


@table.method("getMaxShredInsertSlot")
def get_max_shred_insert_slot(node: Node, params: list[Any]) -> int:
    """Return 0: there are no shreds."""
    return 0


@table.method("getRecentPerformanceSamples", 0, 1)
def get_recent_performance_samples(node: Node, params: list[Any]) -> list[dict[str, Any]]:
    """Return no samples: this chain keeps none."""
    return []
