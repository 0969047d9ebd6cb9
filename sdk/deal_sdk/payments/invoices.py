"""Invoices: what is bought is paid from whatever wallet, recognised by its reference, and granted once.

Owns the invoices and that each is granted once, however often that is tried: an invoice is the key of its
credits. What arrives for it is matched where it is recorded, in `deposits`; nothing here reads the chain.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

import sqlalchemy as sa
from solders.pubkey import Pubkey
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting import OperationResult, SubscriptionResult, TierPlans
from deal_sdk.amounts import BaseUnits
from deal_sdk.chain import MintFacts
from deal_sdk.errors import (
    DatabaseError,
    IdempotencyConflictError,
    InvalidInputError,
    InvoiceNotFoundError,
    TokenError,
    UserNotFoundError,
)
from deal_sdk.payments.invoice_values import (
    DEFAULT_INVOICE_SECONDS,
    MAX_INVOICE_SECONDS,
    Invoice,
    InvoicePayment,
)
from deal_sdk.payments.package_values import CreditGrants, CreditPackage, grant_package
from deal_sdk.payments.parties import TREASURY, PartyResolver
from deal_sdk.records import Database, UserId, parse_user_id
from deal_sdk.records.among import among
from deal_sdk.records.database import Row
from deal_sdk.records.fingerprint import fingerprint_of
from deal_sdk.records.inputs import check_idempotency_key, parse_uuid
from deal_sdk.records.invoice_tables import invoice_payments, invoices
from deal_sdk.records.package_tables import credit_packages
from deal_sdk.records.tables import users

logger = logging.getLogger(__name__)

GRANTS_PER_LOOK: Final = 500
RECOGNITION_INTERVAL_SECONDS: Final = 5.0
MAX_LISTED: Final = 1_000
_REFERENCE_BYTES: Final = 32

_invoice = invoices.c
_STORED: Final = tuple(_invoice[field.name] for field in fields(Invoice) if field.name in _invoice)
_settled = invoice_payments.c


class Subscribes(Protocol):
    """Where subscriptions begin."""

    plans: TierPlans

    async def subscribe(
        self, user_id: UserId, tier: str, payment_reference: str, *, periods: int = 1
    ) -> SubscriptionResult:
        """Put a user on a tier once for a payment."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is bought: a package, or some periods of a tier."""

    amount: BaseUnits
    package_id: UUID | None = None
    tier: str | None = None
    periods: int | None = None


