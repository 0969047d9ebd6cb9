import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair

from deal_localnet import LedgerError, Localnet, LocalnetConfig
from deal_localnet.addresses import NATIVE_MINT
from tests.unit.localnet.conftest import NOW
from tests.unit.localnet.support import CONFIRMED, FINALIZED, PROCESSED, SOL, TOKEN, Driver, Refused

FRIEND = Keypair().pubkey()


def config(**more: Any) -> LocalnetConfig:
    return LocalnetConfig(auto_advance=False, wall_clock=lambda: float(NOW), **more)


async def test_a_chain_goes_on_from_a_file_as_often_as_wanted(driver: Driver, tmp_path: Path) -> None:
    path = tmp_path / "chain.snapshot"
    mint = await driver.create_mint()
    account = await driver.open_account(mint, driver.payer.pubkey())
    await driver.mint_to(mint, account, 500)
    transaction = await driver.signed([driver.pay(FRIEND, SOL)])
    sent = await driver.send(transaction)
    driver.localnet.advance_time(10_000)
    driver.localnet.save_snapshot(path)
    genesis, slot = await driver.call("getGenesisHash"), await driver.call("getSlot", PROCESSED)
    shown = await driver.transaction(sent, "jsonParsed")
    for _ in range(2):
        async with Localnet(config(snapshot_file=path)) as localnet:
            driver.localnet = localnet
            assert localnet.is_resumed
            assert await driver.call("getGenesisHash") == genesis
            assert await driver.call("getSlot", PROCESSED) == slot
            assert localnet.bank.chain.open.time == NOW + 10_000
            assert await driver.transaction(sent, "jsonParsed") == shown
            assert (await driver.value("getTokenAccountBalance", str(account), FINALIZED))["amount"] == "500"
            owned = await driver.value(
                "getTokenAccountsByOwner",
                str(driver.payer.pubkey()),
                {"mint": str(mint)},
                {"encoding": "base64"},
            )
            assert len(owned) == 1
            with pytest.raises(Refused, match="already been processed"):
                await driver.send(transaction)
            await driver.mint_to(mint, account, 1)
            await driver.call("requestAirdrop", str(FRIEND), SOL)
            driver.advance()
            assert await driver.value("getBalance", str(FRIEND), CONFIRMED) == 2 * SOL


async def test_what_was_deleted_stays_deleted(driver: Driver, tmp_path: Path) -> None:
    path = tmp_path / "chain.snapshot"
    driver.localnet.set_account(NATIVE_MINT, None)
    driver.localnet.save_snapshot(path)
    async with Localnet(config(snapshot_file=path)) as localnet:
        assert localnet.bank.accounts.current(NATIVE_MINT) is None
        assert TOKEN in localnet.bank.accounts.index.addresses()


async def test_a_snapshot_can_become_a_ledger(driver: Driver, tmp_path: Path) -> None:
    driver.localnet.save_snapshot(tmp_path / "ledger.sqlite3")
    async with Localnet(config(ledger_directory=tmp_path)) as localnet:
        driver.localnet = localnet
        assert await driver.value("getBalance", str(driver.payer.pubkey()), FINALIZED) == 100 * SOL


async def test_one_that_is_there_is_replaced_or_left_whole(driver: Driver, tmp_path: Path) -> None:
    path = tmp_path / "chain.snapshot"
    path.write_text("older")
    driver.localnet.save_snapshot(path)
    assert path.read_bytes().startswith(b"SQLite format 3")
    with pytest.raises(LedgerError, match="cannot be written"):
        driver.localnet.save_snapshot(tmp_path / "none" / "chain.snapshot")
    assert os.listdir(tmp_path) == ["chain.snapshot"]


async def test_what_is_no_snapshot_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chain.snapshot"
    with pytest.raises(LedgerError, match="not a snapshot"):
        await Localnet(config(snapshot_file=path)).start()
    path.write_bytes(b"text" * 1_000)
    with pytest.raises(LedgerError, match="not a snapshot"):
        await Localnet(config(snapshot_file=path)).start()
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE meta (name TEXT, value BLOB)")
    connection.close()
    with pytest.raises(LedgerError, match="holds no chain"):
        await Localnet(config(snapshot_file=path)).start()
