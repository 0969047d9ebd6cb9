"""Credits bought with DEAL: the payment first, the credits once it is final, each exactly once.

Owns which payment paid for which package: its reason names a package's row, which never changes, and is
committed with the payment. The credits have the payment as their key, so however often they are granted
they arrive once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting import sold_plan
from deal_sdk.amounts import Amount, parse_amount
from deal_sdk.clock import Clock
from deal_sdk.errors import InvalidInputError, PackageNotFoundError, TokenError
from deal_sdk.payments.admission import Admission, Draft, PaymentOptions
from deal_sdk.payments.invoice_values import DEFAULT_INVOICE_SECONDS, Invoice
from deal_sdk.payments.invoices import Invoices, Wanted
from deal_sdk.payments.orders import PurchaseLimit, transfer_plan
from deal_sdk.payments.package_values import PACKAGE_PURCHASE, CreditGrants, CreditPackage, grant_package
from deal_sdk.payments.parties import TREASURY, PartyResolver
from deal_sdk.records import Database, Transaction, UserId, row_to_transaction
from deal_sdk.records.credit_tables import token_operations
from deal_sdk.records.inputs import check_idempotency_key, check_text
from deal_sdk.records.lot_tables import DEFAULT_LOT_PRIORITY, MAX_LOT_PRIORITY
from deal_sdk.records.package_tables import PACKAGE_NAME_LENGTH, credit_package_grants, credit_packages
from deal_sdk.records.tables import token_transactions
from deal_sdk.settings import WaitFor

logger = logging.getLogger(__name__)

MAX_PACKAGE_CREDITS: Final = 10**12
MAX_LIFETIME_DAYS: Final = 36_500
GRANTS_PER_LOOK: Final = 500
GRANT_INTERVAL_SECONDS: Final = 60.0
RECENT: Final = timedelta(days=1)
_REASON: Final = "credit package "

_package = credit_packages.c
_payment = token_transactions.c
_grant = credit_package_grants.c


class CreditPackages:
    """Offers packages, takes their payments, and grants their credits."""

    def __init__(
        self,
        database: Database,
        *,
        admission: Admission,
        parties: PartyResolver,
        credits: CreditGrants,
        invoices: Invoices,
        decimals: int,
    ) -> None:
        """Wire the parts; nothing is read yet."""
        self.invoices = invoices
        self._database = database
        self._admission = admission
        self._parties = parties
        self._credits = credits
        self._decimals = decimals

    async def offer(
        self,
        name: str,
        credits: int,
        price: Amount,
        *,
        lifetime_days: int | None = None,
        priority: int = DEFAULT_LOT_PRIORITY,
    ) -> CreditPackage:
        """Offer a package from now on, in place of one of the same name.

        Args:
            name: 1 to 64 characters.
            credits: 1 to 10^12.
            price: whole DEAL as `str` or `Decimal`.
            lifetime_days: how long the credits last after they arrived, 1 to 36,500; for ever by default.
            priority: 0 to 100; credits of lower ones are spent first.

        Raises:
            InvalidInputError, InvalidAmountError: for what cannot be offered.
        """
        _check_whole("credits", credits, 1, MAX_PACKAGE_CREDITS)
        _check_whole("priority", priority, 0, MAX_LOT_PRIORITY)
        if lifetime_days is not None:
            _check_whole("lifetime_days", lifetime_days, 1, MAX_LIFETIME_DAYS)
        now = self._database.clock.now()
        text = check_text("name", name, max_length=PACKAGE_NAME_LENGTH)
        units = parse_amount(price, decimals=self._decimals)
        package = CreditPackage(uuid4(), text, credits, units, now, None, lifetime_days, priority)
        row = asdict(package)

        async def unit(connection: AsyncConnection) -> None:
            await connection.execute(_withdrawal(text, now))
            await connection.execute(credit_packages.insert().values(row))

        await self._database.run(unit)
        return package

    async def withdraw(self, name: str) -> None:
        """Offer a package no longer; payments for it that are under way still have their credits.

        Raises:
            PackageNotFoundError: none of this name is offered.
        """
        text = check_text("name", name, max_length=PACKAGE_NAME_LENGTH)
        now = self._database.clock.now()

        async def unit(connection: AsyncConnection) -> int:
            return int((await connection.execute(_withdrawal(text, now))).rowcount)

        if await self._database.run(unit) == 0:
            raise PackageNotFoundError("no such package is offered", name=text)

    async def list(self) -> list[CreditPackage]:
        """Return what is offered, the cheapest first."""
        query = sa.select(credit_packages).where(_package.withdrawn_at.is_(None))
        rows = await self._database.fetch(query.order_by(_package.price, _package.name))
        return [_to_package(row) for row in rows]

    async def buy(
        self,
        user_id: UserId,
        name: str,
        *,
        wallet: str | None = None,
        purchase_limit: PurchaseLimit | None = None,
        idempotency_key: str | None = None,
        wait_for: WaitFor = "confirmed",
    ) -> Transaction:
        """Pay for a package to the treasury; its credits arrive once the payment is final.

        Args:
            user_id: who pays, and has the credits.
            name: of a package that is offered.
            wallet: which of the user's wallets pays.
            purchase_limit: how often a user may buy; a stored policy counts where none is given.
            idempotency_key: the same key again returns the same payment, also after a change of price.
            wait_for: "recorded", "confirmed" or "finalized"; after the last one the credits are there.

        Raises:
            PackageNotFoundError: no such package is offered.
            LimitExceededError, InsufficientBalanceError, SignatureRequiredError: nothing happened.
            PaymentPendingError: the wait ran out; payment and credits go on.
            TransactionFailedError: it provably did not happen.
        """
        package = await self._bought_before(name, idempotency_key) or await self._offered(name)

        async def draft() -> Draft:
            sender = await self._parties.resolve(user_id, wallet=wallet)
            treasury = await self._parties.resolve(TREASURY)
            plan = transfer_plan(sender, treasury, authority=sender.address)
            return Draft(package.price, plan, sender, treasury, debits=True, purchase_limit=purchase_limit)

        inputs = {"user": user_id, "wallet": wallet, "package": package.name, "limit": purchase_limit}
        options = PaymentOptions(f"{_REASON}{package.id}", idempotency_key, wait_for)
        payment = await self._admission.pay(PACKAGE_PURCHASE, inputs, options, draft)
        if payment.status == "finalized":
            await self.grant([payment])
        return payment

    async def invoice(
        self,
        user_id: UserId,
        name: str,
        *,
        expires_in_seconds: int = DEFAULT_INVOICE_SECONDS,
        idempotency_key: str | None = None,
    ) -> Invoice:
        """Ask a user to pay for a package from whatever wallet; the credits arrive once it is final.

        The payment is known by the invoice's reference, among its accounts (Solana Pay) or in its memo. No
        purchase limit can refuse what a user sends; who may have an invoice is the caller's to decide.

        Args:
            user_id: who has the credits.
            name: of a package that is offered; the invoice keeps its price.
            expires_in_seconds: 1 second to 366 days; what arrives later is recorded as late.
            idempotency_key: the same key again returns the same invoice.

        Raises:
            PackageNotFoundError, UserNotFoundError: nothing was recorded.
            IdempotencyConflictError: the key was used for another invoice.
        """

        async def find() -> Wanted:
            package = await self._offered(name)
            return Wanted(package.price, package_id=package.id)

        return await self.invoices.make(
            user_id,
            find,
            inputs={"package": name},
            expires_in_seconds=expires_in_seconds,
            idempotency_key=idempotency_key,
        )

    async def invoice_subscription(
        self,
        user_id: UserId,
        tier: str,
        price: Amount,
        *,
        periods: int = 1,
        expires_in_seconds: int = DEFAULT_INVOICE_SECONDS,
        idempotency_key: str | None = None,
    ) -> Invoice:
        """Ask a user to pay for a tier; the subscription begins once the payment is final.

        Args:
            user_id: who subscribes.
            tier: one with a price.
            price: of all periods, whole DEAL as `str` or `Decimal`; plans have no price in DEAL.
            periods: 1 to 120.
            expires_in_seconds: as for `invoice`.
            idempotency_key: as for `invoice`.

        Raises:
            InvalidInputError, InvalidAmountError: for what cannot be sold.
            UserNotFoundError, IdempotencyConflictError: as for `invoice`.
        """
        amount = parse_amount(price, decimals=self._decimals)
        plan = sold_plan(self.invoices.plans, tier, periods)

        async def find() -> Wanted:
            return Wanted(amount, tier=plan.tier, periods=periods)

        return await self.invoices.make(
            user_id,
            find,
            inputs={"tier": plan.tier, "periods": periods, "amount": amount},
            expires_in_seconds=expires_in_seconds,
            idempotency_key=idempotency_key,
        )

    async def grant(self, payments: Sequence[Transaction]) -> int:
        """Grant the credits of those payments that are final and paid for a package.

        Returns:
            How many had their credits now.

        Raises:
            DatabaseError: the others have theirs later, by `grant_missing`.
        """
        paid = {payment.id: payment for payment in payments if _package_of(payment) is not None}
        return sum([await self._grant(payment) for payment in paid.values()])

    async def grant_missing(self, *, since: datetime | None = None) -> int:
        """Grant the credits of every final payment that has none yet, after an outage say.

        Args:
            since: only of payments that changed at this time or later.

        Raises:
            DatabaseError: what was granted stays so.
        """
        query = (
            sa.select(token_transactions)
            .join_from(
                token_transactions, credit_package_grants, _grant.payment_id == _payment.id, isouter=True
            )
            .where(_payment.type == PACKAGE_PURCHASE, _payment.status == "finalized")
            .where(_payment.reason.startswith(_REASON, autoescape=True), _grant.payment_id.is_(None))
            .order_by(_payment.updated_at)
            .limit(GRANTS_PER_LOOK)
        )
        if since is not None:
            query = query.where(_payment.updated_at >= since)
        rows = await self._database.fetch(query)
        return await self.grant([row_to_transaction(row._mapping) for row in rows])

    async def _grant(self, payment: Transaction) -> bool:
        rows = await self._database.fetch(
            sa.select(credit_packages).where(_package.id == _package_of(payment))
        )
        if not rows or payment.from_user_id is None:
            logger.error("payment %s names a package that nobody offered", payment.id)
            return False
        package = _to_package(rows[0])
        result = await grant_package(
            self._credits,
            payment.from_user_id,
            package,
            said={"payment_id": str(payment.id)},
            idempotency_key=f"package:{payment.id}",
        )
        if result.ledger_entry_id is None:
            logger.error("payment %s has no credits yet: %s", payment.id, result.error)
            return False
        return await self._note(payment.id, package.id, result.ledger_entry_id)

    async def _note(self, payment_id: UUID, package_id: UUID, entry_id: UUID) -> bool:
        # None where the credits are so old that their entry was folded away.
        kept = sa.select(token_operations.c.id).where(token_operations.c.id == entry_id).scalar_subquery()
        row: dict[str, Any] = {"payment_id": payment_id, "package_id": package_id, "entry_id": kept}
        row["created_at"] = self._database.clock.now()
        insert = self._database.insert(credit_package_grants).values(row).on_conflict_do_nothing()

        async def unit(connection: AsyncConnection) -> bool:
            return (await connection.execute(insert)).rowcount == 1

        return await self._database.write(unit)

    async def _bought_before(self, name: str, idempotency_key: str | None) -> CreditPackage | None:
        """Return the package that a key's payment paid for, at the price that it had then."""
        if idempotency_key is None:
            return None
        query = sa.select(_payment.reason).where(
            _payment.idempotency_key == check_idempotency_key(idempotency_key),
            _payment.type == PACKAGE_PURCHASE,
        )
        named = [_package_id(reason) for (reason,) in await self._database.fetch(query)]
        if not named or named[0] is None:
            return None
        query = sa.select(credit_packages).where(_package.id == named[0], _package.name == name)
        rows = await self._database.fetch(query)
        return _to_package(rows[0]) if rows else None

    async def _offered(self, name: str) -> CreditPackage:
        text = check_text("name", name, max_length=PACKAGE_NAME_LENGTH)
        query = sa.select(credit_packages).where(_package.name == text, _package.withdrawn_at.is_(None))
        rows = await self._database.fetch(query)
        if not rows:
            raise PackageNotFoundError("no such package is offered", name=text)
        return _to_package(rows[0])


