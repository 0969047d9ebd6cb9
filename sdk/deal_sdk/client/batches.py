"""Wiring of batch payouts: the parts that carry many payments in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from deal_sdk.chain import MintFacts
from deal_sdk.client.backends import Backends
from deal_sdk.clock import Clock
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.payments import (
    Admission,
    BalanceReads,
    BatchDistributor,
    BatchDriver,
    BatchRecorder,
    CarrierStore,
    CostEstimator,
    GroupSigner,
    LookupTables,
    PartyResolver,
    PaymentOutbox,
    PaymentSigner,
    RecipientAccounts,
    Recipients,
    RewardDistributor,
    SafetyRails,
    TableStore,
    TransactionFees,
)
from deal_sdk.payments.batches.driver import LandingObserver
from deal_sdk.payments.pipeline_seams import TransactionFollower
from deal_sdk.settings import Settings

PAYMENTS_PER_CARRIER: Final = 16
"""About what a transaction holds; it turns the bound on payments in flight into one on carriers."""


class Surroundings(Protocol):
    """What batches take from the `Deal` that they are part of."""

    settings: Settings
    clock: Clock
    events: EventBus
    metrics: Metrics
    mint: MintFacts


@dataclass(frozen=True, slots=True)
class RecordParts:
    """Where batches are recorded, by whom, and who is told."""

    backends: Backends
    lease_owner: UUID
    outbox: PaymentOutbox
    observer: LandingObserver


@dataclass(frozen=True, slots=True)
class PayerParts:
    """What decides whether somebody may be paid."""

    parties: PartyResolver
    rails: SafetyRails
    balances: BalanceReads


@dataclass(frozen=True, slots=True)
class SigningParts:
    """What signs, prices and sends."""

    signer: PaymentSigner
    fees: TransactionFees
    follower: TransactionFollower


class Batches:
    """Batch payouts, wired."""

    def __init__(
        self, deal: Surroundings, records: RecordParts, payers: PayerParts, signing: SigningParts
    ) -> None:
        """Wire the parts; nothing runs yet.

        Args:
            deal: whose batches they are.
            records: where they are recorded.
            payers: what decides whether somebody may be paid.
            signing: what signs, prices and sends.
        """
        self._mint, self._parties = deal.mint, payers.parties
        settings, clock, backends = deal.settings, deal.clock, records.backends
        database = backends.database
        leased: dict[str, Any] = {"lease_owner": records.lease_owner, "outbox": records.outbox}
        recorder = BatchRecorder(database, clock, payers.rails, **leased)
        accounts = RecipientAccounts(backends.rpc, deal.mint)
        self._tables = LookupTables(
            store=TableStore(database, clock, signing.fees.payer),
            rpc=backends.rpc,
            signer=signing.signer,
            follower=signing.follower,
            clock=clock,
            enabled=settings.lookup_tables,
            uses=settings.lookup_table_uses,
        )
        self.driver = BatchDriver(
            batches=recorder,
            carriers=CarrierStore(database, clock, max_attempts=settings.max_payment_attempts, **leased),
            accounts=accounts,
            signer=GroupSigner(signing.signer),
            tables=self._tables,
            follower=signing.follower,
            mint=deal.mint,
            fee_payer=signing.fees.payer,
            clock=clock,
            events=deal.events,
            metrics=deal.metrics,
            max_carriers_in_flight=max(settings.max_payments_in_flight // PAYMENTS_PER_CARRIER, 1),
            observers=(records.observer,),
            on_attempt_end=signing.fees.learn,
        )
        self.distributor = BatchDistributor(
            mint=deal.mint,
            database=database,
            parties=payers.parties,
            recipients=Recipients(database, payers.parties, payers.rails),
            accounts=accounts,
            costs=CostEstimator(backends.rpc, deal.mint, signing.fees, self._tables),
            recorder=recorder,
            driver=self.driver,
            signer=signing.signer,
            read_balance=payers.balances.funds,
            clock=clock,
        )

    def rewards(self, admission: Admission) -> RewardDistributor:
        """Make the service that pays rewards, singly by an admission and in batches by these parts."""
        return RewardDistributor(
            mint=self._mint,
            admission=admission,
            parties=self._parties,
            batches=self.distributor,
            tables=self._tables,
        )

    async def close(self) -> None:
        """Finish what is being recorded, then stop driving; what is not final stays recorded."""
        await self.distributor.close()
        await self.driver.close()
