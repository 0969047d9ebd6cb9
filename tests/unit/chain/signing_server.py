"""The example's signing service, over a real socket, with faults on command."""

from __future__ import annotations

import importlib.util
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import orjson
from aiohttp import web
from pydantic import SecretStr

from deal_sdk.chain import Signer
from deal_sdk.clock import Clock, SystemClock

EXAMPLE = Path(__file__).parents[3] / "scripts/examples/signing_service.py"
TOKEN, HMAC_SECRET = "token-of-the-signing-service", "hmac-secret-of-the-signing-service"

Fault = Callable[[web.Request], Awaitable[web.Response | None]]


def load_example() -> Any:
    spec = importlib.util.spec_from_file_location("signing_service", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class SigningHost:
    """Serves signers on a free port; `fault` answers instead while it is set."""

    def __init__(
        self, *signers: Signer, clock: Clock | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        server = load_example().SigningServer(
            signers,
            token=SecretStr(TOKEN),
            hmac_secret=SecretStr(HMAC_SECRET),
            clock=clock or SystemClock(),
        )
        self._inner = server._handle
        self.addresses = [str(signer.address) for signer in signers]
        self.fault: Fault | None = None
        self.asked: list[int] = []
        self.url = ""
        self._tls = tls
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=2**20)
        application.router.add_post("/sign", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}/sign"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.asked.append(len(orjson.loads(body)["requests"]))
        if self.fault is not None:
            answer = await self.fault(request)
            if answer is not None:
                return answer
        return await self._inner(request)
