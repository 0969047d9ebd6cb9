"""The page's own files, read once and sent compressed, with a tag by which browsers keep them."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

INDEX: Final = "index.html"
LIBRARY: Final = frozenset({"uplot.js", "uplot.css"})
_KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# The files change only with the package; asking again each time is what keeps a page of one version.
_CACHE: Final = "no-cache"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file of the page."""

    name: str
    kind: str
    body: bytes
    compressed: bytes
    tag: str


def read_files() -> dict[str, StaticFile]:
    """Read every file of the page."""
    folder = files("deal_sdk.dashboard") / "static"
    found = {}
    for item in folder.iterdir():
        suffix = "." + item.name.rpartition(".")[2]
        if suffix in _KINDS:
            found[item.name] = _made(item.name, _KINDS[suffix], item.read_bytes())
    return found


def routes_of(found: dict[str, StaticFile]) -> list[Route]:
    """Return a route for each file, and `/` for the page."""
    routes = [_route(f"/static/{name}", one) for name, one in found.items() if name != INDEX]
    return [_route("/", found[INDEX]), *routes]


def _made(name: str, kind: str, body: bytes) -> StaticFile:
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return StaticFile(name, kind, body, gzip.compress(body, compresslevel=9, mtime=0), tag)


def _route(path: str, one: StaticFile) -> Route:
    async def serve(request: Request) -> Response:
        headers = {"etag": one.tag, "cache-control": _CACHE, "vary": "accept-encoding"}
        if request.headers.get("if-none-match") == one.tag:
            return Response(status_code=304, headers=headers)
        body = one.body
        if "gzip" in request.headers.get("accept-encoding", ""):
            body, headers["content-encoding"] = one.compressed, "gzip"
        return Response(body, headers=headers, media_type=one.kind)

    return Route(path, serve, methods=["GET"])
