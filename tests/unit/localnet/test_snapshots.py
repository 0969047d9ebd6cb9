"""A snapshot puts everything back that a client can see."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_localnet import Localnet, LocalnetConfig, Snapshot
from deal_localnet.slots import Commitment
from tests.unit.localnet.conftest import NOW
from tests.unit.localnet.support import CONFIRMED, FINALIZED, PROCESSED, SOL, SYSTEM, TOKEN, Driver, Refused

FRIENDS = tuple(Keypair.from_seed(bytes([number]) * 32).pubkey() for number in range(4))
LEVELS = (PROCESSED, CONFIRMED, FINALIZED)


async def seen(driver: Driver, *addresses: Pubkey) -> Any:
    """Return what clients can see of a chain."""
    keys = [str(address) for address in (*addresses, driver.payer.pubkey())]
    return [
        [await driver.call("getEpochInfo", level) for level in LEVELS],
        [await driver.call("getLatestBlockhash", level) for level in LEVELS],
        [await driver.call("getMultipleAccounts", keys, level) for level in LEVELS],
        [await driver.call("getSignaturesForAddress", key, CONFIRMED) for key in keys],
        await driver.call("getBlocks", 0, CONFIRMED),
        [await driver.call("getProgramAccounts", str(program), PROCESSED) for program in (TOKEN,)],
        [record.signature for record in driver.localnet.bank.chain.open.records],
    ]


async def test_everything_is_put_back_as_often_as_wanted(driver: Driver) -> None:
    mint = await driver.create_mint()
    driver.advance(2)
    snapshot, before = driver.localnet.snapshot(), await seen(driver, *FRIENDS, mint)
    assert snapshot.slot == driver.localnet.bank.chain.open.slot
    for amount in (500, 700):
        account = await driver.open_account(mint, driver.payer.pubkey())
        await driver.mint_to(mint, account, amount)
        signature = await driver.run(driver.pay(FRIENDS[0], SOL))
        driver.localnet.advance_time(1_000)
        driver.advance(40)
        assert await driver.status(signature) is not None
        driver.localnet.restore(snapshot)
        assert await seen(driver, *FRIENDS, mint) == before
        assert await driver.status(signature) is None


async def test_what_was_sent_before_it_can_be_sent_again_after_it(driver: Driver) -> None:
    transaction = await driver.signed([driver.pay(FRIENDS[0], SOL)])
    snapshot = driver.localnet.snapshot()
    for _ in range(2):
        await driver.send(transaction)
        with pytest.raises(Refused, match="already been processed"):
            await driver.send(transaction)
        driver.advance(200)
        with pytest.raises(Refused, match="Blockhash not found"):
            await driver.send(transaction)
        driver.localnet.restore(snapshot)


async def test_blocks_are_shown_as_they_are_after_it(driver: Driver) -> None:
    snapshot = driver.localnet.snapshot()
    slot = snapshot.slot
    shown = []
    for lamports in (SOL, 2 * SOL):
        await driver.run(driver.pay(FRIENDS[0], lamports))
        driver.advance(2)
        block = await driver.call("getBlock", slot, {"maxSupportedTransactionVersion": 0, **CONFIRMED})
        shown.append([entry["meta"]["postBalances"] for entry in block["transactions"]])
        driver.localnet.restore(snapshot)
    assert shown[0] != shown[1]


async def test_a_snapshot_of_another_chain_is_refused(driver: Driver) -> None:
    async with Localnet(LocalnetConfig(auto_advance=False)) as other:
        with pytest.raises(ValueError, match="another chain"):
            other.restore(driver.localnet.snapshot())


async def test_one_that_nobody_holds_costs_nothing(driver: Driver) -> None:
    snapshot = driver.localnet.snapshot()
    copies = driver.localnet.bank.accounts._copies
    assert len(copies) == 1
    del snapshot
    assert len(copies) == 0


async def test_a_ledger_goes_back_too(tmp_path: Path) -> None:
    config = LocalnetConfig(auto_advance=False, ledger_directory=tmp_path)
    async with Localnet(config) as localnet:
        driver = Driver(localnet)
        await driver.fund()
        early = localnet.snapshot()
        kept = await driver.run(driver.pay(FRIENDS[0], SOL))
        driver.advance(3)
        late = localnet.snapshot()
        localnet.restore(early)
        gone = await driver.run(driver.pay(FRIENDS[1], SOL))
        driver.advance(5)
        localnet.restore(late)
        driver.advance()
    async with Localnet(config) as localnet:
        driver.localnet = localnet
        assert await driver.status(gone) is None
        assert (await driver.status(kept))["confirmationStatus"] == "finalized"
        assert await driver.value("getBalance", str(FRIENDS[0])) == SOL
        assert await driver.value("getBalance", str(FRIENDS[1])) == 0


class Walk:
    """Does what a drawn number says, and remembers what was seen at each snapshot."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.taken: list[tuple[Snapshot, Any]] = []

    async def step(self, action: str, number: int) -> None:
        localnet = self.driver.localnet
        friend = FRIENDS[number % len(FRIENDS)]
        if action == "pay":
            # A payer without lamports, or one that a snapshot brought back: both are part of the walk.
            await self.driver.run(self.driver.pay(friend, SOL + number), skipPreflight=True)
        elif action == "advance":
            self.driver.advance(1 + number % 6)
        elif action == "set":
            localnet.set_account(friend, Account(SOL * number, bytes(number % 3), SYSTEM) if number else None)
        elif action == "rollback":
            chain = localnet.bank.chain
            localnet.rollback(max(chain.slot_at(Commitment.FINALIZED), chain.open.slot - number % 4))
        elif action == "snapshot":
            self.taken.append((localnet.snapshot(), await seen(self.driver, *FRIENDS)))
        elif self.taken:
            snapshot, before = self.taken[number % len(self.taken)]
            localnet.restore(snapshot)
            assert await seen(self.driver, *FRIENDS) == before


ACTIONS = st.sampled_from(("pay", "pay", "advance", "set", "rollback", "snapshot", "restore", "restore"))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(ACTIONS, st.integers(0, 40)), min_size=5, max_size=40))
async def test_any_walk_through_snapshots_comes_back_to_what_was_seen(steps: list[tuple[str, int]]) -> None:
    config = LocalnetConfig(auto_advance=False, finality_slots=6, wall_clock=lambda: float(NOW))
    async with Localnet(config) as localnet:
        driver = Driver(localnet)
        await driver.fund()
        walk = Walk(driver)
        for action, number in steps:
            await walk.step(action, number)
        for index in range(len(walk.taken)):
            await walk.step("restore", index)
