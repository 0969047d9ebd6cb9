"""What every command runs in: the settings that were meant, an open `Deal`, and a place to report to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from deal_sdk.chain import Keystore
from deal_sdk.cli.output import Output
from deal_sdk.cli.passphrase import passphrase_for
from deal_sdk.client import Deal
from deal_sdk.client.backends import GivenBackends
from deal_sdk.client.limits import make_limits, store_access
from deal_sdk.client.watching import chainless_monitor
from deal_sdk.client.webhooks import webhook_service
from deal_sdk.clock import SystemClock
from deal_sdk.errors import UserNotFoundError
from deal_sdk.events import EventBus
from deal_sdk.limits import PurchaseRecords, RateLimiter, TokenPurchaseTracker, open_store
from deal_sdk.metrics import Metrics
from deal_sdk.monitor import WalletMonitor
from deal_sdk.payments.parties import PartyReference
from deal_sdk.records import Database, User, UserDirectory
from deal_sdk.settings import load_settings
from deal_sdk.webhooks import WebhookService

DEFAULT_RPC_URL: Final = "http://127.0.0.1:8899"
DEFAULT_DATABASE_URL: Final = "sqlite+aiosqlite:///deal.db"
EXTERNAL_PREFIX: Final = "ext:"


@dataclass(frozen=True, slots=True)
class Connection:
    """The servers that a command line names; None leaves a choice to the environment."""

    rpc_url: str | None = None
    database_url: str | None = None
    redis_url: str | None = None

    def given(self) -> dict[str, str]:
        """Return what was named, as settings."""
        named = {"rpc_url": self.rpc_url, "database_url": self.database_url, "redis_url": self.redis_url}
        return {name: value for name, value in named.items() if value is not None}


class Session:
    """One run of one command."""

    def __init__(self, output: Output, connection: Connection) -> None:
        """Keep where to report and what to open; nothing is opened yet."""
        self.output = output
        self._connection = connection

    def overrides(self, **more: Any) -> dict[str, Any]:
        """Return what to open: options, then the environment, then a local chain and `./deal.db`.

        The defaults are other than the library's, so that separate commands share a chain and a database.

        Raises:
            ConfigurationError: for settings that cannot be used.
        """
        given = self.embedded_overrides(**more)
        named = load_settings(**given).model_fields_set
        defaults = {"rpc_url": DEFAULT_RPC_URL, "database_url": DEFAULT_DATABASE_URL}
        if "rpc_urls" in named:
            del defaults["rpc_url"]
        return {**{name: url for name, url in defaults.items() if name not in named}, **given}

    def embedded_overrides(self, **more: Any) -> dict[str, Any]:
        """Return what was named and nothing else, so that the rest is embedded as in the library."""
        return {**self._connection.given(), **more}

    @asynccontextmanager
    async def deal(
        self, *, create_mint: bool = False, given: GivenBackends | None = None, **more: Any
    ) -> AsyncIterator[Deal]:
        """Open a `Deal` for one command.

        Args:
            create_mint: deploy the mint where the database knows none.
            given: backends that no setting names.
            more: settings by name.
        """
        overrides = await with_passphrase(self.overrides(**more))
        async with Deal.open(create_mint=create_mint or None, given=given, **overrides) as deal:
            yield deal

    @asynccontextmanager
    async def database(self, *, migrate: bool | None = None) -> AsyncIterator[Database]:
        """Open the database alone, for what needs no chain."""
        async with open_database(self.overrides(), migrate=migrate) as database:
            yield database

    @asynccontextmanager
    async def limits(self) -> AsyncIterator[LimitsSession]:
        """Open the database and the store of limits, for what needs no chain."""
        settings = load_settings(**self.overrides())
        store = open_store(
            settings.redis_url.get_secret_value(),
            access=store_access(settings),
            timeout_seconds=settings.limit_store_timeout_seconds,
        )
        async with store, open_database(self.overrides()) as database:
            made = make_limits(
                store,
                PurchaseRecords(database),
                settings,
                clock=database.clock,
                events=EventBus(database.clock),
                metrics=Metrics(),
            )
            yield LimitsSession(UserDirectory(database), made.purchases, made.rates)

    @asynccontextmanager
    async def keystore(self) -> AsyncIterator[Keystore]:
        """Open the keys alone, so that an operator's own can be stored before the mint is deployed."""
        overrides = await with_passphrase(self.overrides())
        passphrase = load_settings(**overrides).keystore_passphrase
        async with open_database(overrides) as database:
            yield Keystore(database, passphrase, clock=database.clock)

    @asynccontextmanager
    async def webhooks(self) -> AsyncIterator[WebhookService]:
        """Open the webhook endpoints alone; whoever delivers hears of changes by itself."""
        overrides = await with_passphrase(self.overrides())
        settings = load_settings(**overrides)
        async with open_database(overrides) as database:
            keystore = Keystore(database, settings.keystore_passphrase, clock=database.clock)
            service, _, _ = webhook_service(database, keystore, settings, clock=database.clock)
            yield service

    @asynccontextmanager
    async def monitor(self) -> AsyncIterator[WalletMonitor]:
        """Open the wallet monitor alone, for what needs no chain; webhooks hear of it all the same."""
        overrides = await with_passphrase(self.overrides())
        settings = load_settings(**overrides)
        async with open_database(overrides) as database:
            keystore = Keystore(database, settings.keystore_passphrase, clock=database.clock)
            _, outbox, _ = webhook_service(database, keystore, settings, clock=database.clock)
            await outbox.refresh()
            async with AsyncExitStack() as stack:
                yield await chainless_monitor(stack, database, settings, outbox)


