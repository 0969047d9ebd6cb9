"""Cases of the methods about slots, blocks, epochs and the node."""

from __future__ import annotations

from typing import Any, Final

from .cases import Case, group
from .cases_accounts import NOT_BASE58

FULL: Final = {"maxSupportedTransactionVersion": 0}
VERSIONED: Final = "$slot.versioned_with_table"


def block(**config: Any) -> list[Any]:
    return ["$slot.transfer", {**FULL, "rewards": False, **config}]


def of_slot_config(method: str) -> tuple[Case, ...]:
    """Return the cases of a method that takes a commitment and a context slot alone."""
    return group(
        method,
        {
            "no params": None,
            "empty params": [],
            "null config": [None],
            "processed": [{"commitment": "processed"}],
            "confirmed": [{"commitment": "confirmed"}],
            "min context slot not reached": [{"minContextSlot": 4_000_000_000}],
            "config a text": ["confirmed"],
            "too many params": [None, None],
        },
    )


def without_params(method: str) -> tuple[Case, ...]:
    """Return the cases of a method that takes nothing."""
    return group(method, {"no params": None, "empty params": []})


CHAIN_CASES: Final[tuple[Case, ...]] = (
    *without_params("getHealth"),
    *without_params("getVersion"),
    *without_params("getGenesisHash"),
    *without_params("getIdentity"),
    *without_params("getEpochSchedule"),
    *without_params("getFirstAvailableBlock"),
    *without_params("minimumLedgerSlot"),
    *without_params("getInflationRate"),
    *without_params("getMaxRetransmitSlot"),
    *without_params("getMaxShredInsertSlot"),
    *group("getHighestSnapshotSlot", {"params": [1]}),
    *group(
        "getVersion",
        {
            "params": [1, "two", None, True, [3], {"four": 5.5}],
            "params by name": {"a": 1},
            "null in params": [None],
        },
    ),
    *of_slot_config("getSlot"),
    *of_slot_config("getBlockHeight"),
    *of_slot_config("getTransactionCount"),
    *of_slot_config("getEpochInfo"),
    *of_slot_config("getLatestBlockhash"),
    *of_slot_config("getSlotLeader"),
    *group(
        "isBlockhashValid",
        {
            "unknown": ["$genesis_of_nothing"],
            "unknown, processed": ["$genesis_of_nothing", {"commitment": "processed"}],
            "not base58": [NOT_BASE58],
            "too short": ["abc"],
            "a number": [1],
            "no params": [],
            "min context slot not reached": ["$genesis_of_nothing", {"minContextSlot": 4_000_000_000}],
        },
    ),
    *group(
        "getBlockTime",
        {
            "slot": ["$slot.transfer"],
            "genesis": [0],
            "future": [4_000_000_000],
            "negative": [-1],
            "a text": ["1"],
            "no params": [],
            "too many params": [1, 2],
        },
    ),
    *group(
        "getBlock",
        {
            "json": block(),
            "parsed": block(encoding="jsonParsed"),
            "base64": block(encoding="base64"),
            "base58": block(encoding="base58"),
            "binary": block(encoding="binary"),
            "signatures": block(transactionDetails="signatures"),
            "accounts": block(transactionDetails="accounts"),
            "none": block(transactionDetails="none"),
            "rewards": block(transactionDetails="none", rewards=True),
            "confirmed": block(transactionDetails="none", commitment="confirmed"),
            "encoding alone": ["$slot.landed", "base64"],
            "version not named": [
                "$slot.landed",
                {"transactionDetails": "accounts", "rewards": False},
            ],
            "versioned": [VERSIONED, {"encoding": "jsonParsed", "rewards": False, **FULL}],
            "versioned, accounts": [
                VERSIONED,
                {"transactionDetails": "accounts", "rewards": False, **FULL},
            ],
            "versioned, not supported": [VERSIONED],
            "versioned, signatures": [VERSIONED, {"transactionDetails": "signatures", "rewards": False}],
            "processed": block(commitment="processed"),
            "future": [4_000_000_000],
            "unknown encoding": block(encoding="hex"),
            "unknown details": block(transactionDetails="some"),
            "details a number": block(transactionDetails=1),
            "rewards a text": block(rewards="yes"),
            "version a text": ["$slot.transfer", {"maxSupportedTransactionVersion": "0"}],
            "version too large": ["$slot.transfer", {"maxSupportedTransactionVersion": 256}],
            "version negative": ["$slot.transfer", {"maxSupportedTransactionVersion": -1}],
            "slot a text": ["1"],
            "slot negative": [-1],
            "config a number": ["$slot.transfer", 5],
            "config an unknown text": ["$slot.transfer", "hex"],
            "no params": [],
        },
        pick="of the scenario",
    ),
    *group(
        "getBlocks",
        {
            "one": ["$slot.transfer", "$slot.transfer"],
            "one, confirmed": ["$slot.transfer", "$slot.transfer", {"commitment": "confirmed"}],
            "backwards": ["$slot.transfer", 1],
            "future": [4_000_000_000],
            "future range": [4_000_000_000, 4_000_000_100],
            "processed": [0, 1, {"commitment": "processed"}],
            "a text": ["1"],
            "negative": [-1],
            "end a text": [0, "1"],
            "no params": [],
        },
    ),
    *group(
        "getBlocksWithLimit",
        {
            "one": ["$slot.transfer", 1],
            "none": ["$slot.transfer", 0],
            "future": [4_000_000_000, 3],
            "too large": [0, 500_001],
            "processed": [0, 1, {"commitment": "processed"}],
            "limit missing": [0],
            "limit a text": [0, "1"],
        },
    ),
    *group(
        "getRecentPrioritizationFees",
        {
            "of an account": [["$priced"]],
            "of two": [["$priced", "$alice_tokens"]],
            "one bad": [["abc"]],
            "129": [["$nobody"] * 129],
            "a text": ["$alice"],
            "too many params": [[], []],
        },
        pick="with a price",
    ),
    *group(
        "getRecentPrioritizationFees",
        {"of a stranger": [["$nobody"]], "of none": [[]], "no params": None, "null": [None]},
        pick="newest",
    ),
    *group("getStakeMinimumDelegation", {"no params": None, "confirmed": [{"commitment": "confirmed"}]}),
    *group("getInflationGovernor", {"no params": None, "confirmed": [{"commitment": "confirmed"}]}),
    *group("getRecentPerformanceSamples", {"limit too large": [721], "a text": ["5"], "limit zero": [0]}),
    *group(
        "getBlockProduction",
        {"processed": [{"commitment": "processed"}], "config a text": ["processed"]},
    ),
    *group(
        "getLeaderSchedule", {"far epoch": [4_000_000_000_000], "bad identity": [None, {"identity": "abc"}]}
    ),
    *group("getVoteAccounts", {"of a stranger": [{"votePubkey": "$nobody"}], "config a text": ["x"]}),
    *group("getSupply", {"without the list": [{"excludeNonCirculatingAccountsList": True}]}),
    *group("getClusterNodes", {"params": [1]}),
    *group(
        "getSlotLeaders",
        {
            "two": ["$slot.transfer", 2],
            "none": ["$slot.transfer", 0],
            "too many": ["$slot.transfer", 5_001],
            "slot a text": ["1", 2],
            "limit missing": [1],
            "limit negative": [1, -1],
            "no params": [],
        },
    ),
    *group("getBlockCommitment", {"a text": ["1"], "negative": [-1], "no params": [], "two": [1, 2]}),
    *group(
        "getInflationReward",
        {
            "bad address": [["abc"]],
            "not a list": ["$alice"],
            "future epoch": [["$alice"], {"epoch": 9}],
            "no params": [],
        },
    ),
    *group(
        "getLargestAccounts",
        {"unknown filter": [{"filter": "rich"}], "filter a number": [{"filter": 1}], "a text": ["x"]},
    ),
    *group(
        "noSuchMethod",
        {"no params": None, "params": [1, 2], "params by name": {"a": 1}},
    ),
    *group("getConfirmedTransaction", {"removed": ["$sig.transfer"]}),
    *group("getRecentBlockhash", {"removed": None}),
    *group("getFees", {"removed": None}),
)
