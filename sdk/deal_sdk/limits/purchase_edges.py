"""Who may be near the end of a purchase limit, as the SQL record tells.

The record cannot say where each period began, so these are candidates; the counters decide.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from deal_sdk.records.purchase_tables import token_purchases


def users_near_edge(since: datetime, percent: int, limit: int) -> sa.Select[Any]:
    """Return the query for users whose purchases of a token come near the maximum, the nearest first.

    Args:
        since: purchases from this time on count.
        percent: of the maximum, 1 to 100.
        limit: how many users at most.
    """
    column = token_purchases.c
    count, maximum = sa.func.count(), sa.func.max(column.max_purchases)
    groups = (
        sa.select(column.user_id, (count * 100 / maximum).label("percent"))
        .where(column.state.in_(("reserved", "counted")), column.created_at >= since)
        .group_by(column.user_id, column.token_mint)
        .having(count * 100 >= maximum * percent)
        .subquery()
    )
    nearest = sa.func.max(groups.c.percent)
    return sa.select(groups.c.user_id).group_by(groups.c.user_id).order_by(nearest.desc()).limit(limit)
