"""solana-py's WebSocket client over its whole surface: all that it can subscribe to, and leave again."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest
from solana.rpc.commitment import Confirmed, Processed
from solana.rpc.websocket_api import SolanaWsClientProtocol, connect
from solders.keypair import Keypair
from solders.rpc.config import RpcBlockSubscribeFilterMentions, RpcTransactionLogsFilterMentions
from solders.rpc.responses import (
    AccountNotification,
    BlockNotification,
    LogsNotification,
    ProgramNotification,
    RootNotification,
    SignatureNotification,
    SlotNotification,
    SlotUpdateCompleted,
    SlotUpdateCreatedBank,
    SlotUpdateFrozen,
    SlotUpdateNotification,
    SlotUpdateOptimisticConfirmation,
    SlotUpdateRoot,
)

from deal_localnet import LocalnetServer
from tests.integration.clients.token_story import TokenStory
from tests.unit.localnet.support import SOL, SYSTEM

TOLD_SECONDS: Final = 20.0

Question = Callable[[TokenStory, SolanaWsClientProtocol], Awaitable[None]]
QUESTIONS: Final[dict[str, Question]] = {}
"""How each topic is subscribed to and what it tells, under the subscribing method's name."""


def question(asked: Question) -> Question:
    QUESTIONS[asked.__name__] = asked
    return asked


def public_methods() -> set[str]:
    found = inspect.getmembers(SolanaWsClientProtocol, inspect.iscoroutinefunction)
    return {name for name, member in found if member.__module__ == SolanaWsClientProtocol.__module__}


@pytest.fixture
async def socket(server: LocalnetServer) -> AsyncIterator[SolanaWsClientProtocol]:
    async with connect(server.ws_url) as opened:
        yield opened


async def told(socket: SolanaWsClientProtocol) -> Any:
    (message,) = await asyncio.wait_for(socket.recv(), TOLD_SECONDS)
    return message


async def paid(story: TokenStory, wallet: Any) -> str:
    return await story.driver.run(story.driver.pay(wallet, SOL))


@question
async def account_subscribe(story: TokenStory, socket: SolanaWsClientProtocol) -> None:
    wallet = Keypair().pubkey()
    await socket.account_subscribe(wallet, Confirmed, "base64")
    subscription = (await told(socket)).result
    await paid(story, wallet)
    story.driver.advance()
    news = await told(socket)
    assert isinstance(news, AccountNotification)
    assert (news.subscription, news.result.value.lamports) == (subscription, SOL)


@question
async def program_subscribe(story: TokenStory, socket: SolanaWsClientProtocol) -> None:
    await socket.program_subscribe(SYSTEM, Confirmed, "base64", filters=[0])
    await told(socket)
    wallet = Keypair().pubkey()
    await paid(story, wallet)
    story.driver.advance()
    heard = [await told(socket), await told(socket)]
    assert all(isinstance(news, ProgramNotification) for news in heard)
    assert {news.result.value.pubkey for news in heard} == {wallet, story.payer.pubkey()}


@question
async def logs_subscribe(story: TokenStory, socket: SolanaWsClientProtocol) -> None:
    wallet = Keypair().pubkey()
    await socket.logs_subscribe(RpcTransactionLogsFilterMentions(wallet), Processed)
    await told(socket)
    await paid(story, Keypair().pubkey())
    signature = await paid(story, wallet)
    news = await told(socket)
    assert isinstance(news, LogsNotification)
    assert str(news.result.value.signature) == signature
    assert news.result.value.logs[-1] == f"Program {SYSTEM} success"


@question
async def signature_subscribe(story: TokenStory, socket: SolanaWsClientProtocol) -> None:
    payment = await story.payment(Keypair().pubkey(), SOL)
    await socket.signature_subscribe(payment.signatures[0], Confirmed)
    subscription = (await told(socket)).result
    await story.client.send_transaction(payment)
    story.driver.advance()
    news = await told(socket)
    assert isinstance(news, SignatureNotification)
    assert news.result.value.err is None
    # What is told once has ended, so there is nothing left to leave.
    del socket.subscriptions[subscription]
    await socket.signature_subscribe((await story.payment(Keypair().pubkey(), SOL)).signatures[0])
    await told(socket)


