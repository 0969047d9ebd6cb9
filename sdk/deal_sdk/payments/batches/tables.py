"""Lookup tables for batches: made when they pay off, used again, and closed when told so.

A table only makes transactions smaller. Whatever goes wrong with one, payments are made without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import uuid4

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_sdk.amounts import MAX_U64
from deal_sdk.chain import Rpc, Verdict
from deal_sdk.chain.lookup_tables import (
    COOLDOWN_SLOTS,
    MAX_TABLE_ADDRESSES,
    LookupTable,
    close_table,
    create_table,
    deactivate_table,
    decode_table,
    extend_table,
    recent_slots,
    table_size_bytes,
)
from deal_sdk.clock import Clock
from deal_sdk.errors import TokenError
from deal_sdk.payments.batches.building import Group, build
from deal_sdk.payments.batches.packing import Frame, pack
from deal_sdk.payments.batches.recording import MAX_RECORDED_TOGETHER
from deal_sdk.payments.batches.seen_tables import SeenTables, read_tables
from deal_sdk.payments.batches.shares import Share
from deal_sdk.payments.batches.table_plans import (
    NO_TABLES,
    TablePlan,
    TablePrices,
    extensions_of,
    joined,
    plan_tables,
)
from deal_sdk.payments.batches.table_store import RecordedTable, TableStore
from deal_sdk.payments.fee_payer import LAMPORTS_PER_SIGNATURE
from deal_sdk.payments.pipeline_seams import TransactionFollower
from deal_sdk.payments.signing import PaymentSigner

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.2
MAX_READS: Final = 150
"""How often a table is read until a node shows what landed; then payments go on without it."""
MAX_STEPS: Final = 64
SETTLED_SLOTS: Final = 32
MAX_CREATION_AGE_SLOTS: Final = 350
"""How old the slot may be with which a table is created: its transaction lives for 150 of the 512."""
KEPT_LAMPORTS: Final = 5_000_000
"""What locking rent leaves the fee payer, beside what the batch itself takes."""


@dataclass(frozen=True, slots=True)
class TableReport:
    """A lookup table of ours, as operators see it; the lamports come back when it is closed."""

    address: str
    state: str
    addresses: int
    locked_lamports: int
    slots_to_close: int | None
    """How long its cooldown lasts yet, at the least; None before it was deactivated."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        return {
            "address": self.address,
            "state": self.state,
            "addresses": self.addresses,
            "locked_lamports": self.locked_lamports,
            "slots_to_close": self.slots_to_close,
        }


