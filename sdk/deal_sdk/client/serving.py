"""What is served for the length of a block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Served(ABC):
    """Starts with a block and is closed with it, however the block ends."""

    @abstractmethod
    async def start(self) -> None:
        """Begin to serve."""

    @abstractmethod
    async def close(self) -> None:
        """Stop serving; safe to call twice."""

    async def __aenter__(self) -> Self:
        """Serve for the length of a block."""
        await self.start()
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop serving."""
        await self.close()
