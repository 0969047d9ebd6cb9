"""Sign for deal_sdk from a process of its own, so that the backend holds no operator key.

    export SIGNING_TOKEN=... SIGNING_HMAC_SECRET=...
    python signing_service.py treasury.json reward.json --port 8787

The key files are those of the Solana CLI. It shows the protocol of docs/how-to/signers.md; put your KMS or
HSM where `KeypairSigner` signs, and TLS before it when it runs on another machine.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hmac
import logging
import os
from collections.abc import Sequence
from typing import Any, Final

import orjson
from aiohttp import web
from pydantic import SecretStr

from deal_sdk.chain import KeypairSigner, Signer, request_hmac
from deal_sdk.clock import Clock, SystemClock

MAX_CLOCK_DIFFERENCE_SECONDS: Final = 60
MAX_MESSAGE_BYTES: Final = 1_232

logger = logging.getLogger(__name__)


class SigningServer:
    """Answers signing requests for the addresses whose keys it holds."""

    def __init__(
        self,
        signers: Sequence[Signer],
        *,
        token: SecretStr | None,
        hmac_secret: SecretStr | None,
        clock: Clock,
    ) -> None:
        """Keep the signers and what a caller must know."""
        self._signers = {str(signer.address): signer for signer in signers}
        self._token = token
        self._hmac_secret = hmac_secret
        self._clock = clock

    def application(self) -> web.Application:
        """Return the web application: one POST."""
        application = web.Application(client_max_size=2**20)
        application.router.add_post("/", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not self._is_authentic(request, body):
            return web.json_response({"error": "who are you?"}, status=401)
        try:
            asked = orjson.loads(body)
            requests = list(asked["requests"])
            if asked["version"] != 1:
                raise ValueError(asked["version"])
        except (ValueError, TypeError, KeyError):
            return web.json_response({"error": "not version 1 of the protocol"}, status=400)
        return web.json_response({"results": [await self._answer(one) for one in requests]})

    async def _answer(self, one: Any) -> dict[str, str]:
        try:
            identity, address = str(one["id"]), one["address"]
            message = base64.b64decode(one["message"], validate=True)
        except (TypeError, KeyError, binascii.Error):
            return {"id": "", "error": "a request has id, address and message"}
        signer = self._signers.get(address)
        if signer is None:
            return {"id": identity, "error": "no key for this address"}
        if not 0 < len(message) <= MAX_MESSAGE_BYTES:
            return {"id": identity, "error": "no transaction message"}
        return {"id": identity, "signature": str(await signer.sign(message))}

    def _is_authentic(self, request: web.Request, body: bytes) -> bool:
        if self._token is not None:
            expected = f"Bearer {self._token.get_secret_value()}"
            if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected.encode()):
                return False
        if self._hmac_secret is None:
            return True
        timestamp = request.headers.get("X-Deal-Timestamp", "")
        if not timestamp.isdigit():
            return False
        if abs(self._clock.now().timestamp() - int(timestamp)) > MAX_CLOCK_DIFFERENCE_SECONDS:
            return False
        expected = request_hmac(self._hmac_secret, timestamp, body)
        return hmac.compare_digest(request.headers.get("X-Deal-Signature", "").encode(), expected.encode())


def main() -> None:
    """Read the command line and serve until stopped."""
    parser = argparse.ArgumentParser(description="Sign for deal_sdk with keys of this process.")
    parser.add_argument("keys", nargs="+", help="key files as the Solana CLI writes them")
    parser.add_argument("--port", type=int, default=8787)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    token, secret = os.environ.get("SIGNING_TOKEN"), os.environ.get("SIGNING_HMAC_SECRET")
    if not token and not secret:
        parser.error("set SIGNING_TOKEN or SIGNING_HMAC_SECRET, or anybody here could sign")
    signers = [KeypairSigner.from_file(path) for path in options.keys]
    for signer in signers:
        logger.info("signs for %s", signer.address)
    server = SigningServer(
        signers,
        token=SecretStr(token) if token else None,
        hmac_secret=SecretStr(secret) if secret else None,
        clock=SystemClock(),
    )
    web.run_app(server.application(), host="127.0.0.1", port=options.port, print=None)


if __name__ == "__main__":
    main()
