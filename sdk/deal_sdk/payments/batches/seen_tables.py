"""Lookup tables as the chain showed them a moment ago.

Every chunk of a batch wants the same ones, eight kilobytes each, and what a usable table holds does not
change: it may only grow, and its authority is us.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.pubkey import Pubkey

from deal_sdk.chain import Rpc
from deal_sdk.chain.lookup_tables import LookupTable, decode_table
from deal_sdk.clock import Clock

KNOWN_SECONDS: Final = 10.0
"""A table that is closed elsewhere is listed as such at once; this bounds what only the chain knows."""


class SeenTables:
    """Reads usable tables, and remembers them for a moment."""

    def __init__(self, rpc: Rpc, clock: Clock) -> None:
        """Wire the parts; nothing is read yet."""
        self._rpc = rpc
        self._clock = clock
        self._seen: dict[Pubkey, AddressLookupTableAccount] = {}
        self._since_seconds = 0.0

    async def usable(self, wanted: Sequence[Pubkey]) -> list[AddressLookupTableAccount]:
        """Return those tables that transactions may use from now on, in their order.

        Raises:
            ChainError: when they could not be read.
        """
        now_seconds = self._clock.monotonic()
        if now_seconds - self._since_seconds > KNOWN_SECONDS:
            self._seen, self._since_seconds = {}, now_seconds
        seen = self._seen
        found = await read_tables(self._rpc, [address for address in wanted if address not in seen])
        seen |= {table.address: table.account for table in found.values() if table.is_usable}
        return [seen[address] for address in wanted if address in seen]


async def read_tables(rpc: Rpc, addresses: Sequence[Pubkey]) -> dict[Pubkey, LookupTable]:
    """Return the tables that are at addresses.

    Raises:
        ChainError: when they could not be read.
    """
    if not addresses:
        return {}
    tables = map(decode_table, await rpc.get_accounts(list(addresses)))
    return {table.address: table for table in tables if table is not None}
