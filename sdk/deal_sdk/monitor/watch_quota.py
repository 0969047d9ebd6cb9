"""What watching costs in RPC calls, by wallet and day, against what the provider allows.

A provider's day is taken to be UTC's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.monitor import texts
from deal_sdk.monitor.watch_store import WatchPolicy
from deal_sdk.monitor.watch_values import QuotaOverview
from deal_sdk.records import Database
from deal_sdk.records.watch_tables import watch_rpc_usage, watched_wallets

_DAY_SECONDS: Final = 86_400
_LEAST_PAST_SECONDS: Final = 3_600
"""The first calls after midnight say nothing of a day."""
_usage = watch_rpc_usage.c


class QuotaBook:
    """Counts calls and says how far the day will come."""

    def __init__(self, database: Database, policy: WatchPolicy, *, daily_quota: int) -> None:
        """Keep the database and the quota, in calls a day."""
        self._database = database
        self._policy = policy
        self._daily_quota = daily_quota

    async def add(self, connection: AsyncConnection, calls: Mapping[str, int]) -> None:
        """Count calls for wallets, inside the caller's transaction."""
        day = self._database.clock.now().date().isoformat()
        rows = [
            {"day": day, "wallet": wallet, "calls": made} for wallet, made in sorted(calls.items()) if made
        ]
        if not rows:
            return
        insert = self._database.insert(watch_rpc_usage).values(rows)
        await connection.execute(
            insert.on_conflict_do_update(
                index_elements=["day", "wallet"], set_={"calls": _usage.calls + insert.excluded.calls}
            )
        )

    async def delete(self, before: datetime) -> int:
        """Delete the counts of the days before the one of a time, and return how many there were.

        Raises:
            DatabaseError: nothing was deleted.
        """
        delete = sa.delete(watch_rpc_usage).where(_usage.day < before.date().isoformat())
        return await self._database.run(lambda connection: _deleted(connection, delete))

    async def overview(self) -> QuotaOverview:
        """Return today's calls and the forecast."""
        now = self._database.clock.now()
        day = now.date().isoformat()
        by_wallet = sa.select(_usage.wallet, _usage.calls).where(_usage.day == day).order_by(_usage.wallet)
        active = sa.select(sa.func.count()).select_from(watched_wallets)
        active = active.where(watched_wallets.c.state == "active")

        async def unit(connection: AsyncConnection) -> tuple[dict[str, int], int]:
            rows = (await connection.execute(by_wallet)).all()
            return {row.wallet: row.calls for row in rows}, (await connection.execute(active)).scalar_one()

        calls, active_wallets = await self._database.read(unit)
        used = sum(calls.values())
        return QuotaOverview(
            day=day,
            calls_used=used,
            daily_quota=self._daily_quota,
            forecast_calls=_forecast(used, now),
            active_wallets=active_wallets,
            max_wallets=self._policy.max_wallets,
            calls_by_wallet=calls,
            note=texts.quota_note(self._policy.limits.default),
        )


async def _deleted(connection: AsyncConnection, delete: sa.Delete) -> int:
    return (await connection.execute(delete)).rowcount


def _forecast(used: int, now: datetime) -> int:
    past_seconds = now.hour * 3_600 + now.minute * 60 + now.second
    return used * _DAY_SECONDS // max(past_seconds, _LEAST_PAST_SECONDS)
