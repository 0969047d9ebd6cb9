"""The database's driver and the store's client as one simulated process holds them.

SQLite runs on the loop's own thread, a turn of the loop after it was asked; the file outlives the process
and its open transactions do not.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, Protocol
from unittest import mock

import aiosqlite
import fakeredis
import redis.exceptions

from deal_sdk.clock import Clock
from deal_sdk.limits import Store
from deal_sdk.limits.store import in_process_store
from deal_sdk.records import engines, sqlite_runner
from deal_sdk.records._errors import translated
from deal_sdk.records.sqlite_runner import SqliteRunner, Stage
from tests.simulation import faults
from tests.simulation.faults import Misfortune
from tests.simulation.life import Life, owner

_ENDINGS: Final = {"rollback", "close", "close_and_stop"}
"""What a dead process's tasks still ask for while they are buried; the operating system does it for them."""
_FAILING: Final = {"execute", "commit"}
SLOW_COMMIT_SECONDS: Final = 0.7

_Job = tuple["asyncio.Future[Any] | None", Callable[[], Any]]


class _AtOnce:
    """Stands in for the driver's queue and thread: a job runs when it is put in."""

    daemon = True

    def __init__(self, life: Life, misfortune: Misfortune, files: list[sqlite3.Connection]) -> None:
        self._life = life
        self._misfortune = misfortune
        self._files = files

    def start(self) -> None:
        pass

    def is_alive(self) -> bool:
        return False

    def put_nowait(self, job: _Job) -> None:
        future, function = job
        name = getattr(getattr(function, "func", function), "__name__", "connect")
        if name == "commit" and future is not None and self._misfortune.of(faults.SLOW_DISK):
            future.get_loop().call_later(SLOW_COMMIT_SECONDS, self._do, future, function, name)
        else:
            self._do(future, function, name)

    def _do(self, future: asyncio.Future[Any] | None, function: Callable[[], Any], name: str) -> None:
        if not self._life.passes(f"before sql {name}"):
            _answer(future, _end if name in _ENDINGS else _cancel)
            return
        try:
            if name in _FAILING and self._misfortune.of(faults.DISK_REFUSES):
                raise _disk_error()
            result = _without_syncing(function)()
            if name == "connector":
                self._files.append(result)
            if name == "commit" and self._misfortune.of(faults.COMMIT_LOST):
                raise _disk_error()
        except Exception as error:
            failure = error
            _answer(future, lambda waiting: waiting.set_exception(failure))
            return
        if self._life.passes(f"after sql {name}"):
            _answer(future, lambda waiting: waiting.set_result(result))
        else:
            _answer(future, _end if name in _ENDINGS else _cancel)


def _without_syncing(function: Callable[[], Any]) -> Callable[[], Any]:
    # A killed process loses nothing that the kernel has, so that a run need not wait for a disk.
    if isinstance(function, partial) and function.args[:1] == ("PRAGMA synchronous = FULL",):
        return partial(function.func, "PRAGMA synchronous = OFF")
    return function


def _end(waiting: asyncio.Future[Any]) -> None:
    waiting.set_result(None)


def _cancel(waiting: asyncio.Future[Any]) -> None:
    waiting.cancel()


def _disk_error() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


def _answer(future: asyncio.Future[Any] | None, give: Callable[[asyncio.Future[Any]], object]) -> None:
    if future is None:
        return

    def answer() -> None:
        if not future.done():
            give(future)

    future.get_loop().call_soon(answer)


