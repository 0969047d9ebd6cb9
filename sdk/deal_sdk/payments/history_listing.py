"""What is new of a token account: its finalized transactions after the last that is recorded."""

from __future__ import annotations

from typing import Final

from solders.pubkey import Pubkey

from deal_sdk.chain import AddressSignature, Rpc
from deal_sdk.records import TrackedAccount

SIGNATURES_PER_PAGE: Final = 1_000
PEEK_MARGIN: Final = 2
"""The cursor itself, and one transaction of others."""


class SignatureListing:
    """Lists an account's transactions down to its cursor, with as little work for the endpoint as it can."""

    def __init__(self, rpc: Rpc, *, max_backfill_signatures: int) -> None:
        """Keep the endpoint; nothing is read yet.

        Args:
            rpc: the endpoint.
            max_backfill_signatures: how far back the first listing of an account reaches.
        """
        self._rpc = rpc
        self._max_backfill_signatures = max_backfill_signatures

    async def list_new(self, account: TrackedAccount, expected_count: int) -> list[AddressSignature]:
        """List an account's transactions after its cursor, oldest first.

        Args:
            account: as it is recorded.
            expected_count: how many are known to be new; more are found all the same.

        Raises:
            ChainError: when the endpoint fails.
        """
        found = None
        if account.history_signature is not None:
            found = await self._peek(account, min(expected_count + PEEK_MARGIN, SIGNATURES_PER_PAGE))
        if found is None:
            found = await self._page_back(account)
        found.reverse()
        return found

    async def _peek(self, account: TrackedAccount, limit: int) -> list[AddressSignature] | None:
        """List the newest down to the cursor, or return None where there are more of them.

        Nothing says `until` here: to find that signature's place, Agave reads the whole block that it is
        in again for each call, milliseconds of its one RPC thread (get_confirmed_signatures_for_address2
        in ledger/src/blockstore.rs).
        """
        page = await self._rpc.get_signatures_for_address(Pubkey.from_string(account.address), limit=limit)
        found: list[AddressSignature] = []
        for entry in page:
            # An endpoint that is behind the cursor does not know it and lists everything before it too.
            if entry.signature == account.history_signature or entry.slot < account.history_slot:
                return found
            found.append(entry)
        return found if len(page) < limit else None

    async def _page_back(self, account: TrackedAccount) -> list[AddressSignature]:
        """List everything after the cursor, newest first."""
        found: list[AddressSignature] = []
        before: str | None = None
        while True:
            page = await self._rpc.get_signatures_for_address(
                Pubkey.from_string(account.address),
                before=before,
                until=account.history_signature,
                limit=SIGNATURES_PER_PAGE,
            )
            found.extend(entry for entry in page if entry.slot >= account.history_slot)
            if len(page) < SIGNATURES_PER_PAGE or page[-1].slot < account.history_slot:
                return found
            if account.history_signature is None and len(found) >= self._max_backfill_signatures:
                return found
            before = page[-1].signature
