"""Balance history from the chain itself: finalized transactions of our token accounts, in their order.

Every row's before and after are the transaction's own token balances. A transfer that none of our
payments explains is recorded as a deposit or a withdrawal; nothing that is recorded is ever changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.amounts import MAX_PAYMENT_BASE_UNITS
from deal_sdk.chain import (
    AddressSignature,
    LandedBlocks,
    LandedReads,
    LandedTransaction,
    MintFacts,
    Rpc,
)
from deal_sdk.payments.deposits import Deposit, DepositBook, names_in
from deal_sdk.payments.history_listing import SignatureListing
from deal_sdk.payments.history_reach import HistoryReach, Progress, progress_of
from deal_sdk.records import (
    BalanceChange,
    BalanceHistoryRecorder,
    Database,
    ExternalTransfer,
    ExternalType,
    TrackedAccount,
    TransactionRecorder,
)
from deal_sdk.records.among import among, list_parameter
from deal_sdk.records.packed_rows import PackedQuery
from deal_sdk.records.tables import payment_attempts, token_transactions

logger = logging.getLogger(__name__)

_NOTHING_EXPECTED: Final[Mapping[str, int]] = MappingProxyType({})
_EXPLAINED: Final = PackedQuery(
    sa.select(
        payment_attempts.c.signature,
        token_transactions.c.type,
        token_transactions.c.reason,
        token_transactions.c.instruction,
    )
    .join(token_transactions, token_transactions.c.id == payment_attempts.c.payment_id)
    .where(among(payment_attempts.c.signature, list_parameter("b_signatures", payment_attempts.c.signature)))
)


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync found and appended."""

    accounts: int
    history_rows: int
    external_transfers: int
    transactions: int
    progress: Mapping[str, Progress]
    """By token account, how far its history is now."""
    incomplete: tuple[str, ...]
    """Token accounts whose newest transactions the endpoint does not show whole yet."""

    def to_dict(self) -> dict[str, Any]:
        """Return what was found as plain data, without each account's progress."""
        return {
            "accounts": self.accounts,
            "transactions": self.transactions,
            "history_rows": self.history_rows,
            "external_transfers": self.external_transfers,
            "incomplete": list(self.incomplete),
        }


@dataclass(frozen=True, slots=True)
class _Landed:
    """A transaction at its place in the chain."""

    transaction: LandedTransaction
    block_index: int


@dataclass(frozen=True, slots=True)
class _Explanation:
    """The payment of ours that moved a token account in a transaction."""

    type: str
    reason: str | None