class Files:
    """The open files of one simulated process."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.connections: list[aiosqlite.Connection] = []
        self.files: list[sqlite3.Connection] = []
        self.unsynced = False

    def stop_syncing(self) -> None:
        """Let commits wait for no disk: a killed process loses nothing that the kernel has."""
        if not self.unsynced:
            self.unsynced = True
            for file in self.files:
                # Files of an opening that failed are closed by now.
                with suppress(sqlite3.ProgrammingError):
                    file.execute("PRAGMA synchronous = OFF")

    def drop(self) -> None:
        """Let go of the files as the death of a process does: what was not committed is gone."""
        for connection in self.connections:
            connection._connection = None
            connection._running = False
        for file in self.files:
            # A statement that is still held keeps a closed file open, and with it the writer's lock.
            with suppress(sqlite3.ProgrammingError):
                file.rollback()
                file.close()
        self.connections.clear()
        self.files.clear()


class HasFiles(Protocol):
    """A simulated process, as far as its files go."""

    @property
    def files(self) -> Files: ...


class SqliteConnections:
    """Makes the connections of every process, each under its own life."""

    def __init__(self, misfortune: Misfortune) -> None:
        self._misfortune = misfortune
        self._connect = aiosqlite.connect
        self._open_file = sqlite_runner.open_file
        self._of_nobody = Files(Life())

    def connect(self, *arguments: Any, **options: Any) -> aiosqlite.Connection:
        files = self._files()
        connection = self._connect(*arguments, **options)
        at_once: Any = _AtOnce(files.life, self._misfortune, files.files)
        connection._tx = at_once
        connection._thread = at_once
        files.connections.append(connection)
        return connection

    def open_file(self, *arguments: Any) -> sqlite3.Connection:
        files = self._files()
        file = self._open_file(*arguments)
        files.files.append(file)
        files.unsynced = False
        return file

    def start(self, runner: SqliteRunner, unit: Callable[[Any], Any], stage: Stage) -> asyncio.Future[Any]:
        """Run a whole transaction at once; between its statements a death leaves nothing behind."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        files = self._files()
        if self._misfortune.of(faults.SLOW_DISK):
            future.get_loop().call_later(
                SLOW_COMMIT_SECONDS, self._transact, files, future, runner, unit, stage
            )
        else:
            self._transact(files, future, runner, unit, stage)
        return future

    def _files(self) -> Files:
        process: HasFiles | None = owner.get()  # type: ignore[assignment]
        return self._of_nobody if process is None else process.files

    def _transact(
        self,
        files: Files,
        future: asyncio.Future[Any],
        runner: SqliteRunner,
        unit: Callable[[Any], Any],
        stage: Stage,
    ) -> None:
        if not files.life.passes("before sql unit"):
            _answer(future, _cancel)
            return
        try:
            with translated():
                if self._misfortune.of(faults.DISK_REFUSES):
                    raise _disk_error()
                files.stop_syncing()
                result = runner._transact(unit, stage)
                if self._misfortune.of(faults.COMMIT_LOST):
                    raise _disk_error()
        except Exception as error:
            failure = error
            _answer(future, lambda waiting: waiting.set_exception(failure))
            return
        if files.life.passes("after sql unit"):
            _answer(future, lambda waiting: waiting.set_result(result))
        else:
            _answer(future, _cancel)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Give these connections to whoever opens SQLite within the block."""
        with (
            mock.patch.object(aiosqlite, "connect", self.connect),
            mock.patch.object(engines, "open_file", self.open_file),
            mock.patch.object(SqliteRunner, "start", lambda runner, *work: self.start(runner, *work)),
        ):
            yield


class _Pipeline:
    """Carries commands to the store, which may act although its reply never comes."""

    def __init__(self, pipeline: Any, life: Life, misfortune: Misfortune) -> None:
        self._pipeline = pipeline
        self._life = life
        self._misfortune = misfortune

    def execute_command(self, *words: Any) -> None:
        self._pipeline.execute_command(*words)

    async def execute(self, *, raise_on_error: bool) -> Sequence[Any]:
        self._life.check("before store")
        if self._misfortune.of(faults.STORE_DOWN):
            raise redis.exceptions.ConnectionError("down")
        replies: Sequence[Any] = await self._pipeline.execute(raise_on_error=raise_on_error)
        self._life.check("after store")
        if self._misfortune.of(faults.STORE_REPLY_LOST):
            raise redis.exceptions.ConnectionError("the reply is lost")
        return replies


class StoreClient:
    """A process's client of the store's server, which outlives it."""

    def __init__(self, server: fakeredis.FakeServer, life: Life, misfortune: Misfortune) -> None:
        self._client = fakeredis.FakeAsyncRedis(server=server)
        self._life = life
        self._misfortune = misfortune

    def pipeline(self, *, transaction: bool) -> _Pipeline:
        return _Pipeline(self._client.pipeline(transaction=transaction), self._life, self._misfortune)

    async def aclose(self) -> None:
        await self._client.aclose()


def open_store_client(client: StoreClient, clock: Clock) -> Store:
    """Make a store of a client, timed by the simulation's clock."""
    return in_process_store(client, name="simulated", test_clock=clock)
