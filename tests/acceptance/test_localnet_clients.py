"""Unmodified clients drive the localnet over TCP, as they would drive any node."""

import asyncio
from collections.abc import Iterator

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

from tests.acceptance.served_localnet import Addresses, served_localnet

TOKEN_PROGRAM = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
CONFIRMED = TxOpts(preflight_commitment=Confirmed, skip_confirmation=True)
SOL = 1_000_000_000
CLIENT_SECONDS = 60


@pytest.fixture
def server() -> Iterator[Addresses]:
    with served_localnet() as addresses:
        yield addresses


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
