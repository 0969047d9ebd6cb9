"""The chains and servers that a benchmark runs on, each a process of its own."""

from __future__ import annotations

import http.client
import json
import sys
from dataclasses import dataclass
from typing import Final, Protocol

from scripts.bench.contestants import environment
from tests.servers import ServerProcess, ValidatorServer, free_port_block

EMBEDDED_SLOT_SECONDS: Final = 0.05
EMBEDDED_FINALITY_SLOTS: Final = 32
VALIDATOR_SLOT_SECONDS: Final = 0.4
HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a chain answers."""

    name: str
    rpc_url: str
    websocket_url: str
    slot_seconds: float


class Chain(Protocol):
    """A chain that can be started and removed."""

    @property
    def endpoint(self) -> Endpoint:
        """Return where it answers."""
        ...

    @property
    def pid(self) -> int:
        """Return its process id."""
        ...

    def start(self) -> None:
        """Start it and return once it answers."""
        ...

    def remove(self) -> None:
        """End it and delete what it kept."""
        ...


class EmbeddedChain:
    """deal_localnet's server, with the slots and the finality that `Deal` gives it by default."""

    def __init__(self) -> None:
        """Choose the ports; nothing is started yet."""
        self._process = ServerProcess("localnet")
        self._port = free_port_block(2)

    @property
    def endpoint(self) -> Endpoint:
        """Return where it answers."""
        return Endpoint(
            "embedded",
            f"http://{HOST}:{self._port}",
            f"ws://{HOST}:{self._port + 1}",
            EMBEDDED_SLOT_SECONDS,
        )

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def start(self) -> None:
        """Start it and return once it answers."""
        command = [sys.executable, "-m", "deal_localnet", "--rpc-port", str(self._port), "--quiet"]
        command += ["--slot-milliseconds", str(EMBEDDED_SLOT_SECONDS * 1_000)]
        command += ["--finality-slots", str(EMBEDDED_FINALITY_SLOTS)]
        self._process.start(command, self._answers, environment=environment())

    def remove(self) -> None:
        """End it."""
        self._process.remove()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=5)
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "getHealth"})
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            reply = json.loads(connection.getresponse().read())
            return isinstance(reply, dict) and reply.get("result") == "ok"
        except (OSError, http.client.HTTPException, ValueError):
            return False
        finally:
            connection.close()


class ValidatorChain:
    """solana-test-validator, from DEAL_TEST_VALIDATOR or PATH."""

    def __init__(self) -> None:
        """Choose the ports; nothing is started yet.

        Raises:
            MissingServerError: when there is no such program.
        """
        self._server = ValidatorServer()

    @property
    def endpoint(self) -> Endpoint:
        """Return where it answers."""
        server = self._server
        return Endpoint("validator", server.url, server.websocket_url, VALIDATOR_SLOT_SECONDS)

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._server.pid

    def start(self) -> None:
        """Start it and return once it has produced a block."""
        self._server.start()

    def remove(self) -> None:
        """End it and delete its ledger."""
        self._server.remove()
