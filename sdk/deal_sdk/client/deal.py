"""`Deal`: every part under the name that callers use, opened in one order and closed in the other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any
from uuid import UUID

from solders.pubkey import Pubkey
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting import PricingService, TokenAccountingService, TokenBilling, TokenLedger
from deal_sdk.accounting.renewals import MonthlyRenewalService
from deal_sdk.accounting.usage import UsageReports
from deal_sdk.cache import BalanceManager, CacheManager, UserCache
from deal_sdk.chain import (
    Confirmer,
    Keystore,
    MintFacts,
    Rpc,
    associated_token_address,
    parse_address,
)
from deal_sdk.client.accounting import open_accounting
from deal_sdk.client.allowances import make_allowances, make_delegations, open_signer
from deal_sdk.client.backends import (
    GivenBackends,
    open_backends,
    open_mint,
    operator_wallets,
    rail_bounds,
)
from deal_sdk.client.batches import Batches, PayerParts, RecordParts, SigningParts
from deal_sdk.client.bookkeeping import make_bookkeeping
from deal_sdk.client.caching import open_cache, open_user_cache, open_users
from deal_sdk.client.confirming import open_confirmer
from deal_sdk.client.fees import open_fees, open_micro_fees, settlement_job
from deal_sdk.client.health import Health
from deal_sdk.client.jobs import JobRunner
from deal_sdk.client.limits import make_limits
from deal_sdk.client.opening import DealOpening
from deal_sdk.client.owner_signing import open_owner_signing, open_prepared
from deal_sdk.client.packages import open_packages
from deal_sdk.client.personal_data import PersonalData
from deal_sdk.client.subscriptions import open_subscriptions
from deal_sdk.client.watching import open_watching
from deal_sdk.client.webhooks import open_webhooks
from deal_sdk.clock import Clock, SystemClock
from deal_sdk.errors import ErrorDispatcher
from deal_sdk.events import EventBus
from deal_sdk.limits import Gate, PurchaseRecords, RateLimiter, TokenPurchaseTracker
from deal_sdk.metrics import Metrics
from deal_sdk.monitor import SubscriptionRouter, WalletMonitor
from deal_sdk.payments import (
    Admission,
    AllowanceProgram,
    AttemptStore,
    BalanceInvalidation,
    BalanceReads,
    CreditPackages,
    IntentStore,
    Landing,
    LeaseKeeper,
    Leases,
    LimitSettlement,
    Party,
    PartyReference,
    PartyResolver,
    PauseSwitch,
    PaymentPipeline,
    PaymentSigner,
    PipelineBounds,
    Reconciler,
    ReconcileReport,
    RewardDistributor,
    SafetyRails,
    StoredPolicies,
    TokenService,
    TransactionMonitor,
    VerifyReport,
)
from deal_sdk.records import BalanceHistoryRecorder, Transaction, TransactionRecorder, UserDirectory
from deal_sdk.settings import Settings, load_settings
from deal_sdk.wallets import WalletManager
from deal_sdk.webhooks import WebhookService


class Deal:
    """Bills, pays and rewards in DEAL; open one with `Deal.open()`."""

    settings: Settings
    clock: Clock
    errors: ErrorDispatcher
    events: EventBus
    metrics: Metrics
    health: Health
    jobs: JobRunner
    leases: LeaseKeeper
    rpc: Rpc
    mint: MintFacts
    users: UserDirectory
    wallets: WalletManager
    keystore: Keystore
    tokens: TokenService
    allowances: AllowanceProgram
    rewards: RewardDistributor
    pricing: PricingService
    credits: TokenAccountingService
    ledger: TokenLedger
    billing: TokenBilling
    packages: CreditPackages
    renewals: MonthlyRenewalService
    usage: UsageReports
    personal_data: PersonalData
    transaction_monitor: TransactionMonitor
    transactions: TransactionRecorder
    pause: PauseSwitch
    history: BalanceHistoryRecorder
    balances: BalanceManager
    cache: CacheManager
    user_cache: UserCache
    gate: Gate
    purchases: TokenPurchaseTracker
    rates: RateLimiter
    webhooks: WebhookService
    subscriptions: SubscriptionRouter
    monitor: WalletMonitor

    def __init__(self, settings: Settings, clock: Clock, given: GivenBackends) -> None:
        """Keep the settings; `open` does the rest."""
        self.settings = settings
        self.clock = clock
        self._given = given
        self.errors = ErrorDispatcher()
        self.events = EventBus(clock)
        self.metrics = Metrics(balances_by_user=settings.metrics_balances_by_user)
        self.jobs = JobRunner(clock=clock, metrics=self.metrics)
        self._stack = AsyncExitStack()

    @classmethod
    def open(
        cls,
        *,
        create_mint: bool | None = None,
        clock: Clock | None = None,
        given: GivenBackends | None = None,
        **settings: Any,
    ) -> DealOpening:
        """Open a `Deal`, by `async with Deal.open() as deal` or by `deal = await Deal.open()`.

        With no settings everything is embedded and ephemeral: a chain with the DEAL mint deployed, an SQL
        database, and limits in process.

        Args:
            create_mint: deploy the DEAL mint when the database knows none; by default only on the
                embedded chain.
            clock: another clock than the machine's.
            given: backends of the caller's, for tests and simulations.
            settings: any field of `Settings`, over the environment's.

        Raises:
            ConfigurationError: settings that cannot be used, or no mint to work with.
            ChainMismatchError: a database of another chain or mint.
            RpcUnavailableError, DatabaseUnavailableError: a server that is not there.
        """
        deal = cls(load_settings(**settings), clock or SystemClock(), given or GivenBackends())
        return DealOpening(deal, create_mint)

    async def __aenter__(self) -> Deal:
        """Return itself; it is open already."""
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close everything that was opened."""
        await self.close()

    async def close(self) -> None:
        """Close everything that was opened; payments that are not final are carried on by the next open."""
        await self._stack.aclose()

    async def settled(self, *, timeout_seconds: float = 120.0) -> bool:
        """Wait until every payment made here is final, and return whether that happened in time."""
        paid = await self._pipeline.settled(timeout_seconds=timeout_seconds)
        return await self._batches.driver.settled(timeout_seconds=timeout_seconds) and paid

    async def verify(self) -> VerifyReport:
        """Prove the rules on this database and its chain; see `Verifier.verify`."""
        return await self._verifier.verify()

    async def reconcile(self) -> ReconcileReport:
        """Carry on what was left open and record what the chain shows; see `Reconciler.reconcile`."""
        return await self._reconciler.reconcile()

    def token_account_of(self, owner: Pubkey) -> Pubkey:
        """Derive the token account that an owner has for the mint."""
        return associated_token_address(owner, self.mint.address, self.mint.program_id)

    async def find_party(self, reference: PartyReference, *, wallet: str | None = None) -> Party:
        """Return who a user's UUID, an address or an operator wallet's name stands for in a payment.

        Raises:
            InvalidWalletAddressError, UserNotFoundError, WalletNotFoundError: for one that is nobody.
        """
        return await self._parties.resolve(reference, wallet=wallet)

    async def _open(self, create_mint: bool | None) -> None:
        try:
            await self._open_backends()
            self.mint = await open_mint(self._backends, self.settings, create_mint=create_mint)
            self._open_limits_and_cache()
            await self._open_payments()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _open_backends(self) -> None:
        self._stack.push_async_callback(self.events.close)
        self._backends = await open_backends(
            self._stack, self.settings, self.clock, self.metrics, self._given
        )
        self._database = self.database = self._backends.database
        self._store = self._backends.store
        self.rpc = self._backends.rpc
        self.keystore = self._backends.keystore
        self.health = Health(self._backends, self.clock)
        self.users = open_users(self._database, self)

    def _open_limits_and_cache(self) -> None:
        settings = self.settings
        self._purchase_records = records = PurchaseRecords(self._database)
        limits = make_limits(
            self._store, records, settings, clock=self.clock, events=self.events, metrics=self.metrics
        )
        self.gate, self.purchases, self.rates = limits.gate, limits.purchases, limits.rates
        self.cache = open_cache(self._stack, self._store, settings, self.clock, self.metrics)

    async def _open_payments(self) -> None:
        settings = self.settings
        operators = await operator_wallets(self.keystore)
        self._parties = PartyResolver(
            self._database, operators=operators, token_account_of=self.token_account_of
        )
        self._stack.push_async_callback(self._parties.close)
        confirmer = open_confirmer(self._stack, self, self._database)
        self._fees = open_fees(self._stack, self, operators)
        signer, self._program = open_signer(self._stack, self, self._database, self._fees, operators)
        self.webhooks, self._outbox = await open_webhooks(self._stack, self._backends, self)
        self._open_records()
        self._open_balances()
        self._open_pipeline(signer, confirmer)
        self._open_services(signer, confirmer)
        for address in operators.values():
            await self._track(address, None)
        await self.leases.begin()
        self._reconciler.start()
        self.jobs.register(settlement_job(self))
        self.subscriptions = open_subscriptions(self._stack, self, self._database, self._purchase_records)
        self.monitor = open_watching(self._stack, self, self._database, self._track, self._reconciler)
        self._stack.push_async_callback(self.jobs.close)
        if settings.background_jobs:
            self.jobs.start()

    def _open_records(self) -> None:
        books = make_bookkeeping(self, self._database, self._outbox)
        self.transactions, self.history = books.transactions, books.history
        self._sync, self._verifier = books.sync, books.verifier
        parts = (self._database, self.keystore, self.clock, self.events)
        seconds = self.settings.wallet_challenge_seconds
        self.wallets = WalletManager(*parts, track=self._track, challenge_seconds=seconds)

    def _open_balances(self) -> None:
        settings = self.settings
        self._balance_reads = BalanceReads(self.rpc, self._database, self._parties)
        self.balances = BalanceManager(
            self._store,
            reader=self._balance_reads,
            resolver=self._balance_reads,
            reservations=self._balance_reads,
            clock=self.clock,
            metrics=self.metrics,
            ttl_seconds=settings.balance_ttl_seconds,
            decimals=self.mint.decimals,
            prefix=settings.cache_prefix,
        )
        self._stack.push_async_callback(self.balances.close)
        self.user_cache = open_user_cache(self._stack, self._store, self, decimals=self.mint.decimals)
        open_accounting(self._stack, self._database, self, self._given.channel_membership)
        self._invalidation = BalanceInvalidation(self._balance_reads, self.balances)

    def _open_pipeline(self, signer: PaymentSigner, confirmer: Confirmer) -> None:
        settings = self.settings
        self._rails = SafetyRails(rail_bounds(settings), clock=self.clock, events=self.events)
        self.pause = PauseSwitch(self._database)
        lease = Leases(self._database, lease_seconds=settings.lease_seconds)
        shared: dict[str, Any] = {"lease_owner": lease.owner, "outbox": self._outbox}
        self._intents = IntentStore(self._database, self.clock, rails=self._rails, **shared)
        self._attempts = AttemptStore(self._database, self.clock, **shared)
        self._pipeline = PaymentPipeline(
            intents=self._intents,
            attempts=self._attempts,
            signer=signer,
            follower=confirmer,
            clock=self.clock,
            events=self.events,
            metrics=self.metrics,
            bounds=PipelineBounds(settings.max_payment_attempts, settings.max_payments_in_flight),
            observers=(LimitSettlement(self.gate), self._invalidation, self._follow_up),
            on_attempt_end=self._fees.learn,
            may_sign_again=self._program.charges.may_sign_again,
            sharing=self._program.sharing,
        )
        records = RecordParts(self._backends, observer=self._note_landing, **shared)
        payers = PayerParts(self._parties, self._rails, self._balance_reads)
        self._batches = Batches(self, records, payers, SigningParts(signer, self._fees, confirmer))
        drivers = (self._pipeline, self._batches.driver)
        self.leases = LeaseKeeper(lease, *drivers, clock=self.clock, metrics=self.metrics)
        for close in (self.leases.release, self._batches.close, self._pipeline.close):
            self._stack.push_async_callback(close)
        self._stack.push_async_callback(self.leases.stop)
        stores = (self._intents, self._attempts, self._outbox)
        self._prepared = open_prepared(self._database, *stores, self._pipeline, self.rpc, self.clock)
        self._reconciler = Reconciler(
            payments=self.leases,
            history=self._sync,
            prepared=self._prepared,
            clock=self.clock,
            poll_interval_seconds=settings.history_poll_interval_seconds,
        )
        self._stack.push_async_callback(self._reconciler.close)

    def _open_services(self, signer: PaymentSigner, confirmer: Confirmer) -> None:
        timeout_seconds = self.settings.confirm_timeout_seconds
        policies = StoredPolicies(self._purchase_records, str(self.mint.address))
        self._stack.push_async_callback(policies.close)
        admission = Admission(
            intents=self._intents,
            pipeline=self._pipeline,
            signer=signer,
            gate=self.gate,
            read_balance=self._balance_reads.funds,
            rails=self._rails,
            find_policy=policies,
            rates=self.rates,
            purchase_period_seconds=self.settings.purchase_period_seconds,
            confirm_timeout_seconds=timeout_seconds,
            clock=self.clock,
        )
        self.allowances = make_allowances(self, self._program, admission, self._parties, signer, confirmer)
        self.tokens = TokenService(
            mint=self.mint,
            rpc=self.rpc,
            admission=admission,
            parties=self._parties,
            delegations=make_delegations(self, signer, confirmer),
            signer=signer,
            owner_signing=open_owner_signing(
                admission, self._parties, self._intents, signer, self._prepared, self._pipeline
            ),
            symbol=self.mint.symbol or self.settings.token_symbol,
            prices=self.pricing,
            micro_fees=open_micro_fees(self._stack, self, self._database, self._rails),
            balances=self.balances,
            payments=self.transactions,
            allowances=self.allowances,
        )
        self.rewards = self._batches.rewards(admission)
        self._package_grants = open_packages(self, self._database, admission, self._parties, self._sync)
        self.transaction_monitor = TransactionMonitor(
            confirmer=confirmer,
            attempts=self._attempts,
            sync_history=self._sync.sync,
            clock=self.clock,
            timeout_seconds=timeout_seconds,
        )

    async def _follow_up(self, payments: Sequence[Transaction]) -> None:
        await self._reconciler.observe(payments)
        await self._package_grants(payments)

    async def _note_landing(self, landing: Landing) -> None:
        await self._invalidation.moved(landing.accounts, landing.slot)
        if landing.is_final:
            self._reconciler.mark(landing.accounts, landing.signature, landing.slot)

    async def _track(
        self, owner_address: str, user_id: UUID | None, *, connection: AsyncConnection | None = None
    ) -> None:
        token_account = self.token_account_of(parse_address(owner_address))
        await self.history.track(str(token_account), owner_address, user_id, connection=connection)
