"""Opening the RPC side that the settings name: an embedded chain, one endpoint, or a pool of several.

Owns the choice and the endpoints' names. One endpoint has no breaker and no hedges, because there is
no other to go to; its pace is kept all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from deal_sdk.chain.breaker import BreakerState, CircuitBreaker
from deal_sdk.chain.channel import DEFAULT_MAX_BATCH_ITEMS, RpcChannel
from deal_sdk.chain.guard import EndpointGuard
from deal_sdk.chain.pacing import Pace
from deal_sdk.chain.pool import RpcPool
from deal_sdk.chain.pool_member import PoolMember
from deal_sdk.chain.rpc import Rpc
from deal_sdk.chain.transport import HttpTransport, Transport, endpoint_label, open_transport
from deal_sdk.clock import Clock
from deal_sdk.errors import ConfigurationError
from deal_sdk.metrics import BREAKER_STATES, Metrics
from deal_sdk.settings import EMBEDDED_CHAIN_URL, Settings, split_endpoint


async def open_rpc(settings: Settings, *, clock: Clock, metrics: Metrics) -> Rpc:
    """Open what the settings name; `close` of the client closes it.

    Args:
        settings: name the endpoints and bound their use.
        clock: for all waiting.
        metrics: for all calls.

    Raises:
        ConfigurationError: for settings that name no endpoint, or one twice.
        ChainMismatchError: when two endpoints are of different clusters.
        RpcUnavailableError: when none of several can be reached; a single one is not asked yet.
    """
    if settings.rpc_endpoints[0].startswith(EMBEDDED_CHAIN_URL):
        transport = await open_transport(
            settings.rpc_url,
            clock=clock,
            localnet_slot_seconds=settings.localnet_slot_seconds,
            localnet_finality_slots=settings.localnet_finality_slots,
        )
        return Rpc(transport, clock=clock, metrics=metrics)
    urls = _by_name(settings.rpc_endpoints)
    _check(settings, urls)
    transports = [
        HttpTransport(
            url,
            clock=clock,
            timeout_seconds=settings.rpc_timeout_seconds,
            max_connections=settings.rpc_max_connections,
            name=name,
        )
        for name, url in urls.items()
    ]
    if len(transports) == 1:
        guard = _guard(transports[0], settings, clock, None)
        return Rpc.over(_channel(transports[0], guard, clock, metrics))
    return await open_pool(transports, settings, clock=clock, metrics=metrics)


async def open_pool(
    transports: Sequence[Transport], settings: Settings, *, clock: Clock, metrics: Metrics
) -> Rpc:
    """Open a pool over transports, each of another name; they are closed when that fails.

    Args:
        transports: in the order of preference.
        settings: bound their use.
        clock: for all waiting.
        metrics: for all calls.

    Raises:
        ChainMismatchError, RpcUnavailableError: see `RpcPool.open`.
    """
    members = []
    for position, transport in enumerate(transports):
        guard = _guard(transport, settings, clock, metrics)
        channel = _channel(transport, guard, clock, metrics)
        members.append(PoolMember(channel, guard, position=position, metrics=metrics))
    pool = RpcPool(
        members,
        clock=clock,
        metrics=metrics,
        max_slot_lag=settings.rpc_max_slot_lag,
        probe_interval_seconds=settings.rpc_probe_interval_seconds,
        hedge_share=settings.rpc_hedge_share,
    )
    try:
        await pool.open()
    except BaseException:
        await pool.close()
        await asyncio.gather(*(transport.close() for transport in transports))
        raise
    return Rpc.over(pool)


def _guard(transport: Transport, settings: Settings, clock: Clock, metrics: Metrics | None) -> EndpointGuard:
    name = transport.endpoint
    rate = settings.rpc_calls_per_second
    pace = Pace(
        name,
        clock=clock,
        calls_per_second=rate.get(name) if isinstance(rate, dict) else rate,
        max_wait_seconds=settings.rpc_rate_wait_seconds,
    )
    if metrics is None:
        return EndpointGuard(name, clock=clock, pace=pace)
    gauge = metrics.rpc_endpoint_state.labels(name)

    def show(state: BreakerState) -> None:
        gauge.set(BREAKER_STATES[state])

    breaker = CircuitBreaker(
        clock=clock,
        failures_to_open=settings.rpc_breaker_failures,
        open_seconds=settings.rpc_breaker_open_seconds,
        on_change=show,
    )
    return EndpointGuard(name, clock=clock, pace=pace, breaker=breaker)


def _channel(transport: Transport, guard: EndpointGuard, clock: Clock, metrics: Metrics) -> RpcChannel:
    burst_calls = guard.pace.burst_calls
    return RpcChannel(
        transport,
        clock=clock,
        metrics=metrics,
        # A batch of more calls than an endpoint allows at once would be refused for ever.
        max_batch_items=min(DEFAULT_MAX_BATCH_ITEMS, burst_calls or DEFAULT_MAX_BATCH_ITEMS),
        guard=guard,
    )


def _by_name(entries: Sequence[str]) -> dict[str, str]:
    urls: dict[str, str] = {}
    for entry in entries:
        name, url = split_endpoint(entry)
        if url in urls.values():
            raise ConfigurationError(
                "the setting rpc_urls names an endpoint twice", endpoint=endpoint_label(url)
            )
        name = name or endpoint_label(url)
        # One provider may be used with several keys, which no name may show.
        taken = sum(1 for known in urls if known == name or known.startswith(f"{name}#"))
        urls[f"{name}#{taken + 1}" if taken else name] = url
    return urls


def _check(settings: Settings, urls: Mapping[str, str]) -> None:
    rates = settings.rpc_calls_per_second
    unknown = sorted(set(rates) - set(urls)) if isinstance(rates, dict) else []
    if unknown:
        raise ConfigurationError(
            "the setting rpc_calls_per_second names endpoints that rpc_urls does not", endpoints=sorted(urls)
        )
    if settings.required_expiry_opinions > len(urls):
        raise ConfigurationError(
            "the setting rpc_expiry_opinions asks for more endpoints than there are", endpoints=sorted(urls)
        )
