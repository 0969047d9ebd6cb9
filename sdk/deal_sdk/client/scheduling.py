"""Renewals as a periodic task of procrastinate, whose workers share a PostgreSQL database.

It only says when: that each period is granted once is the ledger's doing, whoever runs it and how often.
Its tables are its own; the migrations of this package know nothing of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from deal_sdk.accounting import MonthlyRenewalService
from deal_sdk.accounting.renewals import CRON_EXPRESSION
from deal_sdk.client.renewals import RETRY_SECONDS, is_complete
from deal_sdk.errors import RenewalsIncompleteError

if TYPE_CHECKING:
    from procrastinate import App

RENEWAL_TASK: Final = "deal_sdk.renewals"
RENEWAL_QUEUE: Final = "deal_sdk"
MAX_RENEWAL_ATTEMPTS: Final = 36
"""Six hours of them; the next day's run begins with whoever is still due."""


def schedule_renewals(app: App, renewals: MonthlyRenewalService, *, cron: str = CRON_EXPRESSION) -> None:
    """Let an application of procrastinate renew everybody who is due whenever a cron expression says so.

    A run in which somebody could not be renewed, because the database or the channel did not answer, is
    repeated after ten minutes.

    Args:
        app: whose workers run it; each needs a `MonthlyRenewalService` of its own.
        renewals: of an open `Deal`.
        cron: in UTC; daily at 02:00 by default.
    """
    from procrastinate import RetryStrategy

    # One run at a time is enough, and one that waits behind it; more would find nothing to do.
    @app.periodic(cron=cron)
    @app.task(
        name=RENEWAL_TASK,
        queue=RENEWAL_QUEUE,
        lock=RENEWAL_TASK,
        queueing_lock=RENEWAL_TASK,
        retry=RetryStrategy(max_attempts=MAX_RENEWAL_ATTEMPTS, wait=int(RETRY_SECONDS)),
    )
    async def renew(timestamp: int) -> dict[str, Any]:
        report = await renewals.renew_all_eligible()
        if not is_complete(report, renewals):
            raise RenewalsIncompleteError(
                "somebody could not be renewed, and is tried again", failed=report.failed
            )
        return report.to_dict()