class Invoices:
    """Makes invoices, says what became of them, and grants what was paid for."""

    def __init__(
        self,
        database: Database,
        *,
        parties: PartyResolver,
        credits: CreditGrants,
        subscriptions: Subscribes,
        mint: MintFacts,
    ) -> None:
        """Wire the parts; nothing is read yet."""
        self._database = database
        self._parties = parties
        self._credits = credits
        self._subscriptions = subscriptions
        self._mint = mint
        self.plans = subscriptions.plans

    async def make(
        self,
        user_id: UserId,
        find: Callable[[], Awaitable[Wanted]],
        *,
        inputs: Mapping[str, Any],
        expires_in_seconds: int = DEFAULT_INVOICE_SECONDS,
        idempotency_key: str | None = None,
    ) -> Invoice:
        """Record what a user is asked to pay; see `CreditPackages.invoice`.

        Args:
            user_id: who pays, and has what is bought.
            find: says what is bought at which price; not asked when the key is known.
            inputs: what the caller named, which the key stands for.
            expires_in_seconds: 1 second to 366 days.
            idempotency_key: the same key again returns the same invoice.
        """
        parsed, key = parse_user_id(user_id), check_idempotency_key(idempotency_key)
        seconds = _check_lifetime(expires_in_seconds)
        fingerprint = fingerprint_of(user=parsed, expires_in_seconds=seconds, **inputs)
        if (known := await self._known(key, fingerprint)) is not None:
            return known
        wanted, treasury = await find(), await self._parties.resolve(TREASURY)
        now = self._database.clock.now()
        row = {
            **{"id": uuid4(), "user_id": parsed, **asdict(wanted), "received": 0, "status": "open"},
            **{"reference": str(Pubkey(os.urandom(_REFERENCE_BYTES)))},
            **{"recipient": treasury.address, "token_account": treasury.token_account},
            **{"idempotency_key": key, "fingerprint": fingerprint},
            **{"created_at": now, "expires_at": now + timedelta(seconds=seconds)},
        }

        async def unit(connection: AsyncConnection) -> Row | None:
            if await connection.scalar(sa.select(users.c.id).where(users.c.id == parsed)) is None:
                raise UserNotFoundError("User not found", user_id=str(parsed))
            insert = self._database.insert(invoices).values(row).on_conflict_do_nothing().returning(invoices)
            found: Row | None = (await connection.execute(insert)).one_or_none()
            return found

        made = await self._database.run(unit)
        if made is not None:
            return self._to_invoice(made)
        # Another call of the same moment used the key.
        raced = await self._known(key, fingerprint)
        assert raced is not None
        return raced

    async def get(self, invoice_id: UUID | str) -> Invoice:
        """Return an invoice as it stands.

        Raises:
            InvoiceNotFoundError: no such invoice.
            InvalidInputError: the id is no UUID.
        """
        parsed = parse_uuid("invoice", invoice_id)
        rows = await self._database.fetch(sa.select(invoices).where(_invoice.id == parsed))
        if not rows:
            raise InvoiceNotFoundError("no such invoice", invoice_id=str(parsed))
        return self._to_invoice(rows[0])

    async def of_user(self, user_id: UserId) -> list[Invoice]:
        """Return a user's newest invoices, at most 1,000."""
        query = sa.select(invoices).where(_invoice.user_id == parse_user_id(user_id))
        rows = await self._database.fetch(
            query.order_by(_invoice.created_at.desc(), _invoice.id).limit(MAX_LISTED)
        )
        return [self._to_invoice(row) for row in rows]

    async def payments(self, invoice_id: UUID | str) -> list[InvoicePayment]:
        """Return the deposits that named an invoice, at most 1,000, the first one first."""
        mine = _settled.invoice_id == parse_uuid("invoice", invoice_id)
        query = sa.select(invoice_payments).where(mine).order_by(_settled.created_at, _settled.payment_id)
        return [InvoicePayment(**row._mapping) for row in await self._database.fetch(query.limit(MAX_LISTED))]

    async def accept(self, invoice_id: UUID | str) -> Invoice:
        """Take an invoice as paid whatever has arrived for it, late or incomplete, and grant it.

        Doing it twice, or of one that was paid, changes nothing.

        Raises:
            InvoiceNotFoundError: no such invoice.
            DatabaseError: calling again is safe.
        """
        parsed = parse_uuid("invoice", invoice_id)
        accepted = (
            sa.update(invoices)
            .where(_invoice.id == parsed, _invoice.status == "open")
            .values(status="accepted", paid_at=self._database.clock.now())
        )

        async def unit(connection: AsyncConnection) -> None:
            await connection.execute(accepted)

        await self._database.run(unit)
        await self.grant([parsed])
        return await self.get(parsed)

    async def grant(self, invoice_ids: Collection[UUID]) -> int:
        """Grant those invoices that are paid and have not been granted.

        Returns:
            How many were granted now.

        Raises:
            DatabaseError: the others are granted later, by `grant_missing`.
        """
        return await self._grant_all(among(_invoice.id, list(invoice_ids)))

    async def grant_missing(self) -> int:
        """Grant every invoice that is paid and has not been granted, after an outage say."""
        return await self._grant_all(sa.true())

    async def open_accounts(self) -> list[str]:
        """Return the token accounts that an invoice waits to be paid into."""
        waiting = (_invoice.status == "open", _invoice.expires_at > self._database.clock.now())
        query = sa.select(_invoice.token_account).where(*waiting).distinct()
        return [address for (address,) in await self._database.fetch(query)]

    async def _known(self, key: str | None, fingerprint: str) -> Invoice | None:
        if key is None:
            return None
        rows = await self._database.fetch(sa.select(invoices).where(_invoice.idempotency_key == key))
        if not rows:
            return None
        if rows[0].fingerprint != fingerprint:
            raise IdempotencyConflictError(
                "this idempotency key was used for another invoice", idempotency_key=key
            )
        return self._to_invoice(rows[0])

    async def _grant_all(self, which: sa.ColumnElement[bool]) -> int:
        query = (
            sa.select(invoices)
            .where(which, _invoice.status != "open", _invoice.granted_at.is_(None))
            .order_by(_invoice.paid_at)
            .limit(GRANTS_PER_LOOK)
        )
        rows = await self._database.fetch(query)
        return sum([await self._grant(self._to_invoice(row)) for row in rows])

    async def _grant(self, invoice: Invoice) -> bool:
        try:
            result = await (self._credit(invoice) if invoice.tier is None else self._subscribe(invoice))
        except DatabaseError:
            raise
        except TokenError as error:
            # A tier that the settings no longer sell, say: it must not keep the others from theirs.
            logger.error("invoice %s is paid and was not granted: %s", invoice.id, error.message)
            return False
        if not result.success:
            logger.error("invoice %s is paid and was not granted: %s", invoice.id, result.error)
            return False
        granted = (
            sa.update(invoices)
            .where(_invoice.id == invoice.id, _invoice.granted_at.is_(None))
            .values(granted_at=self._database.clock.now(), entry_id=result.ledger_entry_id)
        )

        async def unit(connection: AsyncConnection) -> bool:
            return (await connection.execute(granted)).rowcount == 1

        return await self._database.write(unit)

    async def _credit(self, invoice: Invoice) -> OperationResult:
        [row] = await self._database.fetch(
            sa.select(credit_packages).where(credit_packages.c.id == invoice.package_id)
        )
        return await grant_package(
            self._credits,
            invoice.user_id,
            CreditPackage(**row._mapping),
            said={"invoice_id": str(invoice.id)},
            idempotency_key=f"invoice:{invoice.id}",
        )

    async def _subscribe(self, invoice: Invoice) -> SubscriptionResult:
        assert invoice.tier is not None
        assert invoice.periods is not None
        return await self._subscriptions.subscribe(
            invoice.user_id, invoice.tier, f"invoice:{invoice.id}", periods=invoice.periods
        )

    def _to_invoice(self, row: Row) -> Invoice:
        stored = {column.name: row._mapping[column] for column in _STORED}
        return Invoice(**stored, mint=str(self._mint.address), decimals=self._mint.decimals)


