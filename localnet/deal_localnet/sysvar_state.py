"""The sysvars as Agave's jsonParsed shows them."""

import struct
from collections.abc import Callable
from typing import Any, Final

from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey

from .addresses import (
    SYSVAR_CLOCK,
    SYSVAR_EPOCH_REWARDS,
    SYSVAR_EPOCH_SCHEDULE,
    SYSVAR_LAST_RESTART_SLOT,
    SYSVAR_OWNER,
    SYSVAR_RECENT_BLOCKHASHES,
    SYSVAR_RENT,
    SYSVAR_SLOT_HASHES,
    SYSVAR_STAKE_HISTORY,
)

Parsed = tuple[str, str, Any]
HASH_BYTES: Final = 32


def parsed_sysvar(key: Pubkey, account: Account) -> Parsed | None:
    """Return a sysvar's fields; None for any other account and for what cannot be read."""
    known = SYSVARS.get(key)
    if known is None or account.owner != SYSVAR_OWNER:
        return None
    name, read = known
    try:
        return "sysvar", name, read(account.data)
    except struct.error:
        return None


def _clock(data: bytes) -> dict[str, Any]:
    slot, epoch_start, epoch, leader_epoch, now = struct.unpack_from("<QqQQq", data)
    return {
        "epoch": epoch,
        "epochStartTimestamp": epoch_start,
        "leaderScheduleEpoch": leader_epoch,
        "slot": slot,
        "unixTimestamp": now,
    }


def _rent(data: bytes) -> dict[str, Any]:
    lamports, threshold, burn = struct.unpack_from("<QdB", data)
    return {"burnPercent": burn, "exemptionThreshold": threshold, "lamportsPerByteYear": str(lamports)}


def _epoch_schedule(data: bytes) -> dict[str, Any]:
    slots, offset, warmup, first_epoch, first_slot = struct.unpack_from("<QQ?QQ", data)
    return {
        "firstNormalEpoch": first_epoch,
        "firstNormalSlot": first_slot,
        "leaderScheduleSlotOffset": offset,
        "slotsPerEpoch": slots,
        "warmup": warmup,
    }


def _slot_hashes(data: bytes) -> list[dict[str, Any]]:
    return [{"hash": _hash(raw), "slot": slot} for slot, raw in _entries(data, "<Q32s")]


def _recent_blockhashes(data: bytes) -> list[dict[str, Any]]:
    return [
        {"blockhash": _hash(raw), "feeCalculator": {"lamportsPerSignature": str(lamports)}}
        for raw, lamports in _entries(data, "<32sQ")
    ]


def _stake_history(data: bytes) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "stakeHistory": {
                "activating": activating,
                "deactivating": deactivating,
                "effective": effective,
            },
        }
        for epoch, effective, activating, deactivating in _entries(data, "<QQQQ")
    ]


def _last_restart_slot(data: bytes) -> dict[str, Any]:
    return {"lastRestartSlot": struct.unpack_from("<Q", data)[0]}


def _epoch_rewards(data: bytes) -> dict[str, Any]:
    height, partitions, parent, points, rewards, distributed, active = struct.unpack_from(
        "<QQ32s16sQQ?", data
    )
    return {
        "active": active,
        "distributedRewards": str(distributed),
        "distributionStartingBlockHeight": height,
        "numPartitions": partitions,
        "parentBlockhash": _hash(parent),
        "totalPoints": str(int.from_bytes(points, "little")),
        "totalRewards": str(rewards),
    }


def _entries(data: bytes, layout: str) -> list[tuple[Any, ...]]:
    (count,) = struct.unpack_from("<Q", data)
    size = struct.calcsize(layout)
    return [struct.unpack_from(layout, data, 8 + index * size) for index in range(count)]


def _hash(raw: bytes) -> str:
    return str(Hash(raw))


SYSVARS: Final[dict[Pubkey, tuple[str, Callable[[bytes], Any]]]] = {
    SYSVAR_CLOCK: ("clock", _clock),
    SYSVAR_EPOCH_REWARDS: ("epochRewards", _epoch_rewards),
    SYSVAR_EPOCH_SCHEDULE: ("epochSchedule", _epoch_schedule),
    SYSVAR_LAST_RESTART_SLOT: ("lastRestartSlot", _last_restart_slot),
    SYSVAR_RECENT_BLOCKHASHES: ("recentBlockhashes", _recent_blockhashes),
    SYSVAR_RENT: ("rent", _rent),
    SYSVAR_SLOT_HASHES: ("slotHashes", _slot_hashes),
    SYSVAR_STAKE_HISTORY: ("stakeHistory", _stake_history),
}
