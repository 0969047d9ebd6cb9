"""Whether lookup tables pay off for a batch: the fees that they save against all that they take.

Tables are not free. Each extension is a transaction of its own, and the next one of that table waits until it
is confirmed, while the payments wait for all; their rent is locked until they are closed, which takes two
transactions more. A batch of a few dozen would save a cent's hundredth and be paid seconds later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from solders.pubkey import Pubkey

from deal_sdk.chain.lookup_tables import MAX_EXTENSION_ADDRESSES, MAX_TABLE_ADDRESSES
from deal_sdk.payments.batches.packing import Frame, pack
from deal_sdk.payments.batches.shares import Share

STEPS_PER_SECOND: Final = 2
"""A confirmation takes half a second, and each extension of a table waits for the one before."""
SECOND_LAMPORTS: Final = 25_000
"""What a second counts for by which payments are made later: five signatures."""
RENT_PER_MILLION: Final = 200
"""What lamports could have earned in the day that they are locked for, at some 7 percent a year."""


@dataclass(frozen=True, slots=True)
class TablePrices:
    """What the chain takes, in lamports."""

    carrier_lamports: int
    """Of a carrier's signatures: its priority fee goes by its compute, which tables do not change."""
    extension_lamports: int
    """Of a transaction that extends a table, its priority fee included."""
    closing_lamports: int
    """Of deactivating and closing a table, which brings its rent back."""
    spendable_lamports: int
    """What the fee payer may lock as rent."""
    empty_table_lamports: int
    address_lamports: int
    """The rent of a table, and of each address in it."""


@dataclass(frozen=True, slots=True)
class TablePlan:
    """Tables to be made, none where they do not pay off."""

    tables: tuple[tuple[Pubkey, ...], ...]
    spared: int
    """Carriers that are not needed."""
    extensions: int
    """Transactions that make the tables."""
    saved_lamports: int
    """Fees of the carriers that this batch is spared, less those of the extensions; later ones save more."""
    locked_lamports: int
    wait_seconds: float
    """By how much the payments begin later."""


NO_TABLES: Final = TablePlan((), 0, 0, 0, 0, wait_seconds=0)


def plan_tables(frame: Frame, shares: Sequence[Share], prices: TablePrices, *, uses: int = 1) -> TablePlan:
    """Decide whether new tables for some shares are worth what they take.

    Only accounts that exist count: who is paid for the first time takes more room for the creation than a
    table could save. Addresses that a table holds already cost nothing.

    Args:
        frame: with the tables that are usable already.
        shares: as the chain's accounts want them paid, all of them at once.
        prices: what the chain takes.
        uses: how many batches to the same recipients the tables are to serve, this one included, 1 or more.
    """
    accounts = [share.account for share in shares if not share.creates_account]
    wanted = dict.fromkeys((frame.source, frame.mint.address, *accounts))
    new = [address for address in wanted if address not in frame.tables and address != frame.authority]
    if not new:
        return NO_TABLES
    tables = tuple(_cut(new, MAX_TABLE_ADDRESSES))
    planned = with_planned(frame, tables)
    spared = len(pack(frame, shares)) - len(pack(planned, shares))
    extensions = sum(len(extensions_of(table)) for table in tables)
    saved = spared * prices.carrier_lamports - extensions * prices.extension_lamports
    locked = len(tables) * prices.empty_table_lamports + len(new) * prices.address_lamports
    wait_seconds = _steps(tables) / STEPS_PER_SECOND
    plan = TablePlan(tables, spared, extensions, saved, locked, wait_seconds)
    return plan if locked <= prices.spendable_lamports and is_worth_it(plan, prices, uses) else NO_TABLES


def is_worth_it(plan: TablePlan, prices: TablePrices, uses: int) -> bool:
    """Say whether tables save more than they take, everything counted in lamports.

    Against the fees of the carriers that all uses are spared stand those of making and closing the tables,
    what their rent could have earned, a day for each use, and what it counts for that payments wait.

    Args:
        plan: the tables.
        prices: what the chain takes.
        uses: how many batches to the same recipients they are to serve.
    """
    saved = uses * plan.spared * prices.carrier_lamports
    fees = plan.extensions * prices.extension_lamports + len(plan.tables) * prices.closing_lamports
    rent = uses * plan.locked_lamports * RENT_PER_MILLION // 1_000_000
    waiting = _steps(plan.tables) * SECOND_LAMPORTS // STEPS_PER_SECOND
    return saved > fees + rent + waiting


def joined(plans: Sequence[TablePlan]) -> TablePlan:
    """Return what the plans of a batch's parts, which are made one after another, take together."""
    return TablePlan(
        tuple(table for plan in plans for table in plan.tables),
        sum(plan.spared for plan in plans),
        sum(plan.extensions for plan in plans),
        sum(plan.saved_lamports for plan in plans),
        sum(plan.locked_lamports for plan in plans),
        sum(plan.wait_seconds for plan in plans),
    )


def _steps(tables: Sequence[Sequence[Pubkey]]) -> int:
    """Return how many confirmations payments wait for, tables being filled side by side.

    The last stands for the slot from which on what was appended can be looked up.
    """
    return max((len(extensions_of(table)) for table in tables), default=0) + 1


def with_planned(frame: Frame, tables: Sequence[Sequence[Pubkey]]) -> Frame:
    """Return a frame as if tables that have no address yet were there, to count with."""
    held = dict(frame.tables)
    for table in tables:
        # Any address that tells the tables apart will do for counting bytes.
        held.update(dict.fromkeys(table, table[-1]))
    return replace(frame, tables=held)


def extensions_of(addresses: Sequence[Pubkey]) -> list[tuple[Pubkey, ...]]:
    """Cut addresses into what one transaction each appends to a table."""
    return _cut(addresses, MAX_EXTENSION_ADDRESSES)


def _cut(addresses: Sequence[Pubkey], size: int) -> list[tuple[Pubkey, ...]]:
    return [tuple(addresses[start : start + size]) for start in range(0, len(addresses), size)]
