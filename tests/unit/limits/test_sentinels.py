"""What a look-up of the master leaves behind when it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio.client import PubSub

from deal_sdk.limits._errors import Address
from deal_sdk.limits.lanes import SERVER_PIPELINES, Lane
from deal_sdk.limits.scripts import Digests, Words
from deal_sdk.limits.sentinels import SentinelServers

MASTER = [b"127.0.0.1", b"7001"]


class Connections:
    """To one server, which gives one answer once it may."""

    def __init__(self, answer: object, *, may_answer: bool = True) -> None:
        self._answer = answer
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.is_closed = False
        if may_answer:
            self.may_answer.set()

    async def exchange(self, commands: Sequence[Words]) -> list[Any]:
        self.was_asked.set()
        await self.may_answer.wait()
        return [self._answer] * len(commands)

    async def drop(self) -> None:
        """There is nothing idle here."""

    async def close(self) -> None:
        self.is_closed = True

    def subscriber(self) -> PubSub:
        raise AssertionError("nobody subscribes here")


def lane_to(connections: Connections) -> Lane:
    return Lane(connections, name="a server", form=Digests(), pipelines=SERVER_PIPELINES)


async def test_a_look_up_that_is_stopped_closes_the_way_that_it_was_trying() -> None:
    sentinel, master = Connections(MASTER), Connections([b"master"], may_answer=False)
    servers = SentinelServers([lane_to(sentinel)], "payments", lambda address: lane_to(master))
    looking = asyncio.create_task(servers.look_up())
    await master.was_asked.wait()
    closing = asyncio.create_task(servers.close())
    await asyncio.sleep(0)
    master.may_answer.set()
    await closing
    await looking
    assert sentinel.is_closed
    assert master.is_closed


@pytest.mark.parametrize(("role", "is_kept"), [(b"master", True), (b"slave", False)])
async def test_only_the_way_to_a_master_is_kept(role: bytes, is_kept: bool) -> None:
    server = Connections([role])
    asked: list[Address] = []

    def make(address: Address) -> Lane:
        asked.append(address)
        return lane_to(server)

    servers = SentinelServers([lane_to(Connections(MASTER))], "payments", make)
    await servers.look_up()
    await asyncio.sleep(0)
    assert asked == [Address("127.0.0.1", 7001)]
    assert (servers.lane_for(None) is not None, server.is_closed) == (is_kept, not is_kept)
    await servers.close()
    assert server.is_closed
