"""What `Deal.open()` returns: something to enter as a context, or to await in a notebook."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deal_sdk.client.deal import Deal


class DealOpening:
    """A `Deal` about to be opened: enter it as a context, or await it."""

    def __init__(self, deal: Deal, create_mint: bool | None) -> None:
        """Keep what to open."""
        self._deal = deal
        self._create_mint = create_mint

    def __await__(self) -> Generator[Any, None, Deal]:
        """Open, for notebooks; the caller closes."""
        return self._opened().__await__()

    async def __aenter__(self) -> Deal:
        """Open for the length of a block."""
        return await self._opened()

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close what was opened."""
        await self._deal.close()

    async def _opened(self) -> Deal:
        await self._deal._open(self._create_mint)
        return self._deal
