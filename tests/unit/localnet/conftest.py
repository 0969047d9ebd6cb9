"""A localnet whose slots pass only by hand."""

from collections.abc import AsyncIterator

import pytest

from deal_localnet import Localnet, LocalnetConfig
from tests.unit.localnet.support import Driver

NOW = 1_800_000_000


@pytest.fixture
async def driver() -> AsyncIterator[Driver]:
    config = LocalnetConfig(auto_advance=False, wall_clock=lambda: float(NOW))
    async with Localnet(config) as localnet:
        driver = Driver(localnet)
        await driver.fund()
        yield driver


@pytest.fixture
async def fuzzed(driver: Driver) -> Localnet:
    return driver.localnet
