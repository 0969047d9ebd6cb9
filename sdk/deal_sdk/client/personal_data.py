"""One user's data: handed over in one document, or erased with the books kept."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any, Final, Protocol

import sqlalchemy as sa

from deal_sdk.accounting import ErasureReport, Journal
from deal_sdk.accounting.erasure import erase
from deal_sdk.accounting.personal_rows import rows_of
from deal_sdk.accounting.told_events import erase_told_events
from deal_sdk.cache import BalanceManager, UserCache
from deal_sdk.errors import UserNotFoundError
from deal_sdk.events import EventBus
from deal_sdk.limits import RateLimiter, TokenPurchaseTracker
from deal_sdk.records import Database, UserId, parse_user_id
from deal_sdk.records.tables import token_accounts

USER_ERASED: Final = "user_erased"


class PersonalDataParts(Protocol):
    """What handing over and erasing needs of a `Deal`."""

    events: EventBus
    balances: BalanceManager
    user_cache: UserCache
    rates: RateLimiter
    purchases: TokenPurchaseTracker


class PersonalData:
    """Hands over, or erases, what is kept about a user."""

    def __init__(self, database: Database, journal: Journal, deal: PersonalDataParts) -> None:
        """Keep the parts; nothing is read yet.

        Args:
            database: where all records are.
            journal: writes the ledger.
            deal: has the caches and the limits.
        """
        self._database = database
        self._journal = journal
        self._deal = deal

    async def export_user_data(self, user_id: UserId) -> dict[str, Any]:
        """Return all that is kept about a user, as one JSON-serialisable document.

        Args:
            user_id: whose.

        Returns:
            `tables` has the user's rows of every table as of one moment, bytes in hexadecimal; `limits` what
            is counted at present. The keys of custodial wallets are in it nowhere.

        Raises:
            UserNotFoundError: no such user.
            DatabaseError, StoreUnavailableError: when something could not be read.
        """
        parsed = parse_user_id(user_id)
        tables = await self._database.read(lambda connection: rows_of(connection, parsed))
        if not tables["users"]:
            raise UserNotFoundError("no such user", user_id=str(parsed))
        records = await self._deal.purchases.get_user_token_purchases(parsed)
        return {
            "user_id": str(parsed),
            "exported_at": self._database.clock.now().isoformat(),
            "tables": tables,
            "limits": {
                "rates": list(await self._deal.rates.operations(parsed)),
                "purchases": [
                    {name: _plain(value) for name, value in asdict(record).items()} for record in records
                ],
            },
        }

    async def erase_user(self, user_id: UserId) -> ErasureReport:
        """Erase what is personal about a user for good, and keep the books.

        External id, name, metadata, reasons and policies go, wallets are disconnected, credits that are left
        are taken off, keys of credit operations become hashes, what webhooks were told of the user is taken
        out of the events, and what is cached or counted is deleted. The user's id, amounts, times and
        addresses of payments stay, and the user can do nothing any more. Erasing again erases what a failure
        left in events and caches, and says what was erased the first time.

        Args:
            user_id: whose.

        Raises:
            UserNotFoundError: no such user.
            UserBusyError: payments or operations of the user are under way, or webhooks that tell of them;
                nothing was erased, and the facts count what is waited for.
            DatabaseError: calling again says whether the user is erased, and erases what is left.
            StoreUnavailableError: the records are erased; calling again erases the counters.
        """
        parsed = parse_user_id(user_id)
        report = await erase(self._database, self._journal, parsed)
        await erase_told_events(self._database, parsed)
        accounts = await self._database.fetch(
            sa.select(token_accounts.c.address).where(token_accounts.c.user_id == parsed)
        )
        await self._deal.balances.invalidate_many({address: 0 for (address,) in accounts})
        await self._deal.user_cache.invalidate(parsed)
        await self._deal.rates.reset(parsed)
        for token_mint in {limit.token_mint for limit in await self._deal.purchases.current_limits(parsed)}:
            await self._deal.purchases.reset_purchase_count(parsed, token_mint)
        if not report.replayed:
            self._deal.events.publish(USER_ERASED, user=str(parsed))
        return report


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
