"""What the settings open: one endpoint without more than it needs, several as a pool, names without keys."""

from __future__ import annotations

import pytest

from deal_sdk.chain.channel import RpcChannel
from deal_sdk.chain.pool import RpcPool
from deal_sdk.chain.rpc_opening import _by_name, open_rpc
from deal_sdk.clock import ManualClock
from deal_sdk.errors import ConfigurationError, RpcAllEndpointsFailedError
from deal_sdk.metrics import Metrics
from deal_sdk.settings import load_settings

SECRET = "0123456789abcdef"
NOWHERE = f"http://user:{SECRET}@127.0.0.1:9/{SECRET}?api-key={SECRET}"


async def opened(**settings):
    return await open_rpc(load_settings(**settings), clock=ManualClock(), metrics=Metrics())


async def test_one_endpoint_has_a_pace_and_neither_breaker_nor_pool():
    rpc = await opened(rpc_urls=f"main={NOWHERE}", rpc_calls_per_second=10)
    channel = rpc._channel
    assert type(channel) is RpcChannel
    assert channel._guard.breaker is None
    assert channel._guard.pace.burst_calls == 10
    assert rpc.endpoint == "main"
    assert rpc.members == (rpc,)
    assert not isinstance(channel, RpcPool)
    await rpc.close()


async def test_nobody_there_is_said_without_any_secret(caplog):
    with pytest.raises(RpcAllEndpointsFailedError) as caught:
        await opened(rpc_urls=[NOWHERE, f"spare={NOWHERE}x"], rpc_timeout_seconds=1)
    assert set(caught.value.facts["endpoints"]) == {"http://127.0.0.1:9", "spare"}
    assert SECRET not in str(caught.value.to_dict()) + caught.value.message + caplog.text


def test_names_are_given_or_made_from_the_host_and_never_shared():
    urls = [
        "https://one.example/k1",
        "https://one.example/k2",
        "mine=https://two.example",
        "http://[::1]:8899",
    ]
    assert list(_by_name(urls)) == ["https://one.example", "https://one.example#2", "mine", "http://::1:8899"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"rpc_urls": [NOWHERE, f"again={NOWHERE}"]}, "rpc_urls"),
        ({"rpc_urls": [f"a={NOWHERE}"], "rpc_calls_per_second": {"b": 1}}, "rpc_calls_per_second"),
        ({"rpc_urls": [f"a={NOWHERE}"], "rpc_expiry_opinions": 2}, "rpc_expiry_opinions"),
    ],
)
async def test_what_cannot_be_meant_is_refused_without_repeating_a_url(settings, named):
    with pytest.raises(ConfigurationError) as caught:
        await opened(**settings)
    assert named in caught.value.message
    assert SECRET not in str(caught.value.to_dict())
