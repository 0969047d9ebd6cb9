"""`/metrics` and `/health` over HTTP, for a process that serves nothing else."""

from __future__ import annotations

from typing import Final

import orjson
from aiohttp import web

from deal_sdk.client.health import Health
from deal_sdk.client.serving import Served
from deal_sdk.errors import ConfigurationError
from deal_sdk.metrics import Metrics

METRICS_HEADERS: Final = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
"""Prometheus' text format, https://prometheus.io/docs/instrumenting/exposition_formats/."""
JSON_HEADERS: Final = {"content-type": "application/json"}


class MonitoringServer(Served):
    """Answers Prometheus and whoever asks for the health."""

    def __init__(self, metrics: Metrics, health: Health, *, host: str, port: int) -> None:
        """Keep what to serve and where; `start` listens.

        Args:
            metrics: what `/metrics` shows.
            health: what `/health` asks.
            host: the address to listen on.
            port: 0 picks a free one.
        """
        self._metrics = metrics
        self._health = health
        self._host = host
        self.port = port
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Return where it listens."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: when the address cannot be listened on.
        """
        application = web.Application()
        application.router.add_get("/metrics", self._show_metrics)
        application.router.add_get("/health", self._show_health)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port).start()
        except OSError as error:
            await self.close()
            raise ConfigurationError(
                f"cannot listen on {self._host}:{self.port}: {error.strerror}", port=self.port
            ) from None
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening; safe to call twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _show_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers=METRICS_HEADERS)

    async def _show_health(self, request: web.Request) -> web.Response:
        report = await self._health.check()
        body = orjson.dumps(report.to_dict())
        return web.Response(status=200 if report.ok else 503, body=body, headers=JSON_HEADERS)
