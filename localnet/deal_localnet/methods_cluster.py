"""Methods about a cluster: an embedded chain answers them as a cluster of one node that never votes."""

from typing import Any, Final

from .errors import RpcError, invalid_params, no_snapshot
from .params import Config, optional_unsigned, pubkey, struct, unsigned
from .performance import MAX_SAMPLES, samples
from .registry import MethodTable, Node, chosen_block, with_context
from .slots import Block, Commitment
from .version import API_VERSION, FEATURE_SET

STAKE_MINIMUM_LAMPORTS: Final = 1_000_000_000
MAX_SLOT_LEADERS: Final = 5_000

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
    config = struct(params[0], "RpcGetVoteAccountsConfig")
    if config.get("votePubkey") is not None:
        pubkey(config["votePubkey"])
    return {"current": [], "delinquent": []}


@table.method("getBlockCommitment", 1, 1)
def get_block_commitment(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return that no stake voted for a block, for there is none."""
    unsigned(params[0])
    return {"commitment": None, "totalStake": 0}


@table.method("getSlotLeaders", 2, 2)
def get_slot_leaders(node: Node, params: list[Any]) -> list[str]:
    """Return the leaders of the slots from one on, as far as their epochs have a schedule."""
    first, limit = unsigned(params[0]), unsigned(params[1])
    if limit > MAX_SLOT_LEADERS:
        raise invalid_params(f"Invalid limit; max {MAX_SLOT_LEADERS}")
    _check_scheduled(node, first, limit)
    return [node.identity] * limit


def _last_scheduled_epoch(node: Node) -> int:
    # Solana draws up the next epoch's schedule while an epoch runs.
    return node.bank.chain.slot_at(Commitment.FINALIZED) // node.bank.slots_per_epoch + 1


def _check_scheduled(node: Node, first: int, count: int) -> None:
    unknown = max(_last_scheduled_epoch(node) + 1, first // node.bank.slots_per_epoch)
    if count and first + count > unknown * node.bank.slots_per_epoch:
        raise invalid_params(f"Invalid slot range: leader schedule for epoch {unknown} is unavailable")


@table.method("getLeaderSchedule", 0, 2)
def get_leader_schedule(node: Node, params: list[Any]) -> dict[str, list[int]] | None:
    """Return the only node as the leader of every slot; None for an epoch without a schedule yet."""
    slot, config = _schedule_question(params)
    wanted = config.get("identity")
    if wanted is not None:
        pubkey(wanted)
    asked = chosen_block(node, config)[0].slot if slot is None else slot
    if asked // node.bank.slots_per_epoch > _last_scheduled_epoch(node):
        return None
    return {node.identity: list(range(node.bank.slots_per_epoch))} if wanted in (None, node.identity) else {}


def _schedule_question(params: list[Any]) -> tuple[int | None, Config]:
    """Read a slot and a configuration, where either may be left out."""
    first = params[0]
    if isinstance(first, dict):
        return None, first
    if first is None:
        return None, struct(params[1], "RpcLeaderScheduleConfig")
    try:
        return unsigned(first), struct(params[1], "RpcLeaderScheduleConfig")
    except RpcError:
        raise invalid_params(
            "Invalid params: data did not match any variant of untagged enum RpcLeaderScheduleConfigWrapper."
        ) from None


@table.method("getBlockProduction", 0, 1)
def get_block_production(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return how many slots of a range had a block; the others were rolled back."""
    config = struct(params[0], "RpcBlockProductionConfig")
    block, _ = chosen_block(node, config)
    wanted = config.get("identity")
    if wanted is not None:
        pubkey(wanted)
    first, last = _production_range(config, block, node.bank.slots_per_epoch)
    slots = last - first + 1
    produced = {node.identity: [slots, len(node.bank.chain.slots_between(first, last))]}
    return with_context(
        block.slot,
        {
            "byIdentity": produced if wanted in (None, node.identity) else {},
            "range": {"firstSlot": first, "lastSlot": last},
        },
    )


def _production_range(config: Config, block: Block, slots_per_epoch: int) -> tuple[int, int]:
    if config.get("range") is None:
        return block.slot // slots_per_epoch * slots_per_epoch, block.slot
    wanted = struct(config["range"], "RpcBlockProductionConfigRange")
    if "firstSlot" not in wanted:
        raise invalid_params("Invalid params: missing field `firstSlot`.")
    first = unsigned(wanted["firstSlot"])
    asked = optional_unsigned(wanted, "lastSlot")
    last = block.slot if asked is None else asked
    if last < first:
        raise invalid_params(f"lastSlot, {last}, cannot be less than firstSlot, {first}")
    if last > block.slot:
        raise invalid_params(f"lastSlot, {last}, is too large; max {block.slot}")
    return first, last


@table.method("getStakeMinimumDelegation", 0, 1)
def get_stake_minimum_delegation(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return Solana's minimum, although nobody stakes here."""
    block, _ = chosen_block(node, struct(params[0], "RpcContextConfig"))
    return with_context(block.slot, STAKE_MINIMUM_LAMPORTS)


@table.method("getHighestSnapshotSlot")
def get_highest_snapshot_slot(node: Node, params: list[Any]) -> dict[str, Any]:
    """Refuse: nobody can catch up with this chain from a snapshot."""
    raise no_snapshot()


@table.method("getMaxRetransmitSlot")
def get_max_retransmit_slot(node: Node, params: list[Any]) -> int:
    """Return 0: nothing is retransmitted."""
    return 0


@table.method("getMaxShredInsertSlot")
def get_max_shred_insert_slot(node: Node, params: list[Any]) -> int:
    """Return 0: there are no shreds."""
    return 0


@table.method("getRecentPerformanceSamples", 0, 1)
def get_recent_performance_samples(node: Node, params: list[Any]) -> list[dict[str, int]]:
    """Return how many slots and transactions each of the last minutes had, newest first."""
    limit = MAX_SAMPLES if params[0] is None else unsigned(params[0], "usize")
    if limit > MAX_SAMPLES:
        raise invalid_params(f"Invalid limit; max {MAX_SAMPLES}")
    return [sample.as_object() for sample in samples(node.bank.chain, limit)]
