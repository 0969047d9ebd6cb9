"""What every request passes: which hosts and origins are answered, and the headers of every response.

A page of another site can make a browser send requests here, and by DNS rebinding even under its own name;
so a request is served only for a name of this server's, and a change only for a page of its own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deal_sdk.dashboard.problems import problem_response
from deal_sdk.errors import CrossOriginError

LOCAL_NAMES: Final = frozenset({"localhost"})
_OWN_SITE: Final = frozenset({"same-origin", "none"})
_HSTS: Final = "max-age=31536000"

CONTENT_SECURITY_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
SECURITY_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
}


class Guard:
    """An ASGI middleware that refuses foreign hosts and gives every response its headers."""

    def __init__(self, app: ASGIApp, *, allowed_hosts: Collection[str] = (), is_secure: bool = False) -> None:
        """Wrap an application.

        Args:
            app: what it wraps.
            allowed_hosts: names, beside localhost and plain addresses, under which the server is reached.
            is_secure: it is served over TLS.
        """
        self._app = app
        self._names = LOCAL_NAMES | {name.lower() for name in allowed_hosts}
        self._headers = dict(SECURITY_HEADERS)
        if is_secure:
            self._headers["strict-transport-security"] = _HSTS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        sender = self._with_headers(send) if scope["type"] == "http" else send
        if is_known_host(HTTPConnection(scope).headers.get("host", ""), self._names):
            await self._app(scope, receive, sender)
            return
        refusal = CrossOriginError("this server is not known by that name; see --allowed-host", field="host")
        if scope["type"] == "http":
            await problem_response(refusal)(scope, receive, sender)
        else:
            # Closing before the handshake is accepted answers it with 403.
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.code})

    def _with_headers(self, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        return send_with_headers


def is_known_host(header: str, names: Collection[str]) -> bool:
    """Return whether a Host header names this server.

    An address is always right: rebinding needs a name, which is what the browser then sends.
    """
    try:
        host = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return False
    return host in names or _is_address(host)


def check_origin(connection: HTTPConnection, *, is_required: bool = False) -> None:
    """Refuse a request that a page of another origin made.

    Args:
        connection: the request or the handshake of a WebSocket.
        is_required: refuse one without an Origin as well: browsers send it with every handshake.

    Raises:
        CrossOriginError: when the Origin is not the Host, or the browser says that the site is another.
    """
    origin = connection.headers.get("origin")
    if connection.headers.get("sec-fetch-site", "none") not in _OWN_SITE:
        raise CrossOriginError("another site's page asked for this", field="sec-fetch-site")
    if origin is None:
        if is_required:
            raise CrossOriginError("the handshake names no origin", field="origin")
        return
    if not _is_same(origin, connection.headers.get("host", "")):
        raise CrossOriginError("another origin's page asked for this", field="origin")


def _is_same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == host.lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