class PackageGrants:
    """Grants what payments paid for: at their end, and at intervals what was missed."""

    name: Final = "grant_credit_packages"
    interval_seconds: Final = GRANT_INTERVAL_SECONDS

    def __init__(self, packages: CreditPackages, clock: Clock) -> None:
        """Grant through a service."""
        self._packages = packages
        self._clock = clock
        # Nobody knows how long nothing was granted before this process, so the first look is at everything.
        self._has_looked = False

    async def __call__(self, payments: Sequence[Transaction]) -> None:
        """Grant the credits of payments that have become final."""
        try:
            await self._packages.grant([payment for payment in payments if payment.status == "finalized"])
        except TokenError as error:
            logger.warning("credits of %d payments are granted later: %s", len(payments), error.message)

    async def run_once(self) -> None:
        """Grant what was missed."""
        since = self._clock.now() - RECENT if self._has_looked else None
        if await self._packages.grant_missing(since=since) < GRANTS_PER_LOOK:
            self._has_looked = True


def _check_whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInputError(f"{name} must be a whole number", field=name)
    if not least <= value <= most:
        raise InvalidInputError(f"{name} must be {least} to {most}", field=name)


def _package_of(payment: Transaction) -> UUID | None:
    if payment.type != PACKAGE_PURCHASE or payment.status != "finalized":
        return None
    return _package_id(payment.reason)


def _package_id(reason: str | None) -> UUID | None:
    if reason is None or not reason.startswith(_REASON):
        return None
    return UUID(reason.removeprefix(_REASON))


def _withdrawal(name: str, now: datetime) -> sa.Update:
    return (
        sa.update(credit_packages)
        .where(_package.name == name, _package.withdrawn_at.is_(None))
        .values(withdrawn_at=now)
    )


def _to_package(row: sa.Row[Any]) -> CreditPackage:
    return CreditPackage(**row._mapping)
