from pathlib import Path

import pytest
from solders.keypair import Keypair

from deal_localnet import Localnet, LocalnetConfig
from deal_localnet.addresses import SYSVAR_CLOCK, SYSVAR_EPOCH_SCHEDULE
from tests.unit.localnet.conftest import NOW
from tests.unit.localnet.support import CONFIRMED, PROCESSED, SOL, Driver

FRIEND = Keypair().pubkey()
DAY = 86_400


async def clock(driver: Driver) -> dict[str, int]:
    config = {"encoding": "jsonParsed", **PROCESSED}
    shown = await driver.value("getAccountInfo", str(SYSVAR_CLOCK), config)
    info: dict[str, int] = shown["data"]["parsed"]["info"]
    return info


async def test_a_warp_skips_slots_and_keeps_blockhashes_and_time(driver: Driver) -> None:
    transaction = await driver.signed([driver.pay(FRIEND, SOL)])
    height = await driver.call("getBlockHeight", PROCESSED)
    assert driver.localnet.warp_to_slot(1_000_000) == 1_000_000
    assert await driver.call("getSlot", PROCESSED) == 1_000_000
    assert await driver.call("getBlockHeight", PROCESSED) == height + 1
    await driver.send(transaction)
    driver.advance()
    assert await driver.value("getBalance", str(FRIEND), CONFIRMED) == SOL
    assert await clock(driver) | {"slot": 1_000_001, "unixTimestamp": NOW} == await clock(driver)
    assert await driver.call("getBlocks", 900_000, CONFIRMED) == [1_000_000]


async def test_an_epoch_begins_where_it_is_warped_to() -> None:
    times = iter(range(NOW, NOW + 1_000))
    config = LocalnetConfig(auto_advance=False, slots_per_epoch=64, wall_clock=lambda: float(next(times)))
    async with Localnet(config) as localnet:
        driver = Driver(localnet)
        assert localnet.warp_to_epoch(3) == 192
        began = localnet.bank.chain.open.time
        driver.advance(2)
        info = await driver.call("getEpochInfo", PROCESSED)
        assert (info["epoch"], info["slotIndex"], info["slotsInEpoch"]) == (3, 2, 64)
        assert (await driver.call("getEpochSchedule"))["slotsPerEpoch"] == 64
        shown = await driver.value("getAccountInfo", str(SYSVAR_EPOCH_SCHEDULE), {"encoding": "jsonParsed"})
        assert shown["data"]["parsed"]["info"]["slotsPerEpoch"] == 64
        seen = await clock(driver)
        assert (seen["epoch"], seen["leaderScheduleEpoch"]) == (3, 4)
        assert seen["epochStartTimestamp"] == began < seen["unixTimestamp"]


async def test_time_goes_ahead_without_slots(driver: Driver) -> None:
    slot = driver.localnet.bank.chain.open.slot
    assert driver.localnet.advance_time(30 * DAY) == NOW + 30 * DAY
    assert (await clock(driver))["unixTimestamp"] == NOW + 30 * DAY
    driver.advance()
    assert driver.localnet.bank.chain.open.slot == slot + 2
    assert await driver.call("getBlockTime", slot + 1) == NOW + 30 * DAY


@pytest.mark.parametrize("seconds", [-1, float("nan")])
async def test_time_never_goes_back(driver: Driver, seconds: float) -> None:
    with pytest.raises(ValueError, match="never goes back"):
        driver.localnet.advance_time(seconds)


async def test_a_warp_leads_ahead_only(driver: Driver) -> None:
    slot = driver.localnet.bank.chain.open.slot
    with pytest.raises(ValueError, match="does not lie ahead"):
        driver.localnet.warp_to_slot(slot)
    with pytest.raises(ValueError, match="does not lie ahead"):
        driver.localnet.warp_to_epoch(0)
    assert driver.localnet.bank.chain.open.slot == slot


async def test_a_kept_chain_that_was_sent_ahead_goes_on_from_there(tmp_path: Path) -> None:
    config = LocalnetConfig(
        auto_advance=False, ledger_directory=tmp_path, slots_per_epoch=32, wall_clock=lambda: float(NOW)
    )
    async with Localnet(config) as localnet:
        localnet.advance_time(DAY)
        localnet.warp_to_epoch(5)
        localnet.advance_slots()
        slot = localnet.bank.chain.open.slot
    bare = LocalnetConfig(auto_advance=False, ledger_directory=tmp_path, wall_clock=lambda: NOW + 5.0)
    async with Localnet(bare) as localnet:
        assert localnet.bank.chain.open.slot == slot
        assert localnet.bank.chain.open.time == NOW + DAY
        assert localnet.bank.slots_per_epoch == 32


@pytest.mark.parametrize(
    "wrong",
    [
        {"slots_per_epoch": 31},
        {"max_lag_slots": -1},
        {"faucet_lamports": -1},
        {"slot_seconds": float("nan")},
        {"slot_seconds": float("inf")},
        {"snapshot_file": Path("a"), "ledger_directory": Path("b")},
    ],
)
def test_a_configuration_that_no_chain_could_run_with_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        LocalnetConfig(**wrong)  # type: ignore[arg-type]
