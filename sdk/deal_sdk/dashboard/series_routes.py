"""What the charts draw: the volume of payments, and how a wallet's balance changed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from deal_sdk.dashboard.endpoints import API_PREFIX, Call, Endpoint
from deal_sdk.dashboard.models import (
    MAX_SERIES_POINTS,
    BalanceHistory,
    BalancePoint,
    BalanceQuery,
    Volume,
    VolumePoint,
    VolumeQuery,
    amount_text,
)
from deal_sdk.dashboard.service import Service
from deal_sdk.records.volumes import payment_volume

_PATH: Final = f"{API_PREFIX}/series"
_TAG: Final = "series"
_BUCKETS_SECONDS: Final = (300, 900, 3_600, 6 * 3_600, 86_400)
_WANTED_BUCKETS: Final = 100


async def volume(service: Service, call: Call) -> Volume:
    """Return payments and their amounts over time, in buckets that fit a chart."""
    query: VolumeQuery = call.query
    now = service.deal.clock.now()
    seconds = query.hours * 3_600
    bucket = next((b for b in _BUCKETS_SECONDS if seconds <= b * _WANTED_BUCKETS), _BUCKETS_SECONDS[-1])
    buckets = await payment_volume(
        service.deal.database, since=now - timedelta(seconds=seconds), until=now, bucket_seconds=bucket
    )
    decimals = service.deal.mint.decimals
    points = [
        VolumePoint(at=one.starts_at_seconds, payments=one.payments, amount=amount_text(one.amount, decimals))
        for one in buckets
    ]
    return Volume(bucket_seconds=bucket, points=points)


async def balance(service: Service, call: Call) -> BalanceHistory:
    """Return how a wallet's balance changed in a period, its newest changes."""
    query: BalanceQuery = call.query
    since = service.deal.clock.now() - timedelta(hours=query.hours)
    page = await service.deal.history.query(
        wallet=query.wallet, since=since, newest_first=True, limit=MAX_SERIES_POINTS
    )
    decimals = service.deal.mint.decimals
    points = [
        BalancePoint(
            at=_seconds(row.block_time or row.created_at), amount=amount_text(row.balance_after, decimals)
        )
        for row in reversed(page.items)
    ]
    return BalanceHistory(wallet=query.wallet, points=points, is_cut=page.next_cursor is not None)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path=f"{_PATH}/volume",
        summary="Return the volume of payments over time",
        tag=_TAG,
        handler=volume,
        query=VolumeQuery,
        answer=Volume,
    ),
    Endpoint(
        method="GET",
        path=f"{_PATH}/balance",
        summary="Return how a wallet's balance changed",
        tag=_TAG,
        handler=balance,
        query=BalanceQuery,
        answer=BalanceHistory,
    ),
)
