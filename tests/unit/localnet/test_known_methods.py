"""The methods are Agave's: none is missing, and what Agave no longer has is missing here as well."""

from typing import Final

import pytest

from deal_localnet.dispatch import METHODS
from deal_localnet.pubsub_session import SUBSCRIBES
from tests.unit.localnet.support import Driver, Refused

AGAVES_METHODS: Final = [
    "getAccountInfo",
    "getBalance",
    "getBlock",
    "getBlockCommitment",
    "getBlockHeight",
    "getBlockProduction",
    "getBlockTime",
    "getBlocks",
    "getBlocksWithLimit",
    "getClusterNodes",
    "getEpochInfo",
    "getEpochSchedule",
    "getFeeForMessage",
    "getFirstAvailableBlock",
    "getGenesisHash",
    "getHealth",
    "getHighestSnapshotSlot",
    "getIdentity",
    "getInflationGovernor",
    "getInflationRate",
    "getInflationReward",
    "getLargestAccounts",
    "getLatestBlockhash",
    "getLeaderSchedule",
    "getMaxRetransmitSlot",
    "getMaxShredInsertSlot",
    "getMinimumBalanceForRentExemption",
    "getMultipleAccounts",
    "getProgramAccounts",
    "getRecentPerformanceSamples",
    "getRecentPrioritizationFees",
    "getSignatureStatuses",
    "getSignaturesForAddress",
    "getSlot",
    "getSlotLeader",
    "getSlotLeaders",
    "getStakeMinimumDelegation",
    "getSupply",
    "getTokenAccountBalance",
    "getTokenAccountsByDelegate",
    "getTokenAccountsByOwner",
    "getTokenLargestAccounts",
    "getTokenSupply",
    "getTransaction",
    "getTransactionCount",
    "getVersion",
    "getVoteAccounts",
    "isBlockhashValid",
    "minimumLedgerSlot",
    "requestAirdrop",
    "sendTransaction",
    "simulateTransaction",
]
"""As https://solana.com/docs/rpc/http lists them."""

AGAVES_SUBSCRIPTIONS: Final = [
    "account",
    "block",
    "logs",
    "program",
    "root",
    "signature",
    "slot",
    "slotsUpdates",
    "vote",
]
"""As https://solana.com/docs/rpc/websocket lists them."""

REMOVED_METHODS: Final = [
    "confirmTransaction",
    "getConfirmedBlock",
    "getConfirmedBlocks",
    "getConfirmedSignaturesForAddress2",
    "getConfirmedTransaction",
    "getFeeCalculatorForBlockhash",
    "getFeeRateGovernor",
    "getFees",
    "getRecentBlockhash",
    "getSnapshotSlot",
    "getStakeActivation",
    "validatorExit",
]


def test_no_method_is_missing() -> None:
    assert set(AGAVES_METHODS) - set(METHODS) == set()
    assert {f"{topic}Subscribe" for topic in AGAVES_SUBSCRIPTIONS} == set(SUBSCRIBES)


@pytest.mark.parametrize("method", REMOVED_METHODS)
async def test_what_agave_removed_is_not_found(driver: Driver, method: str) -> None:
    with pytest.raises(Refused) as refused:
        await driver.call(method)
    assert (refused.value.code, refused.value.message) == (-32601, "Method not found")
