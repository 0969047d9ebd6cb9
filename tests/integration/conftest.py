"""A `Deal` with everything embedded, on a chain whose slots are short."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from solders.account import Account
from solders.pubkey import Pubkey

from deal_localnet import Localnet
from deal_sdk import Deal, User
from deal_sdk.chain import LocalnetTransport

FAST_CHAIN = {"localnet_slot_seconds": 0.02, "localnet_finality_slots": 8}
PAID = ("confirmed", "finalized")
"""What a payment is that was waited for: on these short slots it may be final before anyone looks."""
FROZEN = 2
_STATE_BYTE = 108


@pytest.fixture
async def deal() -> AsyncIterator[Deal]:
    async with Deal.open(**FAST_CHAIN, history_poll_interval_seconds=0.05) as opened:
        yield opened
        await assert_books_agree(opened)


@dataclass(frozen=True)
class Person:
    user: User
    address: str


MakePerson = Callable[..., Awaitable[Person]]


@pytest.fixture
def make_person(deal: Deal) -> MakePerson:
    async def make(tokens: str | None = None, *, tier: str = "Business") -> Person:
        user = await deal.users.create(tier=tier)
        wallet = await deal.wallets.create_custodial(user.id)
        if tokens is not None:
            await deal.tokens.transfer("treasury", user.id, tokens)
        return Person(user, wallet.address)

    return make


async def assert_books_agree(deal: Deal) -> None:
    """For every wallet the history chains and ends at the chain, and every other rule holds."""
    assert await deal.settled(timeout_seconds=30)
    report = await deal.verify()
    assert report.ok, [check for check in report.checks if not check.ok]


def localnet_of(deal: Deal) -> Localnet:
    """Return the embedded chain, to hold its slots or to change what nobody could from outside."""
    transport = deal.rpc.transport
    assert isinstance(transport, LocalnetTransport)
    return transport.localnet


def token_account(deal: Deal, address: str) -> str:
    return str(deal.token_account_of(Pubkey.from_string(address)))


async def freeze(deal: Deal, wallet: str) -> None:
    """Freeze a token account behind the backend's back, as an issuer could."""
    localnet = localnet_of(deal)
    address = Pubkey.from_string(token_account(deal, wallet))
    found = localnet.bank.accounts.current(address)
    assert found is not None
    data = bytearray(found.data)
    data[_STATE_BYTE] = FROZEN
    changed = Account(found.lamports, bytes(data), found.owner, found.executable, found.rent_epoch)
    localnet.set_account(address, changed)
