"""The peer solana-py: AsyncClient sends TransferChecked and confirms it, without limits or records.

It shares one blockhash among all callers for some seconds, skips the preflight and never records anything;
an application that did the least it could would do it so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from solana.exceptions import SolanaRpcException
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed
from solana.rpc.core import RPCException, UnconfirmedTxError
from solana.rpc.types import TxOpts
from solders.hash import Hash

from deal_sdk import collect_rarely
from scripts.bench.contestants import Stopwatch, answer_commands
from scripts.bench.peers.transfers import Transfers

BLOCKHASH_SECONDS: Final = 3.0
REQUEST_SECONDS: Final = 30.0
CONFIRM_SECONDS: Final = 30.0
FIRST_AMOUNT: Final = 1_000_000_000
OPTIONS: Final = TxOpts(skip_preflight=True, skip_confirmation=True, preflight_commitment=Confirmed)


class SolanaPy:
    """The peer's process."""

    async def prepare(
        self, rpc_url: str, world: Mapping[str, Any], slot_seconds: float, **_: Any
    ) -> dict[str, Any]:
        """Open the client."""
        self._client = AsyncClient(rpc_url, Confirmed, timeout=REQUEST_SECONDS)
        self._transfers = Transfers(world, first_amount=FIRST_AMOUNT)
        self._poll_seconds = slot_seconds
        self._blockhash: tuple[Hash, float] | None = None
        self._refresh = asyncio.Lock()
        collect_rarely()
        return {}

    async def run(self, payments: int, callers: int) -> dict[str, Any]:
        """Pay with some callers at once; each sends, and confirms before it sends again."""
        left = iter(range(payments))
        confirmed_at: list[float] = []
        watch = Stopwatch()

        async def caller() -> None:
            for _ in left:
                if await self._pay():
                    confirmed_at.append(watch.seconds)

        await asyncio.gather(*(caller() for _ in range(callers)))
        # One that never landed costs the peer its payment, and not the time of waiting for it.
        return {
            "payments": len(confirmed_at),
            "seconds": max(confirmed_at),
            "cpu_seconds": watch.cpu_seconds,
            "lost": payments - len(confirmed_at),
        }

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()

    async def _pay(self) -> bool:
        transaction = self._transfers.sign(await self._latest_blockhash())
        try:
            sent = await self._client.send_raw_transaction(bytes(transaction), OPTIONS)
            async with asyncio.timeout(CONFIRM_SECONDS):
                found = await self._client.confirm_transaction(sent.value, Confirmed, self._poll_seconds)
        except (RPCException, SolanaRpcException, UnconfirmedTxError, TimeoutError):
            return False
        status = found.value[0]
        return status is not None and status.err is None

    async def _latest_blockhash(self) -> Hash:
        async with self._refresh:
            if self._blockhash is None or time.monotonic() - self._blockhash[1] > BLOCKHASH_SECONDS:
                latest = await self._client.get_latest_blockhash(Confirmed)
                self._blockhash = (latest.value.blockhash, time.monotonic())
            return self._blockhash[0]


def main() -> None:
    """Answer the benchmark until it ends."""
    peer = SolanaPy()
    asyncio.run(answer_commands({"prepare": peer.prepare, "run": peer.run}, peer.close))


if __name__ == "__main__":
    main()
