"""The embedded validator behind TCP, its slots passing only by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer
from deal_sdk.chain.allowance import embedded_programs
from tests.integration.clients.token_story import TokenStory


@pytest.fixture
async def localnet() -> AsyncIterator[Localnet]:
    config = LocalnetConfig(auto_advance=False, programs=embedded_programs())
    async with Localnet(config) as started:
        yield started


@pytest.fixture
async def server(localnet: Localnet) -> AsyncIterator[LocalnetServer]:
    async with LocalnetServer(localnet, rpc_port=0) as started:
        yield started


@pytest.fixture
async def story(localnet: Localnet, server: LocalnetServer) -> AsyncIterator[TokenStory]:
    told = await TokenStory.tell(localnet, server)
    async with told.client:
        yield told
