"""Whether lookup tables pay off for a batch: fees saved against fees spent, and what rent they lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from solders.pubkey import Pubkey

from deal_sdk.chain.lookup_tables import MAX_EXTENSION_ADDRESSES, MAX_TABLE_ADDRESSES
from deal_sdk.payments.batches.packing import Frame, pack
from deal_sdk.payments.batches.shares import Share


@dataclass(frozen=True, slots=True)
class TablePrices:
    """What the chain takes, in lamports."""

    carrier_lamports: int
    """Of a carrier's signatures: its priority fee goes by its compute, which tables do not change."""
    extension_lamports: int
    """Of a transaction that extends a table, its priority fee included."""
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
    """Fees of the carriers that are spared, less those of the extensions."""
    locked_lamports: int


NO_TABLES: Final = TablePlan((), 0, 0, 0, 0)


def plan_tables(frame: Frame, shares: Sequence[Share], prices: TablePrices) -> TablePlan:
    """Decide whether new tables for some shares save more fees than they take.

    Only accounts that exist count: who is paid for the first time takes more room for the creation than a
    table could save. Addresses that a table holds already cost nothing. Rent is not a cost, because it
    comes back when the table is closed, but the fee payer must have it.

    Args:
        frame: with the tables that are usable already.
        shares: as the chain's accounts want them paid.
        prices: what the chain takes.
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
    if saved <= 0 or locked > prices.spendable_lamports:
        return NO_TABLES
    return TablePlan(tables, spared, extensions, saved, locked)


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
