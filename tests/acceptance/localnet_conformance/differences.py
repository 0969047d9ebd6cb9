"""What may differ between the embedded validator and Agave's: every field by name, with its reason.

Nothing else may. A moving field still has to have the same type on both sides; a difference is of one field
in one case, and one that is no longer there fails the suite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOVING_FIELDS: Final = {
    "absoluteSlot": "the slot at the moment of asking",
    "blockHeight": "the height at the moment of asking",
    "blockTime": "the time at which a block was made",
    "blockhash": "a hash of the chain's own history",
    "bumpSeed": "found for an address that is derived from a slot",
    "confirmations": "how many blocks came since",
    "contextSlot": "the slot at the moment of asking",
    "deactivationSlot": "the slot of a transaction",
    "epochStartTimestamp": "the time at which the chain began",
    "hash": "a hash of the chain's own history",
    "lastExtendedSlot": "the slot of a transaction",
    "lastValidBlockHeight": "follows the height",
    "parent": "the slot at the moment of asking",
    "parentSlot": "the slot of a block's parent",
    "previousBlockhash": "a hash of the chain's own history",
    "recentBlockhash": "the blockhash that a transaction was signed with",
    "recentSlot": "the slot that a lookup table is derived from",
    "root": "the slot at the moment of asking",
    "slot": "the slot of a transaction, or at the moment of asking",
    "slotIndex": "the slot at the moment of asking",
    "subscription": "a number that the server hands out",
    "transactionCount": "counts the votes of Agave's validator as well",
    "unixTimestamp": "the time at the moment of asking",
}
"""Fields whose values come from when a chain was asked; their types must agree."""

MOVING_RESULTS: Final = {
    "accountSubscribe": "a number that the server hands out",
    "getBlockHeight": "the height at the moment of asking",
    "getBlockTime": "the time at which a block was made",
    "getBlocks": "the slots of a chain",
    "getBlocksWithLimit": "the slots of a chain",
    "getSlot": "the slot at the moment of asking",
    "getTransactionCount": "counts the votes of Agave's validator as well",
    "logsSubscribe": "a number that the server hands out",
    "programSubscribe": "a number that the server hands out",
    "rootSubscribe": "a number that the server hands out, and the slot at the moment of telling",
    "signatureSubscribe": "a number that the server hands out",
    "slotSubscribe": "a number that the server hands out",
}
"""Methods whose whole result is such a number, or a list of them."""

OWN_NAMES: Final = {
    "faucet": "the account that airdrops come from",
    "frozen_table": "derived from a slot",
    "genesis": "the hash that names a chain",
    "identity": "the node's own key",
    "message": "holds a blockhash",
    "sig": "signs a blockhash",
    "table": "derived from a slot",
    "wire": "holds a signature and a blockhash",
    "wire58": "holds a signature and a blockhash",
}
"""What each chain calls by a text of its own; the scenario's names stand in its place when compared."""

LISTS: Final = {
    "by address": "the order of a list of accounts is not defined",
    "newest": "a list of recent blocks is as long as the chain's history",
    "of the scenario": "a block of Agave's validator also holds its votes and what other tests sent",
    "with a price": "the lists reach back to blocks that no transaction of the scenario is in",
}
"""What a list of a reply is compared by."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Names a field of one case that may differ, and why.

    A path that ends in `[*]` is that of a list of texts, which may differ in their figures alone.
    """

    case: str
    path: str
    reason: str


OTHER_BUILDS: Final = (
    "LiteSVM has earlier builds of Token-2022, the associated token program and the lookup table program, "
    "whose compute units, logs and latest instructions are others. The comparison loads the validator's "
    "builds into the embedded one, as `--bpf-program` does for you."
)
"""What is evened out before the comparison."""

NOT_COMPARED: Final = (
    "`blockSubscribe` and `voteSubscribe` are not compared: solana-test-validator does not offer them by "
    "default, and `voteSubscribe` is silent here. `slotsUpdatesSubscribe` tells of a validator's inner steps."
)
"""What is left out of the comparison."""

INVOCATION: Final = "a program that invokes another pays a little more for it in LiteSVM"
REWARDS: Final = "fees are burnt here; there they reward the leader, those of votes included"
VOTES: Final = "a chain without votes and rewards begins with another supply"

UNITS: Final = ("result.meta.computeUnitsConsumed", "result.meta.costUnits", "result.meta.logMessages[*]")
INVOKING: Final = ("create_table", "open_accounts", "open_new_accounts", "require_memos", "wrap")
PRODUCED: Final = (
    "result.value.byIdentity.<identity>[0]",
    "result.value.byIdentity.<identity>[1]",
    "result.value.range.lastSlot",
)

DIFFERENCES: Final[tuple[Difference, ...]] = (
    *(Difference(f"getTransaction: {step} parsed", path, INVOCATION) for step in INVOKING for path in UNITS),
    Difference("simulateTransaction: ok_inner, inner", "result.value.logs[*]", INVOCATION),
    Difference("simulateTransaction: ok_inner, inner", "result.value.unitsConsumed", INVOCATION),
    Difference("getBlock: encoding alone", "result.rewards", REWARDS),
    Difference("getBlock: rewards", "result.rewards", REWARDS),
    *(Difference("getBlockProduction: processed", path, "counts slots") for path in PRODUCED),
    Difference("getSupply: without the list", "result.value.circulating", VOTES),
    Difference("getSupply: without the list", "result.value.total", VOTES),
    Difference("getTransaction: airdrop", "result.meta.postBalances[0]", "the faucets are not equally rich"),
    Difference("getTransaction: airdrop", "result.meta.preBalances[0]", "the faucets are not equally rich"),
    Difference("http: health", "type", "aiohttp sends no reply without a type"),
    Difference("http: post to health", "type", "aiohttp sends no reply without a type"),
    Difference(
        "signatureSubscribe: received",
        "heard",
        "a validator that leads every slot never tells that a transaction was received",
    ),
)
