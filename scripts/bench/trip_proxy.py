"""A proxy in front of Redis that counts round trips: requests that went out after an answer had come in."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Self

CHUNK_BYTES: Final = 1024 * 1024


class TripProxy:
    """Passes bytes on and counts."""

    def __init__(self, host: str, port: int) -> None:
        """Keep the server's address; entering listens."""
        self._target = (host, port)
        self._tasks: set[asyncio.Task[None]] = set()
        self._awaits_request = True
        self.trips = 0

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK_BYTES)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Return where it listens."""
        port = self._server.sockets[0].getsockname()[1]
        return f"redis://127.0.0.1:{port}/0"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        for source, sink, is_request in ((reader, server_writer, True), (server_reader, writer, False)):
            task = asyncio.create_task(self._pass_on(source, sink, is_request=is_request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_request: bool
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(CHUNK_BYTES):
                if is_request and self._awaits_request:
                    self.trips += 1
                self._awaits_request = not is_request
                sink.write(data)
                await sink.drain()
        sink.close()
