"""Processes that recognise payments from outside, over one database and one scripted chain."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID

from deal_sdk.accounting import Journal, MonthlyRenewalService, TokenAccountingService
from deal_sdk.clock import Clock
from deal_sdk.events import EventBus
from deal_sdk.payments import CreditPackages, DepositBook, HistorySync, Invoice, InvoiceJob, Invoices
from deal_sdk.payments.invariants import SQL_INVARIANTS
from deal_sdk.payments.orders import Party
from deal_sdk.payments.outbox import PaymentOutbox
from deal_sdk.records import BalanceHistoryRecorder, Database, TransactionRecorder, UserDirectory
from deal_sdk.webhooks import Outbox
from tests.contract.scripted_rpc import MINT, OURS, THEIRS, ScriptedRpc

TREASURY = "owner"
PRICE = 250_000_000
CHAIN_BEGINS = 1_767_225_600
"""The tests' clock begins then, too."""


class Parties:
    """Knows the treasury's wallet of the scripted chain."""

    async def resolve(self, reference: str) -> Party:
        assert reference == "treasury"
        return Party(TREASURY, OURS, operator_name="treasury")


class Process:
    """What one process makes of a database and a chain."""

    def __init__(self, database: Any, rpc: ScriptedRpc, clock: Clock, mint_address: str = MINT) -> None:
        self.journal = Journal(database)
        self.bus = EventBus(clock)
        self.outbox = Outbox(database, clock)
        mint: Any = SimpleNamespace(address=mint_address, decimals=8)
        self.sync = HistorySync(
            rpc=rpc,  # type: ignore[arg-type]
            mint=mint,
            database=database,
            history=BalanceHistoryRecorder(database),
            transactions=TransactionRecorder(database),
            max_backfill_signatures=1_000,
            deposits=DepositBook(clock, self.bus, PaymentOutbox(self.outbox)),
        )
        self.credits = TokenAccountingService(database, self.journal)
        self.renewals = MonthlyRenewalService(database, self.journal)
        invoices = Invoices(
            database,
            parties=Parties(),  # type: ignore[arg-type]
            credits=self.credits,
            subscriptions=self.renewals,
            mint=mint,
        )
        self.packages = CreditPackages(
            database,
            admission=None,  # type: ignore[arg-type]
            parties=Parties(),  # type: ignore[arg-type]
            credits=self.credits,
            invoices=invoices,
            decimals=8,
        )
        self.job = InvoiceJob(invoices, self.sync)
        self.sync.deposits.on_paid = self.job.paid

    async def close(self) -> None:
        await self.journal.close()
        await self.bus.close()


class World(Process):
    """A process, its chain, and a user who is asked to pay."""

    def __init__(self, database: Database, clock: Any) -> None:
        self.database, self.clock = database, clock
        self.rpc = ScriptedRpc()
        self.balance = 0
        super().__init__(database, self.rpc, clock)

    async def open(self) -> World:
        await self.sync._history.track(OURS, TREASURY)
        self.user_id = (await UserDirectory(self.database).create()).id
        await self.packages.offer("starter", 500, "2.5")
        return self

    def pay(
        self, amount: int, *names: str, memo: str | None = None, after_seconds: int = 0, account: str = OURS
    ) -> str:
        signature = f"payment-{len(self.rpc.chain)}"
        moves = {account: (self.balance, self.balance + amount), THEIRS: (10**12, 10**12 - amount)}
        at = CHAIN_BEGINS + after_seconds
        slot = len(self.rpc.chain) + 1
        self.rpc.land(signature, slot, moves, names=names, memo=memo, block_time=at)
        self.balance += amount
        return signature

    async def arrives(self, amount: int, invoice: Invoice, **details: Any) -> tuple[str, int]:
        """Let a payment of an invoice arrive, and return what it was for it."""
        signature = self.pay(amount, invoice.reference, **details)
        await self.sync.sync()
        [payment] = await TransactionRecorder(self.database).get_by_signature(signature)
        settled = {one.payment_id: one for one in await self.packages.invoices.payments(invoice.id)}
        return settled[payment.id].outcome, settled[payment.id].excess

    async def now(self, invoice: Invoice) -> Invoice:
        return await self.packages.invoices.get(invoice.id)

    async def credits_of(self, user_id: UUID | None = None) -> int:
        return (await self.credits.get_balance(user_id or self.user_id)).tokens_balance

    async def broken(self) -> list[Any]:
        async with self.database.reading() as connection:
            return [
                row
                for name, query in SQL_INVARIANTS.items()
                if "invoice" in name
                for row in await connection.execute(query)
            ]
