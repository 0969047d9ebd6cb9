"""Sysvars, read as Agave's jsonParsed shows them."""

from __future__ import annotations

import struct
from typing import Any, Final

import pytest
from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey

from deal_localnet.addresses import (
    SYSTEM_PROGRAM,
    SYSVAR_CLOCK,
    SYSVAR_EPOCH_REWARDS,
    SYSVAR_LAST_RESTART_SLOT,
    SYSVAR_OWNER,
    SYSVAR_RECENT_BLOCKHASHES,
    SYSVAR_SLOT_HASHES,
    SYSVAR_STAKE_HISTORY,
)
from deal_localnet.sysvar_state import parsed_sysvar

HASH: Final = Hash.new_unique()
ONE: Final = struct.pack("<Q", 1)


def sysvar(data: bytes, owner: Pubkey = SYSVAR_OWNER) -> Account:
    return Account(1, data, owner, False, 0)


@pytest.mark.parametrize(
    ("key", "data", "name", "info"),
    [
        (
            SYSVAR_SLOT_HASHES,
            ONE + struct.pack("<Q32s", 7, bytes(HASH)) + bytes(100),
            "slotHashes",
            [{"hash": str(HASH), "slot": 7}],
        ),
        (
            SYSVAR_RECENT_BLOCKHASHES,
            ONE + struct.pack("<32sQ", bytes(HASH), 5_000),
            "recentBlockhashes",
            [{"blockhash": str(HASH), "feeCalculator": {"lamportsPerSignature": "5000"}}],
        ),
        (
            SYSVAR_STAKE_HISTORY,
            ONE + struct.pack("<QQQQ", 3, 10, 2, 1),
            "stakeHistory",
            [{"epoch": 3, "stakeHistory": {"activating": 2, "deactivating": 1, "effective": 10}}],
        ),
        (SYSVAR_LAST_RESTART_SLOT, ONE, "lastRestartSlot", {"lastRestartSlot": 1}),
        (
            SYSVAR_EPOCH_REWARDS,
            struct.pack("<QQ32s16sQQ?", 4, 2, bytes(HASH), (9).to_bytes(16, "little"), 100, 20, True),
            "epochRewards",
            {
                "active": True,
                "distributedRewards": "20",
                "distributionStartingBlockHeight": 4,
                "numPartitions": 2,
                "parentBlockhash": str(HASH),
                "totalPoints": "9",
                "totalRewards": "100",
            },
        ),
    ],
)
def test_a_sysvar_is_read(key: Pubkey, data: bytes, name: str, info: Any) -> None:
    assert parsed_sysvar(key, sysvar(data)) == ("sysvar", name, info)


def test_what_is_no_sysvar_or_ends_too_early_is_not_read() -> None:
    assert parsed_sysvar(SYSVAR_CLOCK, sysvar(b"\1")) is None
    assert parsed_sysvar(SYSVAR_SLOT_HASHES, sysvar(ONE)) is None
    assert parsed_sysvar(SYSVAR_CLOCK, sysvar(bytes(40), SYSTEM_PROGRAM)) is None
    assert parsed_sysvar(Pubkey.new_unique(), sysvar(bytes(40))) is None
