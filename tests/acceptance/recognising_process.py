"""Processes that recognise payments of invoices; each stands still inside a commit until it is killed.

Called as: recognising_process.py DATABASE_URL CHAIN MINT COMMIT... CHAIN is a pickled `ScriptedRpc`. For each
line on stdin a child is forked for the next COMMIT, which says by its id when it stands there. It is a fork
so that the package is imported once.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from deal_sdk.clock import SystemClock
from deal_sdk.records import Database
from tests.contract.invoice_world import Process
from tests.contract.scripted_rpc import ScriptedRpc

Unit = Callable[[Any], Awaitable[Any]]


class Halting:
    """A database on which all that one commit writes is written, and the commit never comes."""

    def __init__(self, database: Database, commit: int) -> None:
        """Stand still inside the commit of this number, from 1."""
        self._database, self._left = database, commit

    def __getattr__(self, name: str) -> Any:
        """Do all else as the database does."""
        return getattr(self._database, name)

    async def run(self, unit: Unit) -> Any:
        """Run a unit in a transaction of its own."""
        self._left -= 1
        is_last = self._left == 0

        async def halted(connection: Any) -> Any:
            result = await unit(connection)
            if is_last:
                print(os.getpid(), flush=True)
                await asyncio.Event().wait()
            return result

        return await self._database.run(halted)

    async def write(self, unit: Unit) -> Any:
        """Run a unit in a transaction of its own, so that commits can be counted."""
        return await self.run(unit)


async def main(url: str, rpc: ScriptedRpc, mint: str, commit: int) -> None:
    """Look for payments, and grant them."""
    database = await Database.open(url, clock=SystemClock(), migrate=False)
    process = Process(Halting(database, commit), rpc, database.clock, mint)
    await process.job.run_once()


_, url, chain, mint, *commits = sys.argv
for commit in commits:
    sys.stdin.readline()
    if (child := os.fork()) == 0:
        asyncio.run(main(url, pickle.loads(Path(chain).read_bytes()), mint, int(commit)))
        break
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else "ended", flush=True)
