"""Unmodified clients drive the localnet over TCP, as they would drive any node."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from anchorpy import Provider, Wallet
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed
from solana.rpc.types import TxOpts
from solana.rpc.websocket_api import connect
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import CreateAccountParams, TransferParams, create_account, transfer
from solders.transaction import VersionedTransaction

ROOT = Path(__file__).resolve().parents[2]
KIT = Path(__file__).parent / "kit"
TOKEN_PROGRAM = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
CONFIRMED = TxOpts(preflight_commitment=Confirmed, skip_confirmation=True)
SOL = 1_000_000_000
CLIENT_SECONDS = 60
NPM_SECONDS = 240


class Addresses(NamedTuple):
    rpc: str
    pubsub: str


@pytest.fixture
def server() -> Iterator[Addresses]:
    options = ["--rpc-port", "0", "--slot-milliseconds", "100", "--json"]
    command = [sys.executable, "-m", "deal_sdk.cli", "localnet", *options]
    packages = os.pathsep.join(str(ROOT / folder) for folder in ("sdk", "localnet"))
    environment = {**os.environ, "PYTHONPATH": packages}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield _addresses(process)
        finally:
            process.terminate()
            assert process.wait(CLIENT_SECONDS) == 0


def _addresses(process: subprocess.Popen[str]) -> Addresses:
    """Read the one JSON document that tells where the localnet listens, while it goes on running."""
    assert process.stdout is not None
    document = ""
    for line in process.stdout:
        document += line
        if line == "}\n":
            break
    found = json.loads(document)
    return Addresses(found["rpc_url"], found["websocket_url"])


async def send(
    client: AsyncClient, payer: Keypair, instructions: list[Instruction], *more: Keypair
) -> Signature:
    latest = (await client.get_latest_blockhash(Confirmed)).value
    message = MessageV0.try_compile(payer.pubkey(), instructions, [], latest.blockhash)
    sent = await client.send_transaction(VersionedTransaction(message, [payer, *more]), opts=CONFIRMED)
    confirmed = await client.confirm_transaction(
        sent.value, Confirmed, sleep_seconds=0.05, last_valid_block_height=latest.last_valid_block_height
    )
    assert confirmed.value[0] is not None
    assert confirmed.value[0].err is None
    return sent.value


async def funded(client: AsyncClient) -> Keypair:
    payer = Keypair()
    airdrop = await client.request_airdrop(payer.pubkey(), 10 * SOL)
    await client.confirm_transaction(airdrop.value, Confirmed, sleep_seconds=0.05)
    return payer


def token_setup(payer: Keypair, mint: Keypair, accounts: list[Keypair]) -> list[Instruction]:
    def meta(key: Pubkey, *, signer: bool = False, writable: bool = True) -> AccountMeta:
        return AccountMeta(key, signer, writable)

    sizes = [(mint, 82), *((account, 165) for account in accounts)]
    created = [
        create_account(
            CreateAccountParams(
                from_pubkey=payer.pubkey(),
                to_pubkey=key.pubkey(),
                lamports=SOL // 100,
                space=size,
                owner=TOKEN_PROGRAM,
            )
        )
        for key, size in sizes
    ]
    owner = bytes(payer.pubkey())
    opened = [
        Instruction(
            TOKEN_PROGRAM,
            bytes([18]) + owner,
            [meta(account.pubkey()), meta(mint.pubkey(), writable=False)],
        )
        for account in accounts
    ]
    initialized = Instruction(TOKEN_PROGRAM, bytes([20, 8]) + owner + b"\0", [meta(mint.pubkey())])
    minted = Instruction(
        TOKEN_PROGRAM,
        bytes([7]) + (500).to_bytes(8, "little"),
        [meta(mint.pubkey()), meta(accounts[0].pubkey()), meta(payer.pubkey(), signer=True, writable=False)],
    )
    moved = Instruction(
        TOKEN_PROGRAM,
        bytes([12]) + (150).to_bytes(8, "little") + bytes([8]),
        [
            meta(accounts[0].pubkey()),
            meta(mint.pubkey(), writable=False),
            meta(accounts[1].pubkey()),
            meta(payer.pubkey(), signer=True, writable=False),
        ],
    )
    return [*created, initialized, *opened, minted, moved]


async def test_solana_py_pays_and_moves_tokens(server: Addresses) -> None:
    async with AsyncClient(server.rpc, Confirmed) as client:
        payer, friend, mint = await funded(client), Keypair(), Keypair()
        accounts = [Keypair(), Keypair()]
        pay = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=friend.pubkey(), lamports=SOL))
        paid = await send(client, payer, [pay])
        await send(client, payer, token_setup(payer, mint, accounts), mint, *accounts)

        assert (await client.get_balance(friend.pubkey(), Confirmed)).value == SOL
        balance = await client.get_token_account_balance(accounts[1].pubkey(), Confirmed)
        assert balance.value.amount == "150"
        assert (await client.get_token_supply(mint.pubkey(), Confirmed)).value.amount == "500"
        found = await client.get_transaction(paid, "jsonParsed", Confirmed, 0)
        assert found.value is not None
        assert found.value.transaction.meta is not None
        assert found.value.transaction.meta.fee == 5_000
        listed = await client.get_signatures_for_address(friend.pubkey(), commitment=Confirmed)
        assert [entry.signature for entry in listed.value] == [paid]


async def test_solana_py_hears_of_a_signature(server: Addresses) -> None:
    async with AsyncClient(server.rpc, Confirmed) as client, connect(server.pubsub) as socket:
        payer = await funded(client)
        latest = (await client.get_latest_blockhash(Confirmed)).value
        pay = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=Keypair().pubkey(), lamports=SOL))
        message = MessageV0.try_compile(payer.pubkey(), [pay], [], latest.blockhash)
        transaction = VersionedTransaction(message, [payer])
        await socket.signature_subscribe(transaction.signatures[0], Confirmed)
        subscribed = await asyncio.wait_for(socket.recv(), CLIENT_SECONDS)
        await client.send_transaction(transaction, opts=CONFIRMED)
        told = await asyncio.wait_for(socket.recv(), CLIENT_SECONDS)
        assert told[0].subscription == subscribed[0].result
        assert told[0].result.value.err is None


async def test_anchorpy_provider_sends(server: Addresses) -> None:
    async with AsyncClient(server.rpc, Confirmed) as client:
        payer = await funded(client)
        provider = Provider(client, Wallet(payer), CONFIRMED)
        friend = Keypair().pubkey()
        pay = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=friend, lamports=SOL))
        latest = (await client.get_latest_blockhash(Confirmed)).value
        message = MessageV0.try_compile(payer.pubkey(), [pay], [], latest.blockhash)
        signature = await provider.send(VersionedTransaction(message, [payer]))
        await client.confirm_transaction(signature, Confirmed, sleep_seconds=0.05)
        assert (await client.get_balance(friend, Confirmed)).value == SOL


@pytest.fixture(scope="module")
def kit() -> Path:
    npm = shutil.which("npm")
    assert npm is not None, "npm is needed for @solana/kit"
    if not (KIT / "node_modules" / "@solana" / "kit").is_dir():
        install = [npm, "ci", "--no-audit", "--no-fund"]
        subprocess.run(install, cwd=KIT, check=True, timeout=NPM_SECONDS, capture_output=True)
    return KIT / "drive.mjs"


async def test_solana_kit_pays_and_moves_tokens(server: Addresses, node_program: str, kit: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        node_program,
        str(kit),
        server.rpc,
        server.pubsub,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), CLIENT_SECONDS)
    assert process.returncode == 0, errors.decode()
    told = json.loads(output)
    assert told["friendLamports"] == "1000000"
    assert told["friendTokens"] == "150000000"


def test_the_kits_lockfile_names_no_registry() -> None:
    lock = json.loads((KIT / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
