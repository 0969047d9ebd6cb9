"""A name that stands for one server and then for another, and a sentinel that says what the test wants."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.servers.processes import LOCAL_ADDRESS

_CHUNK_BYTES = 65_536


class LocalService(ABC):
    """A port of this machine that is served from its opening to its end."""

    def __init__(self) -> None:
        self.port = 0
        self._connections: set[asyncio.Task[None]] = set()
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOCAL_ADDRESS, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        for writer in self.writers:
            # A task that was cancelled before its first step has closed nothing.
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        await self._server.wait_closed()

    @abstractmethod
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve_and_close(reader, writer))
        self.writers.append(writer)
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve_and_close(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self.serve(reader, writer)
        finally:
            writer.close()


class SwitchedPort(LocalService):
    """Passes each new connection on to the server that is the target then."""

    def __init__(self, target: int) -> None:
        super().__init__()
        self.target = target

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on both ways until either side ends it."""
        behind, to_behind = await asyncio.open_connection(LOCAL_ADDRESS, self.target)
        self.writers.append(to_behind)
        ways = [
            asyncio.create_task(_pass_on(reader, to_behind)),
            asyncio.create_task(_pass_on(behind, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # At once: this task may be cancelled while it waits for the rest.
            to_behind.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


class FakeSentinel(LocalService):
    """Names a master; to all else it says yes."""

    def __init__(self, master_port: int) -> None:
        super().__init__()
        self.master_port = master_port

    @property
    def url(self) -> str:
        """Return the URL that `open_store` takes."""
        return f"redis+sentinel://{LOCAL_ADDRESS}:{self.port}/deal"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer command after command."""
        while True:
            words = await _command(reader)
            if words[0] == b"SENTINEL":
                host, port = LOCAL_ADDRESS.encode(), b"%d" % self.master_port
                writer.write(b"*2\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(host), host, len(port), port))
            else:
                writer.write(b"+OK\r\n")


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()


async def _command(reader: asyncio.StreamReader) -> list[bytes]:
    count = int((await reader.readuntil(b"\r\n"))[1:])
    words = []
    for _ in range(count):
        length = int((await reader.readuntil(b"\r\n"))[1:])
        words.append((await reader.readexactly(length + 2))[:-2])
    return words
