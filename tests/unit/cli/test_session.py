"""Who a name on the command line stands for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from solders.keypair import Keypair

from deal_sdk import Deal, InvalidWalletAddressError, UserNotFoundError
from deal_sdk.cli.session import find_party, find_user


@pytest_asyncio.fixture
async def deal() -> AsyncIterator[Deal]:
    async with Deal.open(rpc_url="localnet://", database_url="sqlite+aiosqlite://") as opened:
        yield opened


async def test_a_user_is_found_by_uuid_external_id_and_wallet(deal: Deal) -> None:
    user = await deal.users.create(external_id="chat:7")
    wallet = await deal.wallets.create_custodial(user.id)
    for who in (str(user.id), "ext:chat:7", wallet.address):
        assert (await find_user(deal, who)).id == user.id
    assert await find_party(deal, "ext:chat:7") == user.id
    assert await find_party(deal, "treasury") == "treasury"


async def test_nobody_is_found_under_another_name(deal: Deal) -> None:
    for who in (str(uuid4()), "ext:nobody", str(Keypair().pubkey()), "treasury"):
        with pytest.raises(UserNotFoundError):
            await find_user(deal, who)
    with pytest.raises(InvalidWalletAddressError):
        await find_user(deal, "bob")
