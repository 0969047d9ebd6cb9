import asyncio

import pytest

from deal_localnet import Localnet, LocalnetConfig
from deal_localnet.slots import Commitment

FAST = LocalnetConfig(slot_seconds=0.005)


async def slot_after(localnet: Localnet, wanted: int) -> int:
    for _ in range(2_000):
        if localnet.bank.chain.open.slot >= wanted:
            break
        await asyncio.sleep(0.005)
    return localnet.bank.chain.open.slot


async def test_the_clock_closes_slots_until_it_is_closed() -> None:
    localnet = Localnet(FAST)
    await localnet.start()
    assert await slot_after(localnet, 5) >= 5
    await localnet.close()
    slot = localnet.bank.chain.open.slot
    await asyncio.sleep(0.05)
    assert localnet.bank.chain.open.slot == slot
    await localnet.close()


async def test_a_paused_clock_stands_still_and_goes_on() -> None:
    async with Localnet(FAST) as localnet:
        localnet.pause()
        await asyncio.sleep(0.02)
        slot = localnet.bank.chain.open.slot
        await asyncio.sleep(0.05)
        assert localnet.bank.chain.open.slot == slot
        localnet.resume()
        assert await slot_after(localnet, slot + 2) >= slot + 2


async def test_slots_can_be_closed_by_hand() -> None:
    async with Localnet(LocalnetConfig(auto_advance=False, finality_slots=2)) as localnet:
        assert localnet.advance_slots(9) == 10
        assert [localnet.bank.chain.slot_at(level) for level in Commitment] == [10, 9, 8]


async def test_nothing_works_before_the_start() -> None:
    localnet = Localnet()
    with pytest.raises(RuntimeError, match="not started"):
        await localnet.handle(b'{"jsonrpc":"2.0","id":1,"method":"getHealth"}')
    with pytest.raises(RuntimeError, match="not started"):
        localnet.open_subscription_session(print)


async def test_a_second_start_is_refused() -> None:
    async with Localnet(LocalnetConfig(auto_advance=False)) as localnet:
        with pytest.raises(RuntimeError, match="already started"):
            await localnet.start()


async def test_two_chains_in_one_process_are_apart() -> None:
    config = LocalnetConfig(auto_advance=False)
    async with Localnet(config) as one, Localnet(config) as other:
        one.advance_slots(3)
        assert one.bank.genesis_hash != other.bank.genesis_hash
        assert other.bank.chain.open.slot == 1
