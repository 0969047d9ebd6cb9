"""Subscriptions on every chain: polling is so rare here that only a hint can be this fast."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from solders.system_program import TransferParams, transfer

from deal_localnet.server import LocalnetServer
from deal_sdk.chain import (
    BlockhashSource,
    Confirmer,
    HttpTransport,
    KeypairSigner,
    Rpc,
    SignatureSubscriptions,
    SignedTransaction,
    Transport,
    build_and_sign,
    ensure_lamports,
    links_of,
)
from deal_sdk.chain.token import LAMPORTS_PER_SOL
from deal_sdk.metrics import Metrics
from tests.contract.chain_world import CHAINS, CLOCK, PAYER, localnet, open_chain

RARELY_SECONDS = 60.0
PATIENCE_SECONDS = 20
"""Less than a poll takes, and many times what a validator needs to confirm."""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in range(100_000):
            if condition():
                return
            await asyncio.sleep(0.01)


class Scene:
    def __init__(self, transport: Transport) -> None:
        metrics = Metrics()
        self.rpc = Rpc(transport, clock=CLOCK, metrics=metrics)
        self.blockhashes = BlockhashSource(self.rpc, clock=CLOCK)
        source = links_of(transport, None)
        assert source is not None
        self.subscriptions = SignatureSubscriptions([source], clock=CLOCK, metrics=metrics)
        self.confirmer = Confirmer(
            self.rpc,
            clock=CLOCK,
            metrics=metrics,
            hints=self.subscriptions,
            poll_interval_seconds=RARELY_SECONDS,
        )
        self.metrics, self.endpoint = metrics, source.endpoint

    async def payment(self, lamports: int) -> SignedTransaction:
        other = KeypairSigner.generate().address
        step = transfer(
            TransferParams(
                from_pubkey=PAYER.address, to_pubkey=other, lamports=lamports + LAMPORTS_PER_SOL // 100
            )
        )
        return await build_and_sign([step], payer=PAYER, signers=(), blockhash=await self.blockhashes.get())

    async def connected(self) -> None:
        await until(lambda: self.sample("websocket_connections") == 1)

    def sample(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, {"endpoint": self.endpoint})


@asynccontextmanager
async def scene_on(transport: Transport) -> AsyncIterator[Scene]:
    scene = Scene(transport)
    if await scene.rpc.get_balance(PAYER.address) < LAMPORTS_PER_SOL:
        await ensure_lamports(scene.rpc, PAYER.address, 10 * LAMPORTS_PER_SOL)
    scene.subscriptions.start()
    await scene.connected()
    yield scene
    await scene.confirmer.close()
    await scene.subscriptions.close()
    await scene.blockhashes.close()


@pytest.fixture(params=CHAINS)
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with open_chain(request.param, request) as transport, scene_on(transport) as scene:
        yield scene


async def test_a_confirmation_is_told_and_then_looked_up(scene: Scene) -> None:
    signed = await scene.payment(1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        verdict = await scene.confirmer.follow(signed).reached("confirmed")
    assert verdict.succeeded
    assert verdict.evidence["commitment"] in ("confirmed", "finalized")
    assert scene.sample("signature_hints_total") == 1


async def test_one_that_confirmed_before_it_was_subscribed_to_is_told_as_well(scene: Scene) -> None:
    signed = await scene.payment(2)
    await scene.rpc.send_transaction(signed.raw_bytes, preflight_commitment="confirmed")
    polling = Confirmer(scene.rpc, clock=CLOCK, metrics=Metrics())
    await polling.watch(signed.signature).reached("confirmed")
    await polling.close()
    async with asyncio.timeout(PATIENCE_SECONDS):
        verdict = await scene.confirmer.watch(signed.signature).reached("confirmed")
    assert verdict.succeeded


async def test_a_handful_at_once_is_told_of_each(scene: Scene) -> None:
    signed = [await scene.payment(number) for number in range(3, 11)]
    followings = [scene.confirmer.follow(transaction) for transaction in signed]
    async with asyncio.timeout(PATIENCE_SECONDS):
        verdicts = await asyncio.gather(*(following.reached("confirmed") for following in followings))
    assert all(verdict.succeeded for verdict in verdicts)


@pytest.mark.slow
async def test_a_server_that_comes_back_is_subscribed_to_again() -> None:
    async with localnet() as chain:
        server = LocalnetServer(chain, rpc_port=0)
        await server.start()
        url = server.rpc_url
        async with scene_on(HttpTransport(url, clock=CLOCK)) as scene:
            await server.close()
            await until(lambda: scene.sample("websocket_connections") == 0)
            server = LocalnetServer(chain, rpc_port=int(url.rpartition(":")[2]))
            await server.start()
            await scene.connected()
            signed = await scene.payment(12)
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert (await scene.confirmer.follow(signed).reached("confirmed")).succeeded
            await scene.rpc.close()
        await server.close()
