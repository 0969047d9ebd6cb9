"""The dashboard of a real `Deal` on the embedded chain, served by uvicorn, and whoever calls it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from deal_sdk import Deal
from deal_sdk.dashboard import Dashboard, DashboardServer, TlsFiles
from tests.integration.conftest import FAST_CHAIN

API = "/api/v1"


@dataclass
class Answer:
    """What the server answered."""

    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> str:
        """Return a refusal's code."""
        assert self.headers["content-type"] == "application/problem+json", self.body
        return str(self.body["code"])


class Visitor:
    """A browser's session without the browser: it keeps cookies and sends the CSRF token."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.http = http
        self.headers: dict[str, str] = {}

    async def call(self, method: str, path: str, json: Any = None, **options: Any) -> Answer:
        options.setdefault("headers", self.headers)
        if json is not None:
            options["json"] = json
        async with self.http.request(method, self.url + API + path, **options) as response:
            is_json = response.headers.get("content-type", "").endswith("json")
            body = await response.json(content_type=None) if is_json else await response.text()
            return Answer(response.status, body, response.headers)

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> Answer:
        return await self.call("POST", path, json, **options)

    async def sign_in(self, token: str) -> Answer:
        answer = await self.post("/session", {"token": token})
        if answer.status == 200:
            self.headers = {"x-csrf-token": answer.body["csrf_token"]}
        return answer

    def live(self, after: str | None = None, **options: Any) -> Any:
        url = f"{self.url}{API}/live" + (f"?after={after}" if after else "")
        options.setdefault("origin", self.url)
        return self.http.ws_connect(url, **options)


@dataclass
class Site:
    """A dashboard that is served."""

    deal: Deal
    dashboard: Dashboard
    url: str

    @asynccontextmanager
    async def visit(self, role: str | None = "operator") -> AsyncIterator[Visitor]:
        """Open a session of a role; without one, only open a connection."""
        jar, connector = aiohttp.CookieJar(unsafe=True), aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(cookie_jar=jar, connector=connector) as http:
            visitor = Visitor(self.url, http)
            if role is not None:
                name = f"{role}-{len(await self.dashboard.access.list())}"
                _, token = await self.dashboard.access.create(name, role)  # type: ignore[arg-type]
                assert (await visitor.sign_in(token)).status == 200
            yield visitor


@asynccontextmanager
async def serve(deal: Deal, *, tls: TlsFiles | None = None, **options: Any) -> AsyncIterator[Site]:
    """Serve a `Deal`'s dashboard on a free port."""
    dashboard = Dashboard(deal, is_secure=tls is not None, **options)
    async with DashboardServer(dashboard, port=0, tls=tls) as server:
        yield Site(deal, dashboard, server.url)


@pytest.fixture
async def deal() -> AsyncIterator[Deal]:
    """A `Deal` whose books nobody checks at the end: that is for the tests of payments."""
    async with Deal.open(**FAST_CHAIN) as opened:
        yield opened


@pytest.fixture
async def site(deal: Deal) -> AsyncIterator[Site]:
    async with serve(deal) as served:
        yield served