@dataclass(frozen=True, slots=True)
class LimitsSession:
    """What commands about limits work with."""

    users: UserDirectory
    purchases: TokenPurchaseTracker
    rates: RateLimiter


@asynccontextmanager
async def open_database(
    overrides: Mapping[str, Any], *, migrate: bool | None = None
) -> AsyncIterator[Database]:
    """Open the database that the settings name.

    Args:
        overrides: settings over the environment's.
        migrate: as for `Database.open`.
    """
    url = load_settings(**overrides).database_url.get_secret_value()
    database = await Database.open(url, clock=SystemClock(), migrate=migrate)
    try:
        yield database
    finally:
        await database.close()


async def with_passphrase(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Add the passphrase kept beside a local SQLite file where no setting names one.

    Raises:
        KeystoreError: when it should be there and is not.
    """
    settings = load_settings(**overrides)
    if settings.keystore_passphrase is not None:
        return dict(overrides)
    kept = await passphrase_for(settings.database_url.get_secret_value())
    return {**overrides, "keystore_passphrase": kept}


async def find_party(deal: Deal, who: str) -> PartyReference:
    """Return what a name on the command line stands for in a payment.

    Args:
        deal: the open `Deal`.
        who: a user's UUID, `ext:` and the user's external id, an address, or an operator wallet's name.

    Raises:
        UserNotFoundError: for an external id that is nobody's.
    """
    if who.startswith(EXTERNAL_PREFIX):
        return (await deal.users.get_by_external_id(who.removeprefix(EXTERNAL_PREFIX))).id
    return who


async def find_user_in(database: Database, who: str) -> User:
    """Return the user that a name stands for, without a chain.

    Args:
        database: where users are.
        who: a UUID, or `ext:` and the external id.

    Raises:
        UserNotFoundError: when it is no user's.
        InvalidInputError: for a text that is neither.
    """
    directory = UserDirectory(database)
    if who.startswith(EXTERNAL_PREFIX):
        return await directory.get_by_external_id(who.removeprefix(EXTERNAL_PREFIX))
    return await directory.get(who)


async def find_user(deal: Deal, who: str) -> User:
    """Return the user that a name on the command line stands for.

    Args:
        deal: the open `Deal`.
        who: a UUID, `ext:` and the external id, or the address of one of the user's active wallets.

    Raises:
        UserNotFoundError: when it is no user's.
        InvalidInputError: for a text that is none of the three.
    """
    reference = await find_party(deal, who)
    if isinstance(reference, UUID) or _is_uuid(reference):
        return await deal.users.get(reference)
    party = await deal.find_party(reference)
    if party.user_id is None:
        raise UserNotFoundError("this is no user's wallet", address=party.address)
    return await deal.users.get(party.user_id)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