class ReadsHistory(Protocol):
    """Who reads what the chain shows."""

    async def sync(self, token_accounts: Collection[str] | None = None) -> object:
        """Bring the history of token accounts up to the chain."""
        ...


class InvoiceJob:
    """Looks for payments while an invoice waits for one, and grants what was missed."""

    name: Final = "recognise_deposits"
    interval_seconds: Final = RECOGNITION_INTERVAL_SECONDS

    def __init__(self, found: Invoices, history: ReadsHistory) -> None:
        """Keep the parts."""
        self._invoices = found
        self._history = history

    async def paid(self, invoice_ids: Collection[UUID]) -> None:
        """Grant invoices that were paid just now; what fails is granted by the next run."""
        try:
            await self._invoices.grant(invoice_ids)
        except TokenError as error:
            logger.warning("%d invoices are granted later: %s", len(invoice_ids), error.message)

    async def run_once(self) -> None:
        """Read the accounts that are waited for, and grant what is paid."""
        if accounts := await self._invoices.open_accounts():
            await self._history.sync(accounts)
        await self._invoices.grant_missing()


def _check_lifetime(seconds: int) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 1 <= seconds <= MAX_INVOICE_SECONDS:
        raise InvalidInputError(
            f"expires_in_seconds must be 1 to {MAX_INVOICE_SECONDS}", field="expires_in_seconds"
        )
    return seconds
