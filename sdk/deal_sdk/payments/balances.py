"""Balances for payments: read at confirmed, never before our own last landing, less what is reserved."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol
from uuid import UUID

from solders.pubkey import Pubkey

from deal_sdk.chain import Rpc
from deal_sdk.payments.orders import Funds, Plan
from deal_sdk.payments.parties import PartyResolver
from deal_sdk.payments.reservations import held_now
from deal_sdk.records import Database, Transaction

MAX_REMEMBERED_SLOTS: Final = 100_000


class CachedBalances(Protocol):
    """The cache of balances for display."""

    async def invalidate_many(self, slots: Mapping[str, int]) -> bool:
        """Forget balances, and take none from before their slots any more."""
        ...


class BalanceReads:
    """Reads balances from the chain and reservations from the records."""

    def __init__(self, rpc: Rpc, database: Database, parties: PartyResolver) -> None:
        """Wire the parts; nothing is read yet."""
        self._rpc = rpc
        self._database = database
        self._parties = parties
        self._landed_slots: dict[str, int] = {}

    async def read_balance(self, token_account: str) -> tuple[int, int]:
        """Return a token account's confirmed amount and the slot it was read at."""
        funds = await self.funds(token_account)
        return funds.balance_base_units, funds.slot

    async def funds(self, token_account: str) -> Funds:
        """Read a token account as of the slot where our last payment moved it, or later.

        Raises:
            ChainError: when the endpoint fails or stays behind that slot.
        """
        balance = await self._rpc.get_token_balance(
            Pubkey.from_string(token_account), min_context_slot=self._landed_slots.get(token_account)
        )
        delegate = None if balance.delegate is None else str(balance.delegate)
        return Funds(balance.amount_base_units, balance.slot, delegate, balance.delegated_base_units)

    async def resolve(self, user_id: UUID | str) -> str:
        """Return the token account of a user's primary wallet."""
        return (await self._parties.resolve(user_id)).token_account

    async def reserved(self, token_account: str, slot: int) -> int:
        """Return what payments and accrued fees take that is not yet out of a balance read at `slot`."""
        return await held_now(self._database, token_account, slot)

    def note_landing(self, payment: Transaction) -> dict[str, int]:
        """Remember the slot of a payment that landed, and return it by the token accounts that it moved."""
        slot = payment.slot
        if slot is None or not payment.instruction:
            return {}
        plan = Plan.from_json(payment.instruction)
        moved = [account for account in (plan.source, plan.destination) if account is not None]
        self.note_moved(slots := dict.fromkeys(moved, slot))
        return slots

    def note_moved(self, slots: Mapping[str, int]) -> None:
        """Read these token accounts no older than their slots from now on."""
        keep_newest(self._landed_slots, slots)


class BalanceInvalidation:
    """Forgets cached balances that landed payments changed."""

    def __init__(self, reads: BalanceReads, cache: CachedBalances) -> None:
        """Wire the parts."""
        self._reads = reads
        self._cache = cache
        self._told: dict[str, int] = {}

    async def __call__(self, payments: Sequence[Transaction]) -> None:
        """Take no balances from before the payments' slots any more; at "finalized" that is no news."""
        slots: dict[str, int] = {}
        for payment in payments:
            keep_newest(slots, self._reads.note_landing(payment))
        await self._tell(slots)

    async def moved(self, token_accounts: Collection[str], slot: int) -> None:
        """Take no balances from before a slot at which one transaction moved these token accounts."""
        slots = dict.fromkeys(token_accounts, slot)
        self._reads.note_moved(slots)
        await self._tell(slots)

    async def _tell(self, slots: Mapping[str, int]) -> None:
        news = {account: slot for account, slot in slots.items() if self._told.get(account, 0) < slot}
        if news and await self._cache.invalidate_many(news):
            keep_newest(self._told, news)


def keep_newest(slots: dict[str, int], news: Mapping[str, int]) -> None:
    """Take over the slots that are newer than those known; forgotten are all when there are too many."""
    if len(slots) > MAX_REMEMBERED_SLOTS:
        slots.clear()
    for account, slot in news.items():
        slots[account] = max(slot, slots.get(account, 0))