class HistorySync:
    """Appends what the finalized chain shows of tracked token accounts."""

    def __init__(
        self,
        *,
        rpc: Rpc,
        mint: MintFacts,
        database: Database,
        history: BalanceHistoryRecorder,
        transactions: TransactionRecorder,
        max_backfill_signatures: int,
        deposits: DepositBook,
    ) -> None:
        """Wire the parts; nothing is read yet.

        Args:
            deposits: takes in what arrived from outside.
            max_backfill_signatures: how far back the history of a newly tracked account reaches.
        """
        self._rpc = rpc
        self.reads: Final = LandedReads(rpc)
        """Shared with whoever else reads the same transactions."""
        self._blocks = LandedBlocks(rpc)
        self.reach: Final = HistoryReach()
        """Shared with whoever wants to know whether there is something to read."""
        self._mint = str(mint.address)
        self._database = database
        self._history = history
        self._transactions = transactions
        self._listing = SignatureListing(rpc, max_backfill_signatures=max_backfill_signatures)
        self.deposits = deposits
        self._turn = asyncio.Lock()

    async def sync(
        self,
        token_accounts: Collection[str] | None = None,
        *,
        expected: Mapping[str, int] = _NOTHING_EXPECTED,
    ) -> SyncReport:
        """Bring the history of tracked accounts up to the finalized chain.

        Args:
            token_accounts: only these; all tracked ones by default.
            expected: by token account, how many new transactions are known of, so that one short listing
                is enough; whatever more there is is read all the same.

        Raises:
            ChainError: when the endpoint fails; what was appended stays, and the next sync goes on.
            HistoryGapError: when the chain does not continue what is recorded.
        """
        async with self._turn:
            tracked = await self._tracked(token_accounts)
            listed = await asyncio.gather(
                *(self._listing.list_new(account, expected.get(account.address, 0)) for account in tracked)
            )
            landed = await self._fetch(listed, {account.history_slot for account in tracked})
            return await self._append(tracked, listed, landed)

    async def _tracked(self, token_accounts: Collection[str] | None) -> list[TrackedAccount]:
        if token_accounts is not None:
            return await self._history.tracked(addresses=list(token_accounts))
        found: list[TrackedAccount] = []
        while page := await self._history.tracked(after=found[-1].address if found else None):
            found.extend(page)
        return found

    async def _fetch(
        self, listed: Sequence[Sequence[AddressSignature]], recorded_slots: Collection[int]
    ) -> dict[str, _Landed]:
        """Read each transaction once: by itself, or with its block where a slot holds several of ours.

        A slot at which an account's history ends holds one that was recorded before, and then too the
        order within the block decides.
        """
        by_slot: defaultdict[int, set[str]] = defaultdict(set)
        for entries in listed:
            for entry in entries:
                if entry.error is None:
                    by_slot[entry.slot].add(entry.signature)
        crowded = {slot for slot, found in by_slot.items() if len(found) > 1 or slot in recorded_slots}
        lone = [signature for slot, found in by_slot.items() if slot not in crowded for signature in found]
        blocks, transactions = await asyncio.gather(
            asyncio.gather(*map(self._blocks.get, crowded)),
            asyncio.gather(*map(self.reads.get, lone)),
        )
        landed = {
            found.signature: _Landed(found, index)
            for slot, block in zip(crowded, blocks, strict=True)
            for index, found in enumerate(block)
            if found.signature in by_slot[slot]
        }
        landed |= {found.signature: _Landed(found, 0) for found in transactions if found is not None}
        return landed

    async def _append(
        self,
        tracked: Sequence[TrackedAccount],
        listed: Sequence[Sequence[AddressSignature]],
        landed: Mapping[str, _Landed],
    ) -> SyncReport:
        explained = await self._explanations(list(landed))
        changes: list[BalanceChange] = []
        external: list[ExternalTransfer] = []
        cursors: dict[str, tuple[str, int]] = {}
        incomplete: list[str] = []
        progress: dict[str, Progress] = {}
        for account, entries in zip(tracked, listed, strict=True):
            usable = _usable(entries, landed)
            progress[account.address] = progress_of(account, usable)
            if len(usable) < len(entries):
                incomplete.append(account.address)
            if not usable:
                continue
            cursors[account.address] = (usable[-1].signature, usable[-1].slot)
            ordered = sorted(
                (landed[entry.signature] for entry in usable if entry.error is None),
                key=lambda found: (found.transaction.slot, found.block_index),
            )
            for found in ordered:
                self._add_change(account, found, explained, changes, external)

        names = _names(external, listed, landed)

        async def append(connection: AsyncConnection) -> tuple[int, int, list[Deposit]]:
            found = await self._transactions.record_external(external, connection=connection)
            deposits = await self.deposits.record(connection, found, names)
            rows = await self._history.extend(changes, cursors=cursors, connection=connection)
            return len(found), rows, deposits

        found_nothing: tuple[int, int, list[Deposit]] = (0, 0, [])
        external_count, row_count, deposits = await self._database.run(append) if cursors else found_nothing
        await self.deposits.committed(deposits)
        reached = self.reach.note(progress)
        return SyncReport(len(tracked), row_count, external_count, len(landed), reached, tuple(incomplete))

    def _add_change(
        self,
        account: TrackedAccount,
        found: _Landed,
        explained: Mapping[tuple[str, str], _Explanation],
        changes: list[BalanceChange],
        external: list[ExternalTransfer],
    ) -> None:
        transaction = found.transaction
        before, after = self._balances(account.address, transaction)
        if before == after:
            return
        explanation = explained.get((transaction.signature, account.address))
        if explanation is None:
            transfer = self._external(account, transaction, after - before)
            if transfer.amount <= MAX_PAYMENT_BASE_UNITS:
                external.append(transfer)
            else:
                # The history keeps it exactly; a payment's amount has no room for it.
                logger.warning("%s moved %d base units elsewhere", transfer.signature, transfer.amount)
            explanation = _Explanation(transfer.type, None)
        changes.append(
            BalanceChange(
                token_account=account.address,
                owner_address=account.owner_address,
                user_id=account.user_id,
                signature=transaction.signature,
                slot=transaction.slot,
                block_index=found.block_index,
                balance_before=before,
                balance_after=after,
                type=explanation.type,
                reason=explanation.reason,
                block_time=_time(transaction.block_time),
            )
        )

    def _balances(self, token_account: str, transaction: LandedTransaction) -> tuple[int, int]:
        """Return an account's balance before and after; an account that is missing held nothing."""
        amounts = []
        for holdings in (transaction.token_balances_before, transaction.token_balances_after):
            holding = holdings.get(token_account)
            is_ours = holding is not None and holding.mint == self._mint
            amounts.append(holding.amount_base_units if holding is not None and is_ours else 0)
        return amounts[0], amounts[1]

    def _external(
        self, account: TrackedAccount, transaction: LandedTransaction, change: int
    ) -> ExternalTransfer:
        counterparty = self._counterparty(account.address, transaction, change)
        incoming = change > 0
        return ExternalTransfer(
            type=self._external_type(transaction, change),
            signature=transaction.signature,
            slot=transaction.slot,
            token_account=account.address,
            amount=abs(change),
            from_address=counterparty if incoming else account.owner_address,
            to_address=account.owner_address if incoming else counterparty,
            from_user_id=None if incoming else account.user_id,
            to_user_id=account.user_id if incoming else None,
            block_time=_time(transaction.block_time),
        )

    def _external_type(self, transaction: LandedTransaction, change: int) -> ExternalType:
        """Tell tokens that were created or destroyed from tokens that came or went."""
        accounts = {*transaction.token_balances_before, *transaction.token_balances_after}
        net = 0
        for token_account in accounts:
            before, after = self._balances(token_account, transaction)
            net += after - before
        if net == change:
            return "mint" if change > 0 else "burn"
        return "deposit" if change > 0 else "withdrawal"

    def _counterparty(self, token_account: str, transaction: LandedTransaction, change: int) -> str | None:
        """Return the owner on the other side where there is exactly one."""
        holdings = {**transaction.token_balances_before, **transaction.token_balances_after}
        owners = set()
        for other, holding in holdings.items():
            before, after = self._balances(other, transaction)
            if other != token_account and (after - before) * change < 0:
                owners.add(holding.owner)
        return owners.pop() if len(owners) == 1 else None

    async def _explanations(self, signatures: Sequence[str]) -> dict[tuple[str, str], _Explanation]:
        """Return what our payments say of each (signature, token account)."""
        explained: dict[tuple[str, str], _Explanation] = {}
        if not signatures:
            return explained
        parameters = {"b_signatures": signatures}
        rows = await self._database.read(lambda connection: _EXPLAINED.rows(connection, parameters))
        for signature, kind, reason, plan in rows:
            for side in ("source", "destination"):
                if plan and plan.get(side):
                    explained[signature, plan[side]] = _Explanation(kind, reason)
        return explained


def _usable(entries: Sequence[AddressSignature], landed: Mapping[str, _Landed]) -> list[AddressSignature]:
    """Return the entries up to the first that the endpoint could not show, so that no gap is recorded."""
    usable = []
    for entry in entries:
        if entry.error is None and entry.signature not in landed:
            break
        usable.append(entry)
    return usable


def _names(
    external: Sequence[ExternalTransfer],
    listed: Sequence[Sequence[AddressSignature]],
    landed: Mapping[str, _Landed],
) -> dict[str, tuple[str, ...]]:
    """Return by signature what each transfer from outside may name an invoice by."""
    arrived = {transfer.signature for transfer in external if transfer.type == "deposit"}
    return {
        entry.signature: names_in(landed[entry.signature].transaction.account_keys, entry.memo)
        for entries in listed
        for entry in entries
        if entry.signature in arrived
    }


@lru_cache(maxsize=64)
def _time(block_time: int | None) -> datetime | None:
    return None if block_time is None else datetime.fromtimestamp(block_time, UTC)
