"""What procrastinate is told of renewals; the guide's recipe runs on PostgreSQL in tests/acceptance."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from procrastinate import App
from procrastinate.testing import InMemoryConnector

from deal_sdk.accounting import RenewalReport, RenewalResult
from deal_sdk.accounting.series import MEMBERSHIP_UNKNOWN
from deal_sdk.client.scheduling import RENEWAL_TASK, schedule_renewals
from deal_sdk.errors import RenewalsIncompleteError


class Renewals:
    """Has a report for whoever runs it."""

    def __init__(self, code: str | None, *, has_channel: bool) -> None:
        self.memberships = SimpleNamespace(source=object() if has_channel else None)
        self._code = code

    async def renew_all_eligible(self) -> RenewalReport:
        report = RenewalReport(dry_run=False)
        report.add(RenewalResult(None, self._code is None, 0, None, "as it went", self._code))  # type: ignore[arg-type]
        return report


def scheduled(renewals: Any, **options: str) -> tuple[App, Callable[..., Any]]:
    app = App(connector=InMemoryConnector())
    schedule_renewals(app, renewals, **options)
    return app, app.tasks[RENEWAL_TASK].func


def test_it_is_daily_and_one_at_a_time() -> None:
    app, _ = scheduled(Renewals(None, has_channel=True))
    task = app.tasks[RENEWAL_TASK]
    assert task.queueing_lock == task.lock == RENEWAL_TASK
    [periodic] = app.periodic_registry.periodic_tasks.values()
    assert periodic.cron == "0 2 * * *"
    other, _ = scheduled(Renewals(None, has_channel=True), cron="30 4 * * 1")
    [periodic] = other.periodic_registry.periodic_tasks.values()
    assert periodic.cron == "30 4 * * 1"


@pytest.mark.parametrize(
    ("code", "has_channel", "is_done"),
    [
        (None, True, True),
        ("balance_too_large", True, False),
        (MEMBERSHIP_UNKNOWN, True, False),
        (MEMBERSHIP_UNKNOWN, False, True),
    ],
)
async def test_a_run_that_another_could_complete_fails(
    code: str | None, has_channel: bool, is_done: bool
) -> None:
    _, run = scheduled(Renewals(code, has_channel=has_channel))
    if is_done:
        assert (await run(0))["dry_run"] is False
        return
    with pytest.raises(RenewalsIncompleteError) as failure:
        await run(0)
    assert failure.value.retryable
