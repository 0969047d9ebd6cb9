import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

import deal_localnet
from deal_localnet import LedgerError, Localnet, LocalnetConfig
from tests.unit.localnet.support import CONFIRMED, FINALIZED, PROCESSED, SOL, Driver, Refused

FRIEND = Keypair().pubkey()
SOURCES = str(Path(deal_localnet.__file__).parents[1])
PROCESS_SECONDS = 30
POLLS = 600
POLL_SECONDS = 0.05


def config(folder: Path, **more: Any) -> LocalnetConfig:
    return LocalnetConfig(auto_advance=False, ledger_directory=folder, **more)


async def filled(folder: Path, friend: Keypair | None = None) -> tuple[Driver, list[str], str]:
    """Run a chain with two payments, a token account and a failure, and close it."""
    async with Localnet(config(folder)) as localnet:
        driver = Driver(localnet)
        await driver.fund()
        mint = await driver.create_mint()
        account = await driver.open_account(mint, driver.payer.pubkey())
        await driver.mint_to(mint, account, 500)
        sent = [await driver.run(driver.pay(FRIEND, SOL))]
        driver.advance()
        sent.append(await driver.run(driver.pay(FRIEND, 1_000 * SOL), skipPreflight=True))
        driver.advance()
        return driver, sent, await driver.call("getGenesisHash")


async def test_a_chain_continues_where_it_was_closed(tmp_path: Path) -> None:
    driver, sent, genesis = await filled(tmp_path)
    slot = driver.localnet.bank.chain.open.slot
    shown = [await driver.transaction(signature, "jsonParsed") for signature in sent]
    async with Localnet(config(tmp_path)) as localnet:
        driver.localnet = localnet
        assert await driver.call("getGenesisHash") == genesis
        assert await driver.call("getSlot", PROCESSED) == slot
        assert await driver.value("getBalance", str(FRIEND), FINALIZED) == SOL
        assert [await driver.transaction(signature, "jsonParsed") for signature in sent] == shown
        assert (await driver.status(sent[1]))["err"] == {"InstructionError": [0, {"Custom": 1}]}
        owned = await driver.value(
            "getTokenAccountsByOwner",
            str(driver.payer.pubkey()),
            {"programId": "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"},
            {"encoding": "jsonParsed", **CONFIRMED},
        )
        assert owned[0]["account"]["data"]["parsed"]["info"]["tokenAmount"]["amount"] == "500"
        await driver.run(driver.pay(FRIEND, SOL))
        driver.advance()
        assert await driver.value("getBalance", str(FRIEND), CONFIRMED) == 2 * SOL


async def test_a_sent_transaction_stays_a_duplicate(tmp_path: Path) -> None:
    async with Localnet(config(tmp_path)) as localnet:
        driver = Driver(localnet)
        await driver.fund()
        transaction = await driver.signed([driver.pay(FRIEND, SOL)])
        await driver.send(transaction)
        driver.advance()
    async with Localnet(config(tmp_path)) as localnet:
        driver.localnet = localnet
        with pytest.raises(Refused, match="already been processed"):
            await driver.send(transaction)


async def test_reset_begins_another_chain(tmp_path: Path) -> None:
    driver, sent, genesis = await filled(tmp_path)
    async with Localnet(config(tmp_path, reset_ledger=True)) as localnet:
        driver.localnet = localnet
        assert await driver.call("getGenesisHash") != genesis
        assert await driver.status(sent[0]) is None


async def test_a_rollback_is_kept(tmp_path: Path) -> None:
    async with Localnet(config(tmp_path)) as localnet:
        driver = Driver(localnet)
        await driver.fund()
        slot = driver.advance() - 1
        dropped = await driver.run(driver.pay(FRIEND, SOL))
        driver.advance(3)
        localnet.rollback(slot)
        driver.advance(2)
    async with Localnet(config(tmp_path)) as localnet:
        driver.localnet = localnet
        assert await driver.status(dropped) is None
        assert await driver.value("getBalance", str(FRIEND), PROCESSED) == 0
        assert slot + 1 not in await driver.call("getBlocks", 0)


