"""The peer that does nothing but send: pre-signed transactions in JSON-RPC batches, until they have landed.

It is the ceiling for any client on this machine: signing is done before the time begins, nothing is
recorded, and nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
import orjson
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction

from deal_sdk import collect_rarely
from scripts.bench.contestants import Handler, Stopwatch, answer_commands
from scripts.bench.peers.transfers import Transfers

BATCH_ITEMS: Final = 100
MAX_BODY_BYTES: Final = 50 * 1024
STATUSES_PER_CALL: Final = 256
CONNECTIONS: Final = 4
FIRST_AMOUNT: Final = 2_000_000_000
ACCOUNTS_PER_TRANSACTION: Final = 20
ACCOUNT_LAMPORTS: Final = 890_880
"""What an account without data must hold."""
FEE_LAMPORTS: Final = 5_000
STALLED_SECONDS: Final = 5.0
TIGHT_POLL_SECONDS: Final = 0.002
LONE_SECONDS: Final = 30.0
HEADERS: Final = {"Content-Type": "application/json"}


class BareBatches:
    """The peer's process."""

    async def prepare(
        self, rpc_url: str, world: Mapping[str, Any], slot_seconds: float, **_: Any
    ) -> dict[str, Any]:
        """Open the connections."""
        self._url = rpc_url
        self._poll_seconds = slot_seconds / 2
        self._transfers = Transfers(world, first_amount=FIRST_AMOUNT)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS))
        self._ids = itertools.count(1)
        collect_rarely()
        return {}

    async def run(self, payments: int) -> dict[str, Any]:
        """Sign everything, then send it in batches and look until all of it has landed."""
        blockhash = await self._blockhash()
        signed = [self._transfers.sign(blockhash) for _ in range(payments)]
        bodies = self._bodies([bytes(transaction) for transaction in signed])
        waiting = {str(transaction.signatures[0]) for transaction in signed}
        watch = Stopwatch()
        pending = iter(bodies)

        async def sender() -> None:
            for body in pending:
                await self._post(body)

        await asyncio.gather(*(sender() for _ in range(CONNECTIONS)))
        accepted_seconds = watch.seconds
        landed_seconds = await self._until_landed(waiting, watch)
        return {
            "payments": payments - len(waiting),
            "seconds": landed_seconds,
            "cpu_seconds": watch.cpu_seconds,
            "accepted_seconds": accepted_seconds,
            "lost": len(waiting),
        }

    async def open_accounts(self, count: int) -> dict[str, Any]:
        """Give so many addresses that nobody has used the lamports to exist, out of the faucet's."""
        payer = Keypair()
        transactions = -(-count // ACCOUNTS_PER_TRANSACTION)
        lamports = count * ACCOUNT_LAMPORTS + transactions * FEE_LAMPORTS + ACCOUNT_LAMPORTS
        funded: str = await self._call("requestAirdrop", [str(payer.pubkey()), lamports])
        await self._until_landed({funded}, Stopwatch())
        blockhash = await self._blockhash()
        opened = [
            self._opening(payer, min(ACCOUNTS_PER_TRANSACTION, count - done), blockhash)
            for done in range(0, count, ACCOUNTS_PER_TRANSACTION)
        ]
        for body in self._bodies([bytes(transaction) for transaction in opened]):
            await self._post(body)
        waiting = {str(transaction.signatures[0]) for transaction in opened}
        await self._until_landed(waiting, Stopwatch())
        if waiting:
            raise RuntimeError(f"{len(waiting)} transactions that open accounts did not land")
        return {}

    def _opening(self, payer: Keypair, count: int, blockhash: Hash) -> Transaction:
        steps = [
            transfer(
                TransferParams(
                    from_pubkey=payer.pubkey(), to_pubkey=Pubkey.new_unique(), lamports=ACCOUNT_LAMPORTS
                )
            )
            for _ in range(count)
        ]
        return Transaction([payer], Message.new_with_blockhash(steps, payer.pubkey(), blockhash), blockhash)

    async def lone(self) -> dict[str, Any]:
        """Send one transaction and ask for its status without a pause until it is confirmed."""
        transaction = bytes(self._transfers.sign(await self._blockhash()))
        body = self._bodies([transaction])[0]
        began = time.perf_counter()
        reply = await self._post(body)
        signature = reply[0]["result"]
        deadline = began + LONE_SECONDS
        while time.perf_counter() < deadline:
            status = (await self._call("getSignatureStatuses", [[signature]]))["value"][0]
            if status is not None and status["confirmationStatus"] in ("confirmed", "finalized"):
                return {"seconds": time.perf_counter() - began}
            await asyncio.sleep(TIGHT_POLL_SECONDS)
        raise TimeoutError(f"a lone transaction was not confirmed within {LONE_SECONDS:.0f} s")

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _until_landed(self, waiting: set[str], watch: Stopwatch) -> float:
        """Take out of `waiting` what has landed, until nothing new lands; return when the last one did."""
        last_seconds = watch.seconds
        while waiting and watch.seconds - last_seconds < STALLED_SECONDS:
            asked = list(waiting)
            found = await self._landed(asked)
            if found:
                waiting.difference_update(found)
                last_seconds = watch.seconds
            if waiting:
                await asyncio.sleep(self._poll_seconds)
        return last_seconds

    async def _landed(self, signatures: Sequence[str]) -> set[str]:
        landed = set()
        for start in range(0, len(signatures), STATUSES_PER_CALL):
            part = signatures[start : start + STATUSES_PER_CALL]
            statuses = (await self._call("getSignatureStatuses", [part]))["value"]
            landed |= {
                signature
                for signature, status in zip(part, statuses, strict=True)
                if status is not None and status["err"] is None
            }
        return landed

    def _bodies(self, transactions: Sequence[bytes]) -> list[bytes]:
        """Cut the sends into batches by count and by bytes."""
        bodies: list[bytes] = []
        items: list[bytes] = []
        size = 2
        for transaction in transactions:
            item = self._send(transaction)
            if items and (len(items) == BATCH_ITEMS or size + len(item) + 1 > MAX_BODY_BYTES):
                bodies.append(b"[" + b",".join(items) + b"]")
                items, size = [], 2
            items.append(item)
            size += len(item) + 1
        bodies.append(b"[" + b",".join(items) + b"]")
        return bodies

    def _send(self, transaction: bytes) -> bytes:
        options = {"encoding": "base64", "skipPreflight": True}
        return self._request("sendTransaction", [base64.b64encode(transaction).decode(), options])

    def _request(self, method: str, params: list[Any]) -> bytes:
        return orjson.dumps({"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params})

    async def _call(self, method: str, params: list[Any]) -> Any:
        return (await self._post(self._request(method, params)))["result"]

    async def _post(self, body: bytes) -> Any:
        async with self._session.post(self._url, data=body, headers=HEADERS) as reply:
            reply.raise_for_status()
            return orjson.loads(await reply.read())

    async def _blockhash(self) -> Hash:
        latest = await self._call("getLatestBlockhash", [{"commitment": "confirmed"}])
        return Hash.from_string(latest["value"]["blockhash"])


def main() -> None:
    """Answer the benchmark until it ends."""
    peer = BareBatches()
    handlers: dict[str, Handler] = {"prepare": peer.prepare, "run": peer.run, "lone": peer.lone}
    handlers["open_accounts"] = peer.open_accounts
    asyncio.run(answer_commands(handlers, peer.close))


if __name__ == "__main__":
    main()
