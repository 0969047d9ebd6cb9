"""Wiring of the records: payments, balance history, its reading from the chain, and the proofs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from deal_sdk.chain import MintFacts, Rpc
from deal_sdk.events import EventBus
from deal_sdk.monitor import SUBSCRIPTION_INVARIANTS, WATCH_INVARIANTS
from deal_sdk.payments import DepositBook, HistorySync, PaymentOutbox, Verifier
from deal_sdk.records import BalanceHistoryRecorder, Database, TransactionRecorder
from deal_sdk.settings import Settings


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """The parts that record and compare; they move nothing."""

    transactions: TransactionRecorder
    history: BalanceHistoryRecorder
    sync: HistorySync
    verifier: Verifier


class BookkeepingParts(Protocol):
    """What the records need of a `Deal`."""

    settings: Settings
    events: EventBus
    rpc: Rpc
    mint: MintFacts


def make_bookkeeping(deal: BookkeepingParts, database: Database, outbox: PaymentOutbox) -> Bookkeeping:
    """Wire the records of one mint; nothing is read yet.

    Args:
        deal: has the chain that they are compared with, and the mint in whose decimals amounts are shown.
        database: where they are kept.
        outbox: told of deposits.
    """
    rpc, mint = deal.rpc, deal.mint
    transactions = TransactionRecorder(database, decimals=mint.decimals)
    history = BalanceHistoryRecorder(database, decimals=mint.decimals)
    sync = HistorySync(
        rpc=rpc,
        mint=mint,
        database=database,
        history=history,
        transactions=transactions,
        max_backfill_signatures=deal.settings.history_backfill_signatures,
        deposits=DepositBook(database.clock, deal.events, outbox),
    )
    further = {**WATCH_INVARIANTS, **SUBSCRIPTION_INVARIANTS}
    verifier = Verifier(rpc=rpc, mint=mint, database=database, history=history, sync=sync, further=further)
    return Bookkeeping(transactions, history, sync, verifier)
