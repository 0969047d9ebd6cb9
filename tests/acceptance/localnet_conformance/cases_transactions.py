"""Cases of the methods that look transactions up."""

from __future__ import annotations

from typing import Any, Final

from .building import STEPS
from .cases import Case, group
from .cases_accounts import NOT_BASE58

FULL: Final = {"maxSupportedTransactionVersion": 0}
PARSED: Final = {"encoding": "jsonParsed", **FULL}
# Programs invoke others here, which takes other compute units; once is enough to see that.
ASKED: Final = tuple(one for one in STEPS if one.name != "create_frozen_table")
INVOKING: Final = {"create_table", "open_accounts", "open_new_accounts", "require_memos", "wrap"}
BY_INDEX: Final = {"encoding": "json", **FULL}
# A signature of a transaction that no chain has seen.
UNKNOWN: Final = "5" * 87


def found(name: str, **config: Any) -> list[Any]:
    return [f"$sig.{name}", {**FULL, **config}]


TRANSACTION_CASES: Final[tuple[Case, ...]] = (
    *group("getTransaction", {f"{one.name} parsed": [f"$sig.{one.name}", PARSED] for one in ASKED}),
    *group(
        "getTransaction",
        {f"{one.name} by index": [f"$sig.{one.name}", BY_INDEX] for one in ASKED if one.name not in INVOKING},
    ),
    *group(
        "getTransaction",
        {
            "no config": ["$sig.transfer"],
            "base64": found("transfer", encoding="base64"),
            "base58": found("transfer", encoding="base58"),
            "binary": found("transfer", encoding="binary"),
            "versioned in base64": found("versioned_with_table", encoding="base64"),
            "airdrop": found("airdrop_alice", encoding="jsonParsed"),
            "confirmed": found("transfer", commitment="confirmed"),
            "encoding alone": ["$sig.transfer", "jsonParsed"],
            "encoding alone, base64": ["$sig.transfer", "base64"],
            "unknown encoding alone": ["$sig.transfer", "hex"],
            "unknown encoding": found("transfer", encoding="hex"),
            "zstd": found("transfer", encoding="base64+zstd"),
            "versioned, not supported": ["$sig.versioned"],
            "versioned, not supported when parsed": ["$sig.versioned", {"encoding": "jsonParsed"}],
            "versioned with table, not supported": ["$sig.versioned_with_table", "base64"],
            "higher version": ["$sig.versioned", {"maxSupportedTransactionVersion": 1}],
            "version a text": ["$sig.transfer", {"maxSupportedTransactionVersion": "0"}],
            "version too large": ["$sig.transfer", {"maxSupportedTransactionVersion": 256}],
            "version null": ["$sig.transfer", {"maxSupportedTransactionVersion": None}],
            "processed": ["$sig.transfer", {"commitment": "processed"}],
            "unknown": [UNKNOWN],
            "not base58": [NOT_BASE58],
            "too short": ["$alice"],
            "a number": [5],
            "null": [None],
            "config a number": ["$sig.transfer", 5],
            "config a list": ["$sig.transfer", []],
            "no params": [],
            "too many params": ["$sig.transfer", {}, 1],
        },
    ),
    *group(
        "getTransaction",
        {
            "not final yet": found("landed"),
            "confirmed, not final yet": found("landed", commitment="confirmed"),
        },
        fresh=True,
    ),
    *group(
        "getSignatureStatuses",
        {
            "some": [["$sig.transfer", UNKNOWN, "$sig.failed_transfer"]],
            "fee only": [["$sig.failed_no_program", "$sig.failed_data_size"]],
            "searched": [["$sig.transfer", UNKNOWN], {"searchTransactionHistory": True}],
            "not searched": [["$sig.transfer"], {"searchTransactionHistory": False}],
            "none": [[]],
            "256": [[UNKNOWN] * 256],
            "257": [[UNKNOWN] * 257],
            "one bad": [["$sig.transfer", "abc"]],
            "one not base58": [[NOT_BASE58]],
            "one a number": [[5]],
            "not a list": [UNKNOWN],
            "search a text": [["$sig.transfer"], {"searchTransactionHistory": "yes"}],
            "search missing": [["$sig.transfer"], {}],
            "config a text": [["$sig.transfer"], "yes"],
            "no params": [],
        },
    ),
    *group("getSignatureStatuses", {"not final yet": [["$sig.landed"]]}, fresh=True),
    *group(
        "getSignaturesForAddress",
        {
            "mint": ["$mint"],
            "payer": ["$erin"],
            "tokens": ["$bob_tokens"],
            "lookup table": ["$table"],
            "loaded by table": ["$nonce"],
            "unknown": ["$nobody"],
            "two": ["$erin", {"limit": 2}],
            "before": ["$erin", {"before": "$sig.failed_second", "limit": 3}],
            "until": ["$erin", {"until": "$sig.failed_overdraft"}],
            "between": ["$erin", {"before": "$sig.memos", "until": "$sig.create_nonce"}],
            "before the first": ["$mint", {"before": "$sig.create_mint"}],
            "until itself": ["$mint", {"before": "$sig.transfer", "until": "$sig.transfer"}],
            "before one of another address": ["$mint", {"before": "$sig.landed", "limit": 1}],
            "before unknown": ["$mint", {"before": UNKNOWN}],
            "until unknown": ["$points", {"until": UNKNOWN}],
            "confirmed": ["$points", {"commitment": "confirmed"}],
            "processed": ["$mint", {"commitment": "processed"}],
            "limit zero": ["$mint", {"limit": 0}],
            "limit 1001": ["$mint", {"limit": 1_001}],
            "limit 1000": ["$points", {"limit": 1_000}],
            "limit negative": ["$mint", {"limit": -1}],
            "limit a text": ["$mint", {"limit": "1"}],
            "before not base58": ["$mint", {"before": NOT_BASE58}],
            "before too short": ["$mint", {"before": "abc"}],
            "before a number": ["$mint", {"before": 5}],
            "before null": ["$points", {"before": None, "until": None, "limit": None}],
            "min context slot reached": ["$points", {"minContextSlot": 1}],
            "min context slot not reached": ["$points", {"minContextSlot": 4_000_000_000}],
            "bad address": ["abc"],
            "no params": [],
            "config a text": ["$mint", "confirmed"],
        },
    ),
    *group(
        "getSignaturesForAddress",
        {
            "not final yet": ["$late"],
            "confirmed, not final yet": ["$late", {"commitment": "confirmed"}],
        },
        fresh=True,
    ),
)
