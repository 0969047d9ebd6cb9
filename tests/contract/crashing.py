"""A database whose next write dies before its commit, or after it with nobody to hear of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from deal_sdk.errors import DatabaseUnavailableError
from deal_sdk.records import Database

T = TypeVar("T")


class Crashing:
    """Stands in for a database, and lets one of its writes die where the test says."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.dies: str | None = None
        """ "before" the commit or "after" it; None for neither."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def run(self, unit: Callable[[Any], Awaitable[T]]) -> T:
        dies, self.dies = self.dies, None

        async def cut_short(connection: Any) -> T:
            result = await unit(connection)
            if dies == "before":
                raise DatabaseUnavailableError("died before the commit")
            return result

        result = await self._database.run(cut_short)
        if dies == "after":
            raise DatabaseUnavailableError("died after the commit")
        return result
