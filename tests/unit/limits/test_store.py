"""URLs, names and in-process stores; what needs a server is in tests/contract."""

from __future__ import annotations

import asyncio

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import ConfigurationError, StoreUnavailableError
from deal_sdk.limits import open_store
from deal_sdk.limits.programs import gate_script, reset_script, settle_script
from deal_sdk.limits.scripts import load_script


class TestUrl:
    @pytest.mark.parametrize(
        ("url", "name"),
        [
            ("redis://:secret@host:6380/2", "redis://host:6380/2"),
            ("rediss://user:secret@host", "rediss://host:6379"),
            ("redis://:secret@[::1]:7000/0", "redis://[::1]:7000/0"),
            ("unix://:secret@/run/redis.sock", "unix:///run/redis.sock"),
            ("redis+cluster://:secret@a:7000,b", "redis+cluster://a:7000,b:6379"),
            ("rediss+cluster://u:secret@[::1]:7000", "rediss+cluster://[::1]:7000"),
            ("redis+sentinel://u:secret@a,b:7/deal/3", "redis+sentinel://a:26379,b:7/deal"),
        ],
    )
    async def test_shows_no_password(self, url: str, name: str) -> None:
        async with open_store(url) as store:
            assert repr(store) == f"Store({name})"

    @pytest.mark.parametrize(
        "url",
        [
            "redis://:secret@host:port/0",
            "http://secret",
            "secret",
            "redis+cluster://:secret@a,,b",
            "redis+cluster://:secret@a:port",
            "redis+cluster://:secret@a/1",
            "redis+sentinel://:secret@a",
            "redis+other://:secret@a",
        ],
    )
    def test_that_cannot_be_used_is_not_repeated(self, url: str) -> None:
        with pytest.raises(ConfigurationError) as raised:
            open_store(url)
        assert "secret" not in str(raised.value)
        assert raised.value.__suppress_context__ or raised.value.__context__ is None

    @pytest.mark.parametrize("form", ["cluster", "sentinel"])
    async def test_nobody_of_several_listens_there(self, form: str) -> None:
        url = f"redis+{form}://:secret@127.0.0.1:1,127.0.0.1:2"
        async with open_store(url + "/deal" * (form == "sentinel"), timeout_seconds=1) as store:
            for call in (store.ping(), store.command("GET", "key")):
                with pytest.raises(StoreUnavailableError) as raised:
                    await call
                assert raised.value.facts["reason"] == "connection"

    async def test_nobody_listens_there(self) -> None:
        async with open_store("redis://:secret@127.0.0.1:1/0", timeout_seconds=1) as store:
            with pytest.raises(StoreUnavailableError) as raised:
                await store.ping()
        assert raised.value.retryable
        assert raised.value.facts == {"store": "redis://127.0.0.1:1/0", "reason": "connection"}


class TestMemory:
    async def test_is_private_unless_named(self) -> None:
        async with (
            open_store("memory://") as first,
            open_store("memory://") as second,
            open_store("memory://shared") as third,
            open_store("memory://shared") as fourth,
        ):
            await first.command("SET", "key", "1")
            await third.command("SET", "key", "3")
            assert await second.command("GET", "key") is None
            assert await fourth.command("GET", "key") == b"3"

    async def test_a_name_is_free_again_when_nobody_holds_it(self) -> None:
        async with open_store("memory://passing") as store:
            await store.command("SET", "key", "1")
        async with open_store("memory://passing") as store:
            assert await store.command("GET", "key") is None

    async def test_serves_many_at_once_without_a_time_limit(self) -> None:
        async with open_store("memory://", timeout_seconds=0.000_001) as store:
            replies = await asyncio.gather(*(store.command("INCR", "key") for _ in range(500)))
        assert replies == list(range(1, 501))

    async def test_one_refusal_is_no_neighbours(self) -> None:
        async with open_store("memory://") as store:
            await store.command("SET", "text", "a")
            first, second, third = await asyncio.gather(
                store.command("GET", "text"),
                store.command("LPUSH", "text", "b"),
                store.command("GET", "text"),
                return_exceptions=True,
            )
        assert (first, third) == (b"a", b"a")
        assert isinstance(second, StoreUnavailableError)
        assert second.facts["answer"] == "WRONGTYPE"


async def test_scripts_ask_the_server_for_the_time_unless_a_test_sets_it() -> None:
    clock = ManualClock()
    async with open_store("memory://") as real, open_store("memory://", test_clock=clock) as manual:
        assert real.script_time() == ""
        await clock.advance(0.000_001)
        assert manual.script_time() == "1767225600000001"


def test_a_script_is_read_once_and_named_by_its_digest() -> None:
    script = load_script("gate", "base", "gate")
    assert script is load_script("gate", "base", "gate")
    assert len(script.sha1) == 40


def test_no_script_writes_a_number_as_lua_does_by_itself() -> None:
    gates = [
        gate_script(families, reserves=reserves) for families in range(1, 8) for reserves in (False, True)
    ]
    for script in (*gates, settle_script(), reset_script()):
        assert "tostring" not in script.source.replace("tostring()", "")
    assert len({script.name for script in gates}) == len({script.sha1 for script in gates}) == len(gates)
