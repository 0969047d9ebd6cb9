"""Clock, rent and epoch schedule as Agave's jsonParsed shows them."""

import struct
from typing import Any, Final

from solders.account import Account

from .addresses import SYSVAR_OWNER

CLOCK_BYTES: Final = 40
RENT_BYTES: Final = 17
EPOCH_SCHEDULE_BYTES: Final = 33

Parsed = tuple[str, str, dict[str, Any]]


def parsed_sysvar(account: Account) -> Parsed | None:
    """Return a sysvar's fields; its size tells which one it is. None for any other account."""
    if account.owner != SYSVAR_OWNER:
        return None
    data = account.data
    if len(data) == CLOCK_BYTES:
        return "sysvar", "clock", _clock(data)
    if len(data) == RENT_BYTES:
        return "sysvar", "rent", _rent(data)
    if len(data) == EPOCH_SCHEDULE_BYTES:
        return "sysvar", "epochSchedule", _epoch_schedule(data)
    return None


def _clock(data: bytes) -> dict[str, Any]:
    slot, epoch_start, epoch, leader_epoch, now = struct.unpack("<QqQQq", data)
    return {
        "epoch": epoch,
        "epochStartTimestamp": epoch_start,
        "leaderScheduleEpoch": leader_epoch,
        "slot": slot,
        "unixTimestamp": now,
    }


def _rent(data: bytes) -> dict[str, Any]:
    lamports, threshold, burn = struct.unpack("<QdB", data)
    return {"burnPercent": burn, "exemptionThreshold": threshold, "lamportsPerByteYear": str(lamports)}


def _epoch_schedule(data: bytes) -> dict[str, Any]:
    slots, offset, warmup, first_epoch, first_slot = struct.unpack("<QQ?QQ", data)
    return {
        "firstNormalEpoch": first_epoch,
        "firstNormalSlot": first_slot,
        "leaderScheduleSlotOffset": offset,
        "slotsPerEpoch": slots,
        "warmup": warmup,
    }
