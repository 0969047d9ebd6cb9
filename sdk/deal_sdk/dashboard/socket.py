"""The WebSocket of the live stream: who may open it, what a page may say, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from deal_sdk.dashboard.guard import check_origin
from deal_sdk.dashboard.live import SLOW_READER, EarlierEvent, Reader, parse_position
from deal_sdk.dashboard.problems import problem_response
from deal_sdk.dashboard.service import Service
from deal_sdk.errors import NotSignedInError, TokenError

logger = logging.getLogger(__name__)

MAX_FRAME_CHARACTERS: Final = 1_024
MAX_EARLIER_EVENTS: Final = 500
SESSION_CHECK_SECONDS: Final = 30.0
SEND_TIMEOUT_SECONDS: Final = 10.0
_PONG: Final = '{"type":"pong"}'
_RESTART: Final = 1012
_TRY_LATER: Final = 1013
_SESSION_OVER: Final = 4401


class ClosedForError(Exception):
    """The connection is to be closed, with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        """Keep what the page is told."""
        super().__init__(reason)
        self.code = code
        self.reason = reason


class LiveSocket:
    """Serves one connection after another; all share the hub."""

    def __init__(self, service: Service) -> None:
        """Keep the parts."""
        self._service = service

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one connection until it ends."""
        try:
            cookie = await self._admit(websocket)
        except TokenError as error:
            await websocket.send_denial_response(problem_response(error))
            return
        await websocket.accept()
        after = websocket.query_params.get("after")
        earlier = await self._before_the_start(after)
        if self._service.hub.is_full:
            await websocket.close(_TRY_LATER, "too_many_connections")
            return
        reader = self._service.hub.join(after, earlier)
        try:
            await self._serve(websocket, reader, cookie)
        finally:
            self._service.hub.leave(reader)

    async def _admit(self, websocket: WebSocket) -> str:
        check_origin(websocket, is_required=True)
        cookie = websocket.cookies.get(self._service.cookie_name)
        if cookie is None:
            raise NotSignedInError("sign in: there is no session")
        await self._service.access.by_cookie(cookie)
        return cookie

    async def _before_the_start(self, after: str | None) -> Sequence[EarlierEvent]:
        """Return what a page of another start of the server missed of its wallets."""
        position, present = parse_position(after or ""), self._service.hub.position
        if position is None or position.epoch == present.epoch:
            return ()
        try:
            found = await self._service.deal.monitor.events_after(position.watch_id, limit=MAX_EARLIER_EVENTS)
        except TokenError as error:
            logger.warning("what a page missed cannot be read now: %s", error.message)
            return ()
        return [EarlierEvent(one.id, one.type, one.data, one.timestamp) for one in found]

    async def _serve(self, websocket: WebSocket, reader: Reader, cookie: str) -> None:
        tasks = [
            asyncio.create_task(self._send(websocket, reader)),
            asyncio.create_task(self._receive(websocket, reader)),
            asyncio.create_task(self._watch_session(cookie)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await _close(websocket, _reason_of(done.pop().exception()))

    async def _send(self, websocket: WebSocket, reader: Reader) -> None:
        while True:
            frame = await reader.next()
            if frame is None:
                raise ClosedForError(_RESTART, "server_stops")
            try:
                async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                    await websocket.send_text(frame)
            except TimeoutError:
                raise ClosedForError(_TRY_LATER, SLOW_READER) from None
            if reader.is_behind and not reader.waiting:
                raise ClosedForError(_TRY_LATER, SLOW_READER)

    async def _receive(self, websocket: WebSocket, reader: Reader) -> None:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))
            check_frame(message)
            reader.offer(_PONG)

    async def _watch_session(self, cookie: str) -> None:
        """Return by an error once the session is over, so that a revoked token sees nothing more."""
        while True:
            await self._service.deal.clock.sleep(SESSION_CHECK_SECONDS)
            try:
                await self._service.access.by_cookie(cookie)
            except NotSignedInError as error:
                raise ClosedForError(_SESSION_OVER, error.code) from None
            except TokenError as error:
                logger.warning("a session cannot be checked now: %s", error.message)


def check_frame(message: Any) -> None:
    """Refuse everything but a ping, which is all that a page has to say.

    Raises:
        ClosedForError: with the code of RFC 6455 and a reason for programs.
    """
    text = message.get("text")
    if text is None:
        raise ClosedForError(1003, "binary_frame")
    if len(text) > MAX_FRAME_CHARACTERS:
        raise ClosedForError(1009, "frame_too_large")
    try:
        document = orjson.loads(text)
    except ValueError:
        raise ClosedForError(1007, "malformed_frame") from None
    if document != {"type": "ping"}:
        raise ClosedForError(1008, "unknown_frame")


def _reason_of(error: BaseException | None) -> ClosedForError | None:
    """Return how to close; None where the page is gone."""
    if isinstance(error, ClosedForError):
        return error
    if not isinstance(error, WebSocketDisconnect | RuntimeError | OSError):
        logger.error("a live connection broke", exc_info=error)
        return ClosedForError(1011, "internal")
    return None


async def _close(websocket: WebSocket, closing: ClosedForError | None) -> None:
    if closing is None or websocket.client_state is not WebSocketState.CONNECTED:
        return
    try:
        async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
            await websocket.close(closing.code, closing.reason)
    except (TimeoutError, RuntimeError, WebSocketDisconnect):
        logger.debug("a page was gone before it was told %s", closing.reason)
