from typing import Any

import pytest
from solders.keypair import Keypair

from deal_localnet import Localnet, LocalnetConfig
from tests.unit.localnet.support import CONFIRMED, FINALIZED, PROCESSED, SOL, Driver, Refused

EPOCH_SLOTS = 432_000
NOBODY = str(Keypair().pubkey())


async def test_the_leaders_of_the_next_slots_are_the_node(driver: Driver) -> None:
    identity = (await driver.call("getIdentity"))["identity"]
    assert await driver.call("getSlotLeaders", 5, 3) == [identity] * 3
    assert await driver.call("getSlotLeaders", 5, 0) == []
    assert await driver.call("getSlotLeaders", 2 * EPOCH_SLOTS - 2, 2) == [identity] * 2


@pytest.mark.parametrize(
    ("first", "limit", "reason"),
    [
        (0, 5_001, "Invalid limit; max 5000"),
        (
            2 * EPOCH_SLOTS - 1,
            2,
            "Invalid slot range: leader schedule for epoch 2 is unavailable",
        ),
        (7 * EPOCH_SLOTS, 1, "Invalid slot range: leader schedule for epoch 7 is unavailable"),
    ],
)
async def test_leaders_that_nobody_knows_are_refused(
    driver: Driver, first: int, limit: int, reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        await driver.call("getSlotLeaders", first, limit)


async def test_the_schedule_names_the_node_for_every_slot(driver: Driver) -> None:
    identity = (await driver.call("getIdentity"))["identity"]
    schedule = await driver.call("getLeaderSchedule")
    assert list(schedule) == [identity]
    assert len(schedule[identity]) == EPOCH_SLOTS
    assert await driver.call("getLeaderSchedule", None, {"identity": NOBODY}) == {}
    assert list(await driver.call("getLeaderSchedule", {"identity": identity})) == [identity]
    assert await driver.call("getLeaderSchedule", 2 * EPOCH_SLOTS) is None
    with pytest.raises(Refused, match="RpcLeaderScheduleConfigWrapper"):
        await driver.call("getLeaderSchedule", "next")


async def test_production_counts_the_slots_that_were_rolled_back_as_missed(driver: Driver) -> None:
    identity = (await driver.call("getIdentity"))["identity"]
    start = driver.advance(4)
    driver.localnet.rollback(start - 3)
    driver.advance(40)
    top = await driver.call("getSlot", CONFIRMED)
    config = {**CONFIRMED, "range": {"firstSlot": start - 3}}
    produced = await driver.value("getBlockProduction", config)
    assert produced == {
        "byIdentity": {identity: [top - start + 4, top - start + 1]},
        "range": {"firstSlot": start - 3, "lastSlot": top},
    }
    whole = await driver.value("getBlockProduction", {"identity": NOBODY})
    assert whole["byIdentity"] == {}
    assert whole["range"] == {"firstSlot": 0, "lastSlot": await driver.call("getSlot")}


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"firstSlot": 2, "lastSlot": 1}, "lastSlot, 1, cannot be less than firstSlot, 2"),
        ({"firstSlot": 0, "lastSlot": 10**9}, "lastSlot, 1000000000, is too large"),
        ({"lastSlot": 1}, "missing field `firstSlot`"),
    ],
)
async def test_impossible_ranges_are_refused(driver: Driver, wanted: dict[str, int], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        await driver.call("getBlockProduction", {**CONFIRMED, "range": wanted})


async def test_nobody_votes(driver: Driver) -> None:
    assert await driver.call("getVoteAccounts") == {"current": [], "delinquent": []}
    assert await driver.call("getBlockCommitment", 0) == {"commitment": None, "totalStake": 0}
    with pytest.raises(Refused, match="WrongSize"):
        await driver.call("getVoteAccounts", {"votePubkey": "1111"})


class Watch:
    """Tells a time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def sampled(slots_of_minutes: list[int]) -> tuple[Driver, list[dict[str, Any]]]:
    """Run a chain for some minutes of so many slots each, one payment in each slot."""
    watch = Watch()
    config = LocalnetConfig(auto_advance=False, wall_clock=watch, confirm_slots=0, finality_slots=0)
    async with Localnet(config) as localnet:
        driver = Driver(localnet)
        await driver.fund()
        for slots in slots_of_minutes:
            for number in range(slots):
                driver.advance()
                await driver.run(driver.pay(Keypair().pubkey(), SOL + number))
            watch.now += 60
        driver.advance()
        return driver, await driver.call("getRecentPerformanceSamples")


async def test_samples_count_the_slots_and_transactions_of_whole_minutes() -> None:
    driver, found = await sampled([3, 5])
    # The first minute holds the genesis block too, which is no slot after another, and the funding.
    assert [(entry["numSlots"], entry["numTransactions"]) for entry in found] == [(5, 5), (5, 4)]
    assert {entry["samplePeriodSecs"] for entry in found} == {60}
    assert found[0]["numNonVoteTransactions"] == 5
    assert found[0]["slot"] == driver.localnet.bank.chain.open.slot - 1
    assert await driver.call("getRecentPerformanceSamples", 1) == found[:1]
    with pytest.raises(Refused, match="Invalid limit; max 720"):
        await driver.call("getRecentPerformanceSamples", 721)


async def test_a_minute_that_stood_still_has_no_sample() -> None:
    _, found = await sampled([3, 0, 0, 2])
    assert [entry["numSlots"] for entry in found] == [2, 5]


async def test_a_young_chain_has_no_samples(driver: Driver) -> None:
    driver.advance(40)
    assert await driver.call("getRecentPerformanceSamples") == []


async def test_there_is_no_snapshot(driver: Driver) -> None:
    with pytest.raises(Refused, match="No snapshot") as refused:
        await driver.call("getHighestSnapshotSlot")
    assert refused.value.code == -32008


async def test_a_slot_has_one_leader(driver: Driver) -> None:
    identity = (await driver.call("getIdentity"))["identity"]
    assert await driver.call("getSlotLeader", PROCESSED) == identity
    nodes = await driver.call("getClusterNodes")
    assert [node["pubkey"] for node in nodes] == [identity]
    assert (await driver.value("getStakeMinimumDelegation", FINALIZED)) > 0
