"""Wiring of the records: payments, balance history, its reading from the chain, and the proofs."""

from __future__ import annotations

from dataclasses import dataclass

from deal_sdk.chain import MintFacts, Rpc
from deal_sdk.monitor import WATCH_INVARIANTS
from deal_sdk.payments import HistorySync, Verifier
from deal_sdk.records import BalanceHistoryRecorder, Database, TransactionRecorder


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """The parts that record and compare; they move nothing."""

    transactions: TransactionRecorder
    history: BalanceHistoryRecorder
    sync: HistorySync
    verifier: Verifier


def make_bookkeeping(
    rpc: Rpc, mint: MintFacts, database: Database, *, max_backfill_signatures: int
) -> Bookkeeping:
    """Wire the records of one mint; nothing is read yet.

    Args:
        rpc: the chain that they are compared with.
        mint: whose decimals amounts are shown in.
        database: where they are kept.
        max_backfill_signatures: how far back the history of a newly tracked account reaches.
    """
    transactions = TransactionRecorder(database, decimals=mint.decimals)
    history = BalanceHistoryRecorder(database, decimals=mint.decimals)
    sync = HistorySync(
        rpc=rpc,
        mint=mint,
        database=database,
        history=history,
        transactions=transactions,
        max_backfill_signatures=max_backfill_signatures,
    )
    verifier = Verifier(
        rpc=rpc, mint=mint, database=database, history=history, sync=sync, further=WATCH_INVARIANTS
    )
    return Bookkeeping(transactions, history, sync, verifier)