@question
async def slot_subscribe(story: TokenStory, socket: SolanaWsClientProtocol) -> None:
    await socket.slot_subscribe()
    await told(socket)
    slot = story.driver.advance()
    news = await told(socket)
    assert isinstance(news, SlotNotification)
    assert (news.result.slot, news.result.parent, news.result.root) == (slot, slot - 1, slot - 32)


@question
async def root_subscribe(story: TokenStory, socket: SolanaWsClientProtocol) -> None:
    await socket.root_subscribe()
    await told(socket)
    slot = story.driver.advance()
    news = await told(socket)
    assert isinstance(news, RootNotification)
    assert news.result == slot - 32


@question
async def slots_updates_subscribe(story: TokenStory, socket: SolanaWsClientProtocol) -> None:
    await socket.slots_updates_subscribe()
    await told(socket)
    await paid(story, Keypair().pubkey())
    slot = story.driver.advance()
    heard = [await told(socket) for _ in range(5)]
    assert all(isinstance(news, SlotUpdateNotification) for news in heard)
    frozen, completed, created, confirmed, root = (news.result for news in heard)
    assert isinstance(frozen, SlotUpdateFrozen)
    assert (frozen.slot, frozen.stats.num_successful_transactions) == (slot - 1, 1)
    assert isinstance(completed, SlotUpdateCompleted)
    assert completed.slot == slot - 1
    assert isinstance(created, SlotUpdateCreatedBank)
    assert (created.slot, created.parent) == (slot, slot - 1)
    assert isinstance(confirmed, SlotUpdateOptimisticConfirmation)
    assert isinstance(root, SlotUpdateRoot)
    assert (confirmed.slot, root.slot) == (slot - 1, slot - 32)


@question
async def block_subscribe(story: TokenStory, socket: SolanaWsClientProtocol) -> None:
    wallet = Keypair().pubkey()
    await socket.block_subscribe(
        RpcBlockSubscribeFilterMentions(wallet), Confirmed, "jsonParsed", max_supported_transaction_version=0
    )
    await told(socket)
    story.driver.advance()
    await paid(story, wallet)
    slot = story.driver.advance()
    news = await told(socket)
    assert isinstance(news, BlockNotification)
    update = news.result.value
    assert (update.slot, update.err) == (slot - 1, None)
    assert update.block is not None
    assert update.block.transactions is not None
    assert len(update.block.transactions) == 1


@question
async def vote_subscribe(story: TokenStory, socket: SolanaWsClientProtocol) -> None:
    await socket.vote_subscribe()
    subscription = (await told(socket)).result
    # Nobody votes on a chain of one node: what comes next is the reply to another request.
    story.driver.advance(3)
    await socket.root_subscribe()
    assert (await told(socket)).result != subscription
    await socket.root_unsubscribe(max(socket.subscriptions))
    await told(socket)


@pytest.mark.parametrize("name", sorted(QUESTIONS))
async def test_a_subscriber_is_told_and_can_leave(
    story: TokenStory, socket: SolanaWsClientProtocol, name: str
) -> None:
    await QUESTIONS[name](story, socket)
    for subscription in list(socket.subscriptions):
        leave = getattr(socket, name.replace("subscribe", "unsubscribe"))
        await leave(subscription)
        await told(socket)
    story.driver.advance(2)
    await socket.slot_subscribe()
    assert (await told(socket)).result >= 0


def test_every_topic_of_the_client_is_subscribed_to() -> None:
    topics = {name.removesuffix("_subscribe") for name in QUESTIONS}
    known = {f"{topic}_{verb}" for topic in topics for verb in ("subscribe", "unsubscribe")}
    assert known | {"recv", "send_data"} == public_methods()
