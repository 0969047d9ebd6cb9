import pytest
from solders.keypair import Keypair

from deal_localnet import Localnet, LocalnetConfig
from deal_sdk.chain.allowance import embedded_programs
from tests.unit.localnet.support import CONFIRMED, FEE, FINALIZED, PROCESSED, SOL, Driver, Refused

EPOCH_SLOTS = 432_000
FAUCET_LAMPORTS = 500_000_000 * SOL


async def test_the_supply_is_the_sum_of_all_accounts_at_a_commitment(driver: Driver) -> None:
    before = await driver.value("getSupply", PROCESSED)
    assert before["total"] >= FAUCET_LAMPORTS - 2 * FEE
    await driver.run(driver.pay(Keypair().pubkey(), SOL))
    supply = await driver.value("getSupply", PROCESSED)
    # A fee is burned; what was paid is only elsewhere.
    assert supply["total"] == supply["circulating"] == before["total"] - FEE
    assert (supply["nonCirculating"], supply["nonCirculatingAccounts"]) == (0, [])
    assert (await driver.value("getSupply", CONFIRMED))["total"] == before["total"]


async def test_a_preloaded_program_counts() -> None:
    programs = embedded_programs()
    async with Localnet(LocalnetConfig(auto_advance=False, programs=programs)) as localnet:
        loaded = Driver(localnet)
        total = (await loaded.value("getSupply", PROCESSED))["total"]
        lamports = await loaded.value("getBalance", str(programs[0][0]), PROCESSED)
    async with Localnet(LocalnetConfig(auto_advance=False)) as localnet:
        bare = (await Driver(localnet).value("getSupply", PROCESSED))["total"]
    assert total == bare + lamports > bare


async def test_the_largest_accounts_come_first(driver: Driver) -> None:
    rich = [Keypair().pubkey() for _ in range(3)]
    for rank, key in enumerate(rich):
        await driver.call("requestAirdrop", str(key), (200 - rank) * SOL)
    largest = await driver.value("getLargestAccounts", PROCESSED)
    found = [(entry["address"], entry["lamports"]) for entry in largest]
    assert found[1:5] == [
        *((str(key), (200 - rank) * SOL) for rank, key in enumerate(rich)),
        (str(driver.payer.pubkey()), 100 * SOL),
    ]
    assert found[0][1] > 499_999_000 * SOL
    assert len(found) <= 20
    assert await driver.value("getLargestAccounts", {**PROCESSED, "filter": "nonCirculating"}) == []
    circulating = await driver.value("getLargestAccounts", {**PROCESSED, "filter": "circulating"})
    assert circulating == largest
    with pytest.raises(Refused, match="expected `circulating` or `nonCirculating`"):
        await driver.call("getLargestAccounts", {"filter": "locked"})


async def test_what_was_rolled_back_is_not_among_the_largest(driver: Driver) -> None:
    slot = driver.advance() - 1
    friend = str(Keypair().pubkey())
    await driver.call("requestAirdrop", friend, 300 * SOL)
    before = (await driver.value("getLargestAccounts", PROCESSED))[1]
    assert before["address"] == friend
    driver.localnet.rollback(slot)
    after = await driver.value("getLargestAccounts", PROCESSED)
    assert friend not in [entry["address"] for entry in after]


async def test_inflation_follows_its_schedule(driver: Driver) -> None:
    governor = await driver.call("getInflationGovernor", FINALIZED)
    rate = await driver.call("getInflationRate")
    assert rate["epoch"] == 0
    assert rate["total"] == governor["initial"]
    assert rate["foundation"] + rate["validator"] == pytest.approx(rate["total"])
    assert rate["foundation"] == pytest.approx(rate["total"] * governor["foundation"])


async def test_no_epoch_has_ended_whose_reward_could_be_asked_for(driver: Driver) -> None:
    addresses = [str(driver.payer.pubkey())]
    with pytest.raises(Refused) as refused:
        await driver.call("getInflationReward", addresses)
    assert refused.value.code == -32004
    assert refused.value.message == f"Block not available for slot {EPOCH_SLOTS}"
    with pytest.raises(Refused, match="WrongSize"):
        await driver.call("getInflationReward", ["1111"])