class Process:
    """Runs a server with a ledger, which can be killed."""

    def __init__(self, folder: Path) -> None:
        options = ["--rpc-port", "0", "--ledger", str(folder), "--slot-milliseconds", "20", "--quiet"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "deal_localnet", *options],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": SOURCES},
        )
        assert self._process.stdout is not None
        self._url = self._process.stdout.readline().split(": ", 1)[1].strip()

    def call(self, method: str, *params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self._url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=PROCESS_SECONDS) as reply:
            return json.loads(reply.read())["result"]

    def end(self, number: signal.Signals) -> int:
        assert self._process.stdout is not None
        self._process.send_signal(number)
        code = self._process.wait(PROCESS_SECONDS)
        self._process.stdout.close()
        return code


def pay(process: Process, payer: Keypair, lamports: int) -> str:
    latest = process.call("getLatestBlockhash", CONFIRMED)["value"]["blockhash"]
    instruction = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=FRIEND, lamports=lamports))
    message = MessageV0.try_compile(payer.pubkey(), [instruction], [], Hash.from_string(latest))
    wire = b64encode(bytes(VersionedTransaction(message, [payer]))).decode()
    return process.call("sendTransaction", wire, {"encoding": "base64", "preflightCommitment": "processed"})


async def wait_confirmed(process: Process, signatures: list[str]) -> None:
    for _ in range(POLLS):
        statuses = process.call("getSignatureStatuses", signatures)["value"]
        if all(status and status["confirmationStatus"] != "processed" for status in statuses):
            return
        await asyncio.sleep(POLL_SECONDS)
    raise AssertionError("the transactions were never confirmed")


async def wait_slot(process: Process, slot: int) -> None:
    for _ in range(POLLS):
        if process.call("getSlot", PROCESSED) >= slot:
            return
        await asyncio.sleep(POLL_SECONDS)
    raise AssertionError(f"slot {slot} never came")


async def test_a_killed_server_comes_back_with_its_chain(tmp_path: Path) -> None:
    payer = Keypair()
    process = Process(tmp_path)
    funded = process.call("requestAirdrop", str(payer.pubkey()), 100 * SOL)
    await wait_confirmed(process, [funded])
    sent = [pay(process, payer, SOL + number) for number in range(20)]
    await wait_confirmed(process, sent)
    # Confirmed slots are queued for the ledger; ten slots later they are on disk.
    slot = process.call("getSlot", PROCESSED)
    await wait_slot(process, slot + 10)
    genesis = process.call("getGenesisHash")
    assert process.end(signal.SIGKILL) == -signal.SIGKILL

    revived = Process(tmp_path)
    assert revived.call("getGenesisHash") == genesis
    assert revived.call("getSlot", PROCESSED) >= slot
    statuses = revived.call("getSignatureStatuses", sent)["value"]
    assert [status["err"] for status in statuses] == [None] * 20
    paid = 20 * SOL + sum(range(20))
    assert revived.call("getBalance", str(FRIEND), FINALIZED)["value"] == paid
    again = pay(revived, payer, SOL)
    await wait_confirmed(revived, [again])
    assert revived.end(signal.SIGTERM) == 0


async def test_a_ledger_that_another_chain_uses_is_left_alone(tmp_path: Path) -> None:
    async with Localnet(config(tmp_path)) as localnet:
        localnet.advance_slots(3)
        for reset in (False, True):
            with pytest.raises(LedgerError, match="is another chain using it"):
                await Localnet(config(tmp_path, reset_ledger=reset)).start()
        localnet.advance_slots(3)
    async with Localnet(config(tmp_path)) as localnet:
        assert localnet.bank.chain.open.slot == 7


async def test_a_damaged_ledger_is_refused_and_can_be_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite3").write_bytes(b"this is no database " * 500)
    with pytest.raises(LedgerError, match="not a ledger"):
        await Localnet(config(tmp_path)).start()
    async with Localnet(config(tmp_path, reset_ledger=True)) as localnet:
        assert not localnet.is_resumed
        localnet.advance_slots()
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as connection:
        connection.execute("UPDATE blocks SET blockhash = x'00'")
    connection.close()
    with pytest.raises(LedgerError, match="is damaged"):
        await Localnet(config(tmp_path)).start()


async def test_a_place_where_no_ledger_can_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="file"):
        await Localnet(config(tmp_path / "file")).start()
