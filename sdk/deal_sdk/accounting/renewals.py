"""Monthly credits: who is due, one user's renewal, and a run over all of them, each period granted once."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.book import Book
from deal_sdk.accounting.commands import RESET_TYPE, Command, OperationResult
from deal_sdk.accounting.granting import Granting
from deal_sdk.accounting.journal import Journal
from deal_sdk.accounting.journal_rows import write_book
from deal_sdk.accounting.membership import Member, Memberships
from deal_sdk.accounting.plans import TierPlans
from deal_sdk.accounting.renewal_results import (
    Eligibility,
    RenewalReport,
    RenewalResult,
    RenewalStatus,
    SubscriptionResult,
)
from deal_sdk.accounting.renewal_rows import (
    Changes,
    DueUser,
    count_due,
    due_users,
    read_customers,
    to_due_user,
    write_changes,
)
from deal_sdk.accounting.renewal_watching import RenewalObserver, Unobserved
from deal_sdk.accounting.series import (
    CHANNEL_REQUIRED,
    FREE_TIER,
    MEMBERSHIP_UNKNOWN,
    REASONS,
    Customer,
    Decision,
    Terms,
    decide,
)
from deal_sdk.accounting.subscriptions import Subscriptions
from deal_sdk.errors import DatabaseUnavailableError, InvalidInputError, TokenError
from deal_sdk.records import Database, UserId, parse_user_id
from deal_sdk.records.renewal_tables import credit_renewals
from deal_sdk.records.tables import users

logger = logging.getLogger(__name__)

RENEWAL_HOUR_UTC: Final = 2
CRON_EXPRESSION: Final = f"0 {RENEWAL_HOUR_UTC} * * *"
"""Daily at 02:00 UTC."""
PAGE_USERS: Final = 250
"""Users of one page, which are renewed in one commit."""

Progress = Callable[[int, int, int], None]
"""Told after each commit how many were processed, successful and failed."""
Answers = Mapping[UUID, bool | None]
Outcome = tuple[list[RenewalResult], list[tuple[Command, OperationResult]]]


class MonthlyRenewalService:
    """Grants each user's periods once, whoever runs it and however often."""

    cron_expression: Final = CRON_EXPRESSION

    def __init__(
        self,
        database: Database,
        journal: Journal,
        *,
        plans: TierPlans | None = None,
        terms: Terms | None = None,
        memberships: Memberships | None = None,
        watch: RenewalObserver | None = None,
    ) -> None:
        """Keep the parts.

        Args:
            database: where users are.
            journal: writes the ledger.
            plans: what tiers grant.
            terms: how periods are counted, and what a renewal does to a balance.
            memberships: who is in the channel; without them no plan that needs it renews.
            watch: told of what is done in its commit, and after it.
        """
        self.plans = plans or TierPlans()
        self.terms = terms or Terms()
        self.memberships = memberships or Memberships(None, clock=database.clock)
        self._database = database
        self._journal = journal
        self._watch = watch or Unobserved()
        self._subscriptions = Subscriptions(database, journal, self.plans, self.terms, self._watch)

    async def check_eligibility(self, user_id: UserId) -> Eligibility:
        """Say whether a user is to be renewed now, and when the next period begins; changes nothing.

        Raises:
            InvalidInputError: the id is no UUID.
            DatabaseError: when the database failed.
        """
        parsed = parse_user_id(user_id)
        members = await self._ask(await self._members([parsed]))
        customer = (await self._customers([parsed])).get(parsed)
        if customer is None:
            return Eligibility(False, "User not found", None)
        decision = self._decide(customer, members, self._database.clock.now())
        return Eligibility(bool(decision.due), decision.reason, decision.next_renewal_at)

    async def renew_user(self, user_id: UserId) -> RenewalResult:
        """Grant a user every period that is due, each once; a refusal is told in the result.

        Raises:
            InvalidInputError: the id is no UUID.
            DatabaseError: when the database failed; calling again is safe.
        """
        parsed = parse_user_id(user_id)
        members = await self._ask(await self._members([parsed]))
        return (await self._renew([parsed], members, dry_run=False, stops=False))[0]

    async def renew_all_eligible(
        self,
        tier: str | None = None,
        limit: int | None = None,
        dry_run: bool = False,
        continue_on_error: bool = True,
        progress: Progress | None = None,
    ) -> RenewalReport:
        """Renew every user who is due, in pages, and let subscriptions past their expiry end.

        Several processes may run it at once, and it may be broken off and run again.

        Args:
            tier: of this tier alone.
            limit: at most so many renewals; users who are not eligible do not count.
            dry_run: only say what would be done, on a snapshot.
            continue_on_error: go on after a renewal that failed; the report lists it either way.
            progress: told after each commit.

        Raises:
            InvalidInputError: for a limit below 1, or a tier without a plan.
            DatabaseUnavailableError: no connection; what was renewed stays.
        """
        report = RenewalReport(dry_run=dry_run)
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise InvalidInputError("limit must be 1 or more", field="limit")
        after: UUID | None = None
        while not report.stopped:
            left = PAGE_USERS if limit is None else limit - report.successful - report.failed
            page = await self._page(tier, after, min(PAGE_USERS, left))
            if not page:
                break
            after = page[-1].user_id
            for result in await self._run_page(page, dry_run=dry_run, stops=not continue_on_error):
                report.add(result)
            report.stopped = report.failed > 0 and not continue_on_error
            _tell(progress, report)
            if limit is not None and report.successful + report.failed >= limit:
                break
        return report

    async def get_users_due_for_renewal(
        self, tier: str | None = None, limit: int | None = None
    ) -> AsyncGenerator[DueUser]:
        """Yield the users whose renewal or expiry may be due, in the order of their ids, a page in memory.

        Whether a member has left the channel is found out when the user is renewed.

        Args:
            tier: of this tier alone.
            limit: at most so many.
        """
        after: UUID | None = None
        left = limit
        while left is None or left > 0:
            page = await self._page(tier, after, PAGE_USERS if left is None else min(PAGE_USERS, left))
            for user in page:
                yield user
            if not page:
                return
            after = page[-1].user_id
            left = None if left is None else left - len(page)

    async def subscribe(
        self, user_id: UserId, tier: str, payment_reference: str, *, periods: int = 1
    ) -> SubscriptionResult:
        """Put a user on a tier for some periods, and grant the first one's credits, once for each payment.

        On the tier that the user has, periods are added to what is left of them; a change of tier begins at
        once, and what is left of the tier before ends. The other periods are granted as they begin.

        Args:
            user_id: who subscribes.
            tier: one with a price.
            payment_reference: the payment's id, 1 to 255 characters; again, it returns the first result.
            periods: how many were paid for, 1 to 120.

        Raises:
            IdempotencyConflictError: the payment was used for another subscription.
            InvalidInputError: for a tier that is not sold, a number or a reference that cannot be one.
            DatabaseError: when the database failed; calling again is safe.
        """
        result = await self._subscriptions.subscribe(user_id, tier, payment_reference, periods=periods)
        if result.success and not result.replayed:
            await self._watch.subscribed(parse_user_id(user_id), result)
        return result

    async def status(self) -> RenewalStatus:
        """Return how many users are due by tier, and what was renewed."""
        now = self._database.clock.now()
        due = await self._database.fetch(count_due(now, self._tiers(None)))
        granted = sa.select(sa.func.count(), sa.func.max(credit_renewals.c.created_at))
        [(renewed, last)] = await self._database.fetch(granted)
        found = {tier: int(count) for tier, count in sorted((row[0], row[1]) for row in due)}
        return RenewalStatus(CRON_EXPRESSION, next_run_at(now), found, int(renewed), last)

    def _tiers(self, tier: str | None) -> list[str]:
        if tier is not None:
            return [self.plans.named(tier).tier]
        return [plan.tier for plan in self.plans]

    async def _page(self, tier: str | None, after: UUID | None, size: int) -> list[DueUser]:
        query = due_users(self._database.clock.now(), self._tiers(tier), after=after, limit=size)
        return [to_due_user(row) for row in await self._database.fetch(query)]

    async def _run_page(self, page: Sequence[DueUser], *, dry_run: bool, stops: bool) -> list[RenewalResult]:
        asked = [user for user in page if self._needs_channel(user.tier)]
        members = await self._ask([Member(user.user_id, user.external_id) for user in asked])
        results: list[RenewalResult] = []
        taken: list[UUID] = []
        for user in page:
            code = _skipped(user, members) if self._needs_channel(user.tier) else None
            if code is None:
                taken.append(user.user_id)
            else:
                results.append(RenewalResult(user.user_id, False, 0, None, REASONS[code], code))
        if not dry_run:
            await self._watch.renewed(results)
        return results + await self._isolated(taken, members, dry_run=dry_run, stops=stops)

    async def _isolated(
        self, user_ids: Sequence[UUID], members: Answers, *, dry_run: bool, stops: bool
    ) -> list[RenewalResult]:
        """Renew together; when the database refuses that, one by one, so that each error has its user."""
        if not user_ids:
            return []
        try:
            return await self._renew(user_ids, members, dry_run=dry_run, stops=stops)
        except DatabaseUnavailableError:
            raise
        except TokenError as error:
            if len(user_ids) == 1:
                failed = RenewalResult(user_ids[0], False, 0, None, error.message, error.code)
                await self._watch.renewed([failed])
                return [failed]
        results: list[RenewalResult] = []
        for user_id in user_ids:
            results += await self._isolated([user_id], members, dry_run=dry_run, stops=stops)
            if stops and results[-1].failed:
                break
        return results

    async def _renew(
        self, user_ids: Sequence[UUID], members: Answers, *, dry_run: bool, stops: bool
    ) -> list[RenewalResult]:
        if dry_run:
            customers = await self._customers(user_ids)
            return [
                self._forecast(customers[user_id], members) for user_id in user_ids if user_id in customers
            ]

        async def unit(connection: AsyncConnection, book: Book) -> Outcome:
            return await self._unit(connection, book, user_ids, members, stops=stops)

        # Only names the accounts; what each is granted is decided under the locks.
        accounts = [Command("credit", user_id, RESET_TYPE, 0, "issuance") for user_id in user_ids]
        results = await self._journal.run_unit(accounts, unit)
        await self._watch.renewed(results)
        return results

    async def _unit(
        self,
        connection: AsyncConnection,
        book: Book,
        user_ids: Sequence[UUID],
        members: Answers,
        *,
        stops: bool,
    ) -> Outcome:
        customers = await read_customers(connection, user_ids)
        granting = Granting(book, Changes(book.now))
        results: list[RenewalResult] = []
        for user_id in user_ids:
            results.append(self._settle(granting, user_id, customers.get(user_id), members))
            if stops and results[-1].failed:
                break
        await write_book(connection, self._database, book)
        await write_changes(connection, self._database, granting.changes)
        await self._watch.record(connection, results, book.now)
        return results, granting.decided

    def _settle(
        self, granting: Granting, user_id: UUID, customer: Customer | None, members: Answers
    ) -> RenewalResult:
        if customer is None:
            return RenewalResult(user_id, False, 0, None, "User not found", "user_not_found")
        decision = self._decide(customer, members, granting.book.now)
        self._note_channel(granting.changes, customer, decision, members.get(user_id))
        added, last = 0, OperationResult(True, granting.book.users[user_id].balance)
        plan = self.plans.find(customer.tier)
        if decision.due:
            assert plan is not None
            assert decision.series is not None
            added, last = granting.renew(user_id, plan, decision.series, decision.due, self.terms)
            if customer.tier == FREE_TIER and last.success:
                granting.changes.change_user(user_id, last_gift_claim_at=granting.book.now)
        if not last.success:
            return RenewalResult(user_id, False, added, last.new_balance, last.error, last.code)
        if decision.expires:
            granting.changes.change_user(user_id, tier=FREE_TIER)
        return _result(user_id, decision, added, last.new_balance)

    def _forecast(self, customer: Customer, members: Answers) -> RenewalResult:
        decision = self._decide(customer, members, self._database.clock.now())
        balance = customer.balance
        plan = self.plans.find(customer.tier)
        for index in decision.due:
            assert plan is not None
            assert decision.series is not None
            if not self.terms.is_over(decision.series, index, self._database.clock.now()):
                balance = self.terms.balance_after(balance, plan.credits)
        return _result(customer.user_id, decision, balance - customer.balance, balance)

    def _note_channel(
        self, changes: Changes, customer: Customer, decision: Decision, is_member: bool | None
    ) -> None:
        """Keep since when the user is a member, so that one who was away begins anew."""
        if decision.code == CHANNEL_REQUIRED and customer.channel_since is not None:
            changes.change_user(customer.user_id, channel_subscribed_at=None)
        elif decision.due and is_member and customer.channel_since is None:
            changes.change_user(customer.user_id, channel_subscribed_at=changes.now)

    def _decide(self, customer: Customer, members: Answers, now: datetime) -> Decision:
        plan = self.plans.find(customer.tier)
        return decide(customer, plan, members.get(customer.user_id), now, self.terms)

    def _needs_channel(self, tier: str) -> bool:
        plan = self.plans.find(tier)
        return plan is not None and plan.needs_channel

    async def _ask(self, members: Sequence[Member]) -> Answers:
        return await self.memberships.answers(members)

    async def _members(self, user_ids: Sequence[UUID]) -> list[Member]:
        """Return who of these users has to be asked about."""
        query = sa.select(users.c.id, users.c.external_id, users.c.tier).where(users.c.id.in_(user_ids))
        rows = await self._database.fetch(query)
        return [Member(row.id, row.external_id) for row in rows if self._needs_channel(row.tier)]

    async def _customers(self, user_ids: Sequence[UUID]) -> dict[UUID, Customer]:
        return await self._database.read(lambda connection: read_customers(connection, user_ids))


def next_run_at(now: datetime) -> datetime:
    """Return when the cron expression next comes to pass."""
    today = now.replace(hour=RENEWAL_HOUR_UTC, minute=0, second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)


def _result(user_id: UUID, decision: Decision, added: int, balance: int | None) -> RenewalResult:
    result = RenewalResult(user_id, True, added, balance, periods=len(decision.due), expired=decision.expires)
    if decision.code is None:
        return result
    return replace(result, success=False, error=decision.reason, code=decision.code)


def _skipped(user: DueUser, members: Answers) -> str | None:
    """Say why a user need not be looked at under a lock, as nothing about it would change."""
    answer = members.get(user.user_id)
    if answer is None:
        return MEMBERSHIP_UNKNOWN
    return CHANNEL_REQUIRED if not answer and user.channel_since is None else None


def _tell(progress: Progress | None, report: RenewalReport) -> None:
    if progress is None:
        return
    try:
        progress(report.processed, report.successful, report.failed)
    except Exception:
        logger.exception("a callback of a renewal run failed")
