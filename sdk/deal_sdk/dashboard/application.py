"""The dashboard as an ASGI application around an open `Deal`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from deal_sdk.client import Deal
from deal_sdk.client.monitoring import JSON_HEADERS, METRICS_HEADERS
from deal_sdk.client.serving import Served
from deal_sdk.dashboard import (
    overview_routes,
    payment_routes,
    series_routes,
    session_routes,
    wallet_routes,
)
from deal_sdk.dashboard.access import DEFAULT_SESSION_SECONDS, DashboardAccess
from deal_sdk.dashboard.endpoints import API_PREFIX, JSON_TYPE, Endpoint, principal_of
from deal_sdk.dashboard.feeds import Feeds
from deal_sdk.dashboard.guard import Guard
from deal_sdk.dashboard.live import LiveHub
from deal_sdk.dashboard.openapi import openapi_document
from deal_sdk.dashboard.page import read_files, routes_of
from deal_sdk.dashboard.problems import PROBLEM_TYPE, problem_response
from deal_sdk.dashboard.service import Service
from deal_sdk.dashboard.socket import LiveSocket
from deal_sdk.errors import TokenError

LIVE_PATH: Final = f"{API_PREFIX}/live"
OPENAPI_PATH: Final = f"{API_PREFIX}/openapi.json"
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *session_routes.ENDPOINTS,
    *wallet_routes.ENDPOINTS,
    *overview_routes.ENDPOINTS,
    *payment_routes.ENDPOINTS,
    *series_routes.ENDPOINTS,
)


class Dashboard(Served):
    """The page, its API and its live stream; `application` is what a server serves."""

    def __init__(
        self,
        deal: Deal,
        *,
        allowed_hosts: Collection[str] = (),
        is_secure: bool = False,
        session_seconds: float = DEFAULT_SESSION_SECONDS,
        hub: LiveHub | None = None,
    ) -> None:
        """Put the application together; `start` follows what it tells of.

        Args:
            deal: open, and not closed before this is.
            allowed_hosts: names under which it is reached, beside localhost and plain addresses.
            is_secure: it is served over TLS.
            session_seconds: how long a session lasts.
            hub: another than the default one, with other bounds.
        """
        self.deal = deal
        self.access = DashboardAccess(deal.database, session_seconds=session_seconds)
        self.hub = hub or LiveHub(deal.clock)
        self.feeds = Feeds(deal, self.hub)
        self._service = Service(deal, self.access, self.hub, self.feeds, is_secure=is_secure)
        self.application: ASGIApp = Guard(self._routed(), allowed_hosts=allowed_hosts, is_secure=is_secure)

    async def start(self) -> None:
        """Follow events, wallets and payments from now on.

        Raises:
            DatabaseError: when the wallets' record cannot be read.
        """
        await self.feeds.start()

    async def close(self) -> None:
        """Stop following."""
        await self.feeds.close()

    def _routed(self) -> Starlette:
        service = self._service
        document = orjson.dumps(openapi_document(ENDPOINTS, cookie_name=service.cookie_name))

        async def show_openapi(request: Request) -> Response:
            return Response(document, media_type=JSON_TYPE)

        routes = [
            *routes_of(read_files()),
            *(endpoint.route(service) for endpoint in ENDPOINTS),
            Route(OPENAPI_PATH, show_openapi, methods=["GET"]),
            WebSocketRoute(LIVE_PATH, LiveSocket(service).serve),
            Route("/healthz", self._show_health, methods=["GET"]),
            Route("/metrics", self._show_metrics, methods=["GET"]),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _http_problem})

    async def _show_health(self, request: Request) -> Response:
        report = await self.deal.health.check()
        body = orjson.dumps(report.to_dict())
        return Response(body, status_code=200 if report.ok else 503, headers=JSON_HEADERS)

    async def _show_metrics(self, request: Request) -> Response:
        try:
            await principal_of(self._service, request)
        except TokenError as error:
            return problem_response(error)
        return Response(self.deal.metrics.render(), headers=METRICS_HEADERS)


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    document = {
        "type": f"urn:deal-sdk:error:{code}",
        "title": error.detail,
        "status": error.status_code,
        "code": code,
        "retryable": False,
    }
    return Response(
        orjson.dumps(document),
        status_code=error.status_code,
        media_type=PROBLEM_TYPE,
        headers=error.headers,
    )
