"""A chain on a thread of its own, for programs that are not asynchronous: tests, scripts, notebooks."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson
from solders.account import Account
from solders.pubkey import Pubkey

from .config import LocalnetConfig
from .endpoint import Endpoint
from .errors import RpcError
from .localnet import Localnet
from .server import LocalnetServer
from .snapshots import Snapshot

T = TypeVar("T")


class LoopThread:
    """Runs one event loop on a thread of its own, until it is closed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="localnet", daemon=True)
        self._thread.start()
        self._loop = ready.result()

    def _run(self, ready: "Future[asyncio.AbstractEventLoop]") -> None:
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            loop.call_soon(ready.set_result, loop)
            loop.run_forever()

    def close(self) -> None:
        """Stop the loop and wait for the thread; closing twice does no harm."""
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and return its result.

        Raises:
            RuntimeError: when the thread does not run, or the caller is on it and would wait for itself.
        """
        if self._loop is None or threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("the localnet's thread does not run, or waits for itself")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class ThreadedLocalnet:
    """Runs a localnet and its server beside a synchronous program, for any of its threads.

    with ThreadedLocalnet() as chain:
        chain.advance_slots(3)
    """

    def __init__(self, config: LocalnetConfig | None = None, thread: LoopThread | None = None) -> None:
        """Keep the configuration; `start` brings the chain up.

        Args:
            config: as for `Localnet`.
            thread: a started thread to run on, which several chains may share; by default one of its own.
        """
        self._localnet = Localnet(config)
        self._server = LocalnetServer(self._localnet, rpc_port=0)
        self._thread = thread or LoopThread()
        self._owns_thread = thread is None

    def start(self) -> None:
        """Bring the chain and its server up, on a free pair of ports."""
        if self._owns_thread:
            self._thread.start()
        try:
            self._thread.run(self._start())
        except BaseException:
            self._close_thread()
            raise

    async def _start(self) -> None:
        await self._localnet.start()
        try:
            await self._server.start()
        except BaseException:
            await self._localnet.close()
            raise

    def close(self) -> None:
        """End the server and the chain."""
        try:
            self._thread.run(self._close())
        finally:
            self._close_thread()

    async def _close(self) -> None:
        await self._server.close()
        await self._localnet.close()

    def _close_thread(self) -> None:
        if self._owns_thread:
            self._thread.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def rpc_url(self) -> str:
        """Return the address for JSON-RPC."""
        return self._server.rpc_url

    @property
    def ws_url(self) -> str:
        """Return the address for PubSub."""
        return self._server.ws_url

    @property
    def genesis_hash(self) -> str:
        """Return what tells this chain from every other."""
        return str(self.call(lambda localnet: localnet.bank.genesis_hash))

    @property
    def slot(self) -> int:
        """Return the open slot."""
        return self.call(lambda localnet: localnet.bank.chain.open.slot)

    @property
    def endpoint(self) -> Endpoint:
        """Return the server's door to the chain, to set its lag and its faults."""
        return self._server.endpoint

    def call(self, work: Callable[[Localnet], T]) -> T:
        """Do something with the localnet on its thread, between two requests, and return the result."""

        async def run() -> T:
            return work(self._localnet)

        return self._thread.run(run())

    def request(self, method: str, *params: Any) -> Any:
        """Call an RPC method and return its result, past the lag and the faults of the server.

        Raises:
            RpcError: when the chain refuses the call.
        """
        body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
        _, _, reply = self._thread.run(self._localnet.new_endpoint().handle_http(body))
        answer = orjson.loads(reply)
        if "error" in answer:
            error = answer["error"]
            raise RpcError(error["code"], error["message"], error.get("data"))
        return answer["result"]

    def airdrop(self, address: Pubkey | str, lamports: int) -> str:
        """Give an address lamports in the open slot, close it, and return the transaction's signature."""
        signature: str = self.request("requestAirdrop", str(address), lamports)
        self.advance_slots()
        return signature

    def get_account(self, address: Pubkey) -> Account | None:
        """Return an account as it is now, in the open slot."""
        return self.call(lambda localnet: localnet.bank.accounts.current(address))

    def set_account(self, address: Pubkey, account: Account | None) -> None:
        """Overwrite an account; see `Localnet.set_account`."""
        self.call(lambda localnet: localnet.set_account(address, account))

    def advance_slots(self, count: int = 1) -> int:
        """Close slots by hand; see `Localnet.advance_slots`."""
        return self.call(lambda localnet: localnet.advance_slots(count))

    def warp_to_slot(self, slot: int) -> int:
        """Go on with a later slot; see `Localnet.warp_to_slot`."""
        return self.call(lambda localnet: localnet.warp_to_slot(slot))

    def warp_to_epoch(self, epoch: int) -> int:
        """Go on with a later epoch; see `Localnet.warp_to_epoch`."""
        return self.call(lambda localnet: localnet.warp_to_epoch(epoch))

    def advance_time(self, seconds: float) -> int:
        """Send the chain's clock ahead; see `Localnet.advance_time`."""
        return self.call(lambda localnet: localnet.advance_time(seconds))

    def pause(self) -> None:
        """Hold the slot clock; see `Localnet.pause`."""
        self.call(lambda localnet: localnet.pause())

    def resume(self) -> None:
        """Let the slot clock run again."""
        self.call(lambda localnet: localnet.resume())

    def rollback(self, to_slot: int) -> list[str]:
        """Drop the unfinalized slots above one; see `Localnet.rollback`."""
        return self.call(lambda localnet: localnet.rollback(to_slot))

    def land_again(self, signatures: Iterable[str] | None = None) -> list[str]:
        """Land rolled back transactions once more; see `Localnet.land_again`."""
        return self.call(lambda localnet: localnet.land_again(signatures))

    def snapshot(self) -> Snapshot:
        """Remember the chain as it is now; see `Localnet.snapshot`."""
        return self.call(lambda localnet: localnet.snapshot())

    def restore(self, snapshot: Snapshot) -> None:
        """Make the chain what it was; see `Localnet.restore`."""
        self.call(lambda localnet: localnet.restore(snapshot))

    def save_snapshot(self, path: Path) -> None:
        """Write the whole chain to a file; see `Localnet.save_snapshot`."""
        self.call(lambda localnet: localnet.save_snapshot(path))
