"""Wiring of renewals, and the job that runs them daily."""

from __future__ import annotations

from typing import Final

from deal_sdk.accounting import (
    AnswerCache,
    ChannelMembership,
    Journal,
    Memberships,
    MonthlyRenewalService,
    Period,
    RenewalObserver,
    RenewalReport,
    Terms,
    TierPlan,
    TierPlans,
)
from deal_sdk.accounting.renewals import next_run_at
from deal_sdk.accounting.series import MEMBERSHIP_UNKNOWN
from deal_sdk.clock import Clock
from deal_sdk.records import Database
from deal_sdk.settings import Settings

RETRY_SECONDS: Final = 600.0
"""After a run in which somebody could not be renewed who may be before tomorrow."""


class RenewalJob:
    """Renews at once, because a run may have been missed, and then whenever the cron expression says so."""

    name: Final = "renewals"

    def __init__(self, renewals: MonthlyRenewalService, clock: Clock) -> None:
        """Keep the parts."""
        self._renewals = renewals
        self._clock = clock
        self._is_complete = False

    @property
    def interval_seconds(self) -> float:
        """Return how long to wait for the next run."""
        now = self._clock.now()
        until_next = (next_run_at(now) - now).total_seconds()
        return until_next if self._is_complete else min(until_next, RETRY_SECONDS)

    async def run_once(self) -> None:
        """Renew everybody who is due."""
        self._is_complete = False
        self._is_complete = is_complete(await self._renewals.renew_all_eligible(), self._renewals)


def is_complete(report: RenewalReport, renewals: MonthlyRenewalService) -> bool:
    """Say whether a run renewed all whom another one soon could renew."""
    # Where nobody answers for the channel, asking again changes nothing.
    unknown = report.skipped[MEMBERSHIP_UNKNOWN] if renewals.memberships.source is not None else 0
    return report.failed == 0 and unknown == 0


def make_renewals(
    database: Database,
    journal: Journal,
    settings: Settings,
    *,
    watch: RenewalObserver | None = None,
    membership: ChannelMembership | None = None,
    cache: AnswerCache | None = None,
) -> MonthlyRenewalService:
    """Make the service as the settings say; nothing is read yet.

    Args:
        database: where users are.
        journal: writes the ledger.
        settings: what tiers grant, and the terms of renewals.
        watch: told of what was done.
        membership: knows who is in the operator's channel.
        cache: keeps its answers.
    """
    return MonthlyRenewalService(
        database,
        journal,
        plans=_plans(settings),
        terms=Terms(
            Period.parse(settings.renewal_period),
            settings.renewal_catch_up_periods,
            settings.renewal_mode,
            settings.renewal_rollover_cap,
            settings.renewal_expire_after_periods,
        ),
        memberships=Memberships(
            membership,
            clock=database.clock,
            cache=cache,
            ttl_seconds=settings.channel_membership_ttl_seconds,
        ),
        watch=watch,
    )


def _plans(settings: Settings) -> TierPlans:
    return TierPlans(
        {
            tier: TierPlan(tier, plan.credits, plan.price_rub, plan.needs_channel)
            for tier, plan in settings.tier_plans.items()
        }
    )