class LookupTables:
    """Makes, finds and closes the lookup tables of one fee payer, who is their authority."""

    def __init__(
        self,
        *,
        store: TableStore,
        rpc: Rpc,
        signer: PaymentSigner,
        follower: TransactionFollower,
        clock: Clock,
        enabled: bool,
        uses: int = 1,
    ) -> None:
        """Wire the parts; nothing is read yet.

        Args:
            store: where they are recorded.
            rpc: reads what they hold.
            signer: signs what changes them.
            follower: sends it and proves what became of it.
            clock: spaces the reads.
            enabled: whether batches use tables; they can be listed and closed in any case.
            uses: how many batches to the same recipients a table is to serve.
        """
        self._store = store
        self._rpc = rpc
        self._signer = signer
        self._payer = signer.fees.payer
        self._follower = follower
        self._clock = clock
        self._enabled = enabled
        self._uses = uses
        self._planning = asyncio.Lock()
        self._seen = SeenTables(rpc, clock)

    async def plan(self, frame: Frame, shares: Sequence[Share]) -> tuple[Frame, TablePlan]:
        """Return a frame with the tables that are there, and what more would pay off.

        Raises:
            ChainError: when the chain could not be read.
            DatabaseError: when the records could not be.
        """
        if not self._enabled or len(shares) < 2:
            return frame, NO_TABLES
        frame = await self._with_usable(frame, shares)
        return frame, await self._decide(frame, shares)

    async def equip(self, frame: Frame, shares: Sequence[Share]) -> Frame:
        """Return a frame with the tables that shares are paid with, made now where they pay off.

        Never fails for a table's sake: without it, the payments only need more transactions.
        """
        if not self._enabled or len(shares) < 2:
            return frame
        try:
            return await self._equipped(frame, shares)
        except TokenError as error:
            logger.warning("a batch goes on without lookup tables: %s (%s)", error.message, error.code)
            return frame

    async def report(self) -> list[TableReport]:
        """Return all tables that lock rent.

        Raises:
            ChainError: when they could not be read.
        """
        recorded = await self._store.all("filling", "ready", "closing")
        found = await self._read([one.address for one in recorded])
        return [_report(one, found.get(one.address)) for one in recorded]

    async def close(self) -> list[TableReport]:
        """Deactivate every table, and close those whose cooldown is over, so that the rent comes back.

        Call again after the cooldown, some four minutes, for the rest. Batches go on without them.

        Raises:
            PaymentsPausedError, FeePayerError, ChainError: what was not done is done by the next call.
        """
        for recorded in await self._store.all("filling", "ready", "closing"):
            await self._close(recorded.address)
        return await self.report()

    async def _equipped(self, frame: Frame, shares: Sequence[Share]) -> Frame:
        async with self._planning:
            begun = _holding(await self._store.all("filling"), frame, shares)
            if not begun:
                usable, plan = await self.plan(frame, shares)
                if not plan.tables:
                    return usable
                slots = await recent_slots(self._rpc)
                settled = slots[SETTLED_SLOTS : MAX_CREATION_AGE_SLOTS - SETTLED_SLOTS]
                begun = await self._store.plan(plan.tables, settled or slots)
            # Inside the lock, so that what comes meanwhile finds these tables instead of making its own.
            results = await asyncio.gather(*map(self._fill, begun), return_exceptions=True)
        for result in results:
            if isinstance(result, TokenError):
                logger.warning("a lookup table is not ready: %s (%s)", result.message, result.code)
            elif isinstance(result, BaseException):
                raise result
        return await self._with_usable(frame, shares)

    async def _with_usable(self, frame: Frame, shares: Sequence[Share]) -> Frame:
        wanted = _holding(await self._store.all("ready"), frame, shares)
        tables: dict[Pubkey, Pubkey] = {}
        held = await self._seen.usable(wanted)
        for account in held:
            for one in account.addresses:
                tables.setdefault(one, account.key)
        return replace(frame, tables=tables, held=tuple(held))

    async def _decide(self, frame: Frame, shares: Sequence[Share]) -> TablePlan:
        """Plan the tables of a batch part by part, as its payments are recorded and driven."""
        carrier = LAMPORTS_PER_SIGNATURE * len({frame.fee_payer, frame.authority})
        # Whatever is not worth it at the least price needs no question about the real one.
        least = TablePrices(carrier, LAMPORTS_PER_SIGNATURE, 2 * LAMPORTS_PER_SIGNATURE, MAX_U64, 0, 0)
        prices: TablePrices | None = None
        plans: list[TablePlan] = []
        for start in range(0, len(shares), MAX_RECORDED_TOGETHER):
            part = shares[start : start + MAX_RECORDED_TOGETHER]
            plan = await self._plan_part(frame, part, least)
            if plan.tables:
                prices = prices or await self._prices(frame, shares, plan, carrier)
                plan = await self._plan_part(frame, part, prices)
                left = prices.spendable_lamports - plan.locked_lamports
                prices = replace(prices, spendable_lamports=left)
            plans.append(plan)
        return joined(plans)

    async def _plan_part(self, frame: Frame, part: Sequence[Share], prices: TablePrices) -> TablePlan:
        return await asyncio.to_thread(plan_tables, frame, part, prices, uses=self._uses)

    async def _prices(
        self, frame: Frame, shares: Sequence[Share], plan: TablePlan, carrier_lamports: int
    ) -> TablePrices:
        slot = (await recent_slots(self._rpc))[0]
        step = self._extension(slot, extensions_of(plan.tables[0])[0], creates=True)
        extension = await self._signer.fees.price(step)
        groups = await asyncio.to_thread(pack, frame, shares)
        first = build(frame, Group(uuid4(), tuple(groups[0])))
        priced = await self._signer.fees.price(first, lookup_tables=frame.held)
        held = await self._rpc.get_balance(self._payer)
        spendable = held - KEPT_LAMPORTS - len(groups) * priced.lamports
        empty, full = await asyncio.gather(*map(self._rent, (0, MAX_TABLE_ADDRESSES)))
        each = -(-(full - empty) // MAX_TABLE_ADDRESSES)
        closing = 2 * extension.lamports
        return TablePrices(carrier_lamports, extension.lamports, closing, spendable, empty, each)

    async def _rent(self, addresses: int) -> int:
        return await self._rpc.get_minimum_balance_for_rent_exemption(table_size_bytes(addresses))

    async def _fill(self, address: Pubkey) -> None:
        """Put on the chain what a table is to hold, as far as it is not there."""
        for _ in range(MAX_STEPS):
            recorded = await self._store.get(address)
            if recorded.state != "filling":
                return
            if recorded.pending is not None:
                await self._ended(recorded, await self._follow(recorded))
                continue
            table = await self._current(recorded)
            missing = recorded.addresses[0 if table is None else len(table.addresses) :]
            if table is not None and not missing:
                await self._usable(table)
                await self._store.move(address, "filling", "ready")
                return
            slots = await recent_slots(self._rpc) if table is None else []
            if table is None and recorded.recent_slot not in slots[:MAX_CREATION_AGE_SLOTS]:
                # It was never made and can no longer be; another takes its place when that pays off.
                await self._store.move(address, "filling", "closed")
                return
            step = self._extension(recorded.recent_slot, extensions_of(missing)[0], creates=table is None)
            signed = await self._signer.sign_instructions(step, self._payer)
            await self._store.begin(address, "filling", signed)

    def _extension(self, slot: int, addresses: tuple[Pubkey, ...], *, creates: bool) -> list[Instruction]:
        create = create_table(authority=self._payer, payer=self._payer, recent_slot=slot)
        extend = extend_table(
            table=create.accounts[0].pubkey, authority=self._payer, payer=self._payer, addresses=addresses
        )
        return [create, extend] if creates else [extend]

    async def _follow(self, recorded: RecordedTable) -> Verdict:
        assert recorded.pending is not None
        following = self._follower.follow(recorded.pending)
        verdict = await following.reached("confirmed")
        if not verdict.succeeded and not verdict.final:
            verdict = await following.reached("finalized")
        self._signer.fees.learn(recorded.pending, verdict)
        return verdict

    async def _ended(self, recorded: RecordedTable, verdict: Verdict) -> None:
        assert recorded.pending is not None
        await self._store.end(
            recorded.address, recorded.pending.signature, verdict.slot if verdict.succeeded else None
        )
        if verdict.state == "failed" and recorded.state == "filling":
            # It stays as it is: what was refused once would be refused again, at a fee each time.
            table = await self._current(await self._store.get(recorded.address))
            holds = 0 if table is None else len(table.addresses)
            after: Any = "closed" if table is None else "ready"
            await self._store.move(recorded.address, "filling", after, holds=holds)

    async def _current(self, recorded: RecordedTable) -> LookupTable | None:
        """Read a table no older than its last change, so that no address is appended twice."""
        if recorded.landed_slot is None:
            return decode_table(await self._rpc.get_account(recorded.address))
        return decode_table(
            await self._rpc.get_account(recorded.address, min_context_slot=recorded.landed_slot)
        )

    async def _usable(self, table: LookupTable) -> None:
        """Wait for the slot after the last extension, from which on addresses can be looked up."""
        for _ in range(MAX_READS):
            if await self._rpc.get_slot() > table.last_extended_slot:
                return
            await self._clock.sleep(POLL_SECONDS)

    async def _read(self, addresses: Sequence[Pubkey]) -> dict[Pubkey, LookupTable]:
        return await read_tables(self._rpc, addresses)

    async def _close(self, address: Pubkey) -> None:
        for _ in range(MAX_STEPS):
            recorded = await self._store.get(address)
            if recorded.state == "closed":
                return
            if recorded.pending is not None:
                verdict = await self._follow(recorded)
                await self._ended(recorded, verdict)
                if verdict.state == "failed":
                    # Each try costs a fee; the caller decides when the next one is.
                    return
                continue
            if recorded.state != "closing":
                # From here on no batch uses it; what is signed already expires long before the cooldown.
                await self._store.move(address, recorded.state, "closing")
                continue
            table = await self._current(recorded)
            if table is None:
                await self._store.move(address, "closing", "closed")
                return
            if table.deactivation_slot is None:
                step = deactivate_table(table=address, authority=self._payer)
            elif table.deactivation_slot < (await recent_slots(self._rpc))[-1]:
                step = close_table(table=address, authority=self._payer, recipient=self._payer)
            else:
                return
            await self._store.begin(
                address, "closing", await self._signer.sign_instructions([step], self._payer)
            )


def _holding(tables: Sequence[RecordedTable], frame: Frame, shares: Sequence[Share]) -> list[Pubkey]:
    accounts = {share.account for share in shares if not share.creates_account}
    return [table.address for table in tables if not accounts.isdisjoint(table.addresses)]


def _report(recorded: RecordedTable, table: LookupTable | None) -> TableReport:
    left = None
    if table is not None and table.deactivation_slot is not None:
        left = max(table.deactivation_slot + COOLDOWN_SLOTS + 1 - table.slot, 0)
    return TableReport(
        address=str(recorded.address),
        state=recorded.state,
        addresses=0 if table is None else len(table.addresses),
        locked_lamports=0 if table is None else table.lamports,
        slots_to_close=left,
    )
