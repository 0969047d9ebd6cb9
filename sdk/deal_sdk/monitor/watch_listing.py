"""What a followed address did since its cursor, whatever the endpoint's gaps.

A cursor is the transaction up to which everything was listed. Endpoints list the newest first, so a listing
walks back to the cursor, page by page, and only a walk that arrived moves it. A walk that is too long for
one poll is carried on by the next. Only finalized transactions are listed: no fork can take them back, and
none is listed after one that landed later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from solders.pubkey import Pubkey

from deal_sdk.chain import AddressSignature, Rpc

SIGNATURES_PER_PAGE: Final = 1_000
PAGES_PER_POLL: Final = 20


@dataclass(frozen=True, slots=True)
class WatchCursor:
    """How far an address was listed for a wallet."""

    wallet: str
    followed: str
    signature: str | None = None
    slot: int = 0
    walk_before: str | None = None
    """Where a walk that was not finished goes on."""
    walk_signature: str | None = None
    """Where the cursor will be once that walk is finished."""
    walk_slot: int | None = None

    @property
    def is_walking(self) -> bool:
        """Return whether a walk is unfinished: older transactions are still to be found."""
        return self.walk_before is not None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a poll of one address found, the oldest first, and the cursor after it."""

    cursor: WatchCursor
    entries: tuple[AddressSignature, ...]
    calls: int
    is_complete: bool
    """Whether it reached the cursor, at an endpoint that is not behind it."""


class AddressListing:
    """Lists what followed addresses did."""

    def __init__(
        self,
        rpc: Rpc,
        *,
        token_account_of: Callable[[Pubkey], Pubkey],
        page_size: int = SIGNATURES_PER_PAGE,
        pages_per_poll: int = PAGES_PER_POLL,
    ) -> None:
        """Keep the endpoint; nothing is read yet.

        Args:
            rpc: the chain.
            token_account_of: derives a wallet's token account. A transfer to it does not name the wallet,
                so that it is followed beside it.
            page_size: signatures in one call, 1 to 1,000.
            pages_per_poll: calls in one poll of an address.
        """
        self._rpc = rpc
        self._token_account_of = token_account_of
        self._page_size = page_size
        self._pages_per_poll = pages_per_poll

    async def start(self, wallet: str) -> tuple[WatchCursor, ...]:
        """Return cursors at the newest transactions of a wallet and of its token account.

        Raises:
            ChainError: when they cannot be read.
        """
        owner = Pubkey.from_string(wallet)
        followed = (owner, self._token_account_of(owner))
        pages = await asyncio.gather(*(self._page(address, limit=1) for address in followed))
        cursors = []
        for address, page in zip(followed, pages, strict=True):
            cursor = WatchCursor(wallet, str(address))
            cursors.append(
                replace(cursor, signature=page[0].signature, slot=page[0].slot) if page else cursor
            )
        return tuple(cursors)

    async def list_new(self, cursor: WatchCursor) -> Listing:
        """Return what an address did since a cursor.

        Raises:
            ChainError: when the endpoint fails; the cursor stays as it is.
        """
        address = Pubkey.from_string(cursor.followed)
        before, found, calls = cursor.walk_before, list[AddressSignature](), 0
        has_arrived = is_behind = False
        while not has_arrived and calls < self._pages_per_poll:
            page = await self._page(address, before=before, until=cursor.signature, limit=self._page_size)
            calls += 1
            # An endpoint that is behind the cursor does not know it and lists what is older as well.
            new = [entry for entry in page if entry.slot >= cursor.slot]
            is_behind = len(new) < len(page)
            found += [entry for entry in new if entry.slot > cursor.slot] if is_behind else new
            has_arrived = is_behind or len(page) < self._page_size
            before = page[-1].signature if page else before
        moved = self._moved(cursor, found, None if has_arrived else before)
        return Listing(moved, tuple(reversed(found)), calls, has_arrived and not is_behind)

    @staticmethod
    def _moved(
        cursor: WatchCursor, found: Sequence[AddressSignature], walk_before: str | None
    ) -> WatchCursor:
        if cursor.is_walking:
            # A later poll of the same walk: where it began says where the cursor will be.
            signature, slot = cursor.walk_signature, cursor.walk_slot
        else:
            signature, slot = (found[0].signature, found[0].slot) if found else (None, None)
        if walk_before is not None:
            return replace(cursor, walk_before=walk_before, walk_signature=signature, walk_slot=slot)
        done = replace(cursor, walk_before=None, walk_signature=None, walk_slot=None)
        return done if signature is None or slot is None else replace(done, signature=signature, slot=slot)

    async def _page(
        self, address: Pubkey, *, before: str | None = None, until: str | None = None, limit: int
    ) -> list[AddressSignature]:
        return await self._rpc.get_signatures_for_address(address, before=before, until=until, limit=limit)
