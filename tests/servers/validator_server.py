"""A real solana-test-validator with a fresh ledger."""

from __future__ import annotations

import http.client
import json
import os
import shutil
from typing import Any, Final

from tests.servers.processes import LOCAL_ADDRESS, MissingServerError, ServerProcess, free_port_block

_PROGRAM_VARIABLE: Final = "DEAL_TEST_VALIDATOR"
_FIXED_PORTS: Final = 4
"""RPC, its WebSocket (always the next port), faucet and gossip."""
_DYNAMIC_PORTS: Final = 40
_START_TIMEOUT_SECONDS: Final = 120.0


class ValidatorServer:
    """One validator that produces blocks on its own and airdrops SOL."""

    def __init__(self) -> None:
        """Choose the ports; nothing is started yet."""
        self._program = find_validator()
        self._process = ServerProcess("validator")
        self._first_port = free_port_block(_FIXED_PORTS + _DYNAMIC_PORTS)

    @property
    def url(self) -> str:
        """Return the JSON-RPC URL."""
        return f"http://{LOCAL_ADDRESS}:{self._first_port}"

    @property
    def websocket_url(self) -> str:
        """Return the WebSocket URL."""
        return f"ws://{LOCAL_ADDRESS}:{self._first_port + 1}"

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def start(self) -> None:
        """Start it and return once it is healthy and has produced a block."""
        first_dynamic = self._first_port + _FIXED_PORTS
        ledger = self._process.directory / "ledger"
        command = [self._program, "--quiet", "--reset", "--ledger", str(ledger)]
        command += ["--bind-address", LOCAL_ADDRESS, "--rpc-port", str(self._first_port)]
        command += ["--faucet-port", str(self._first_port + 2), "--gossip-port", str(self._first_port + 3)]
        command += ["--dynamic-port-range", f"{first_dynamic}-{first_dynamic + _DYNAMIC_PORTS - 1}"]
        # Its command-line configuration and keys belong to the test, not to whoever runs it.
        environment = {**os.environ, "HOME": str(self._process.directory), "RUST_LOG": "error"}
        self._process.start(
            command, self._answers, environment=environment, timeout_seconds=_START_TIMEOUT_SECONDS
        )

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self._process.pause()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._process.resume()

    def remove(self) -> None:
        """End it and delete the ledger."""
        self._process.remove()

    def _answers(self) -> bool:
        return self._call("getHealth") == "ok" and (self._call("getSlot") or 0) > 0

    def _call(self, method: str) -> Any:
        connection = http.client.HTTPConnection(LOCAL_ADDRESS, self._first_port, timeout=5)
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method})
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            return json.loads(connection.getresponse().read()).get("result")
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()


def find_validator() -> str:
    """Return the path of solana-test-validator.

    Raises:
        MissingServerError: when there is none, or the variable names one that is not there.
    """
    named = os.environ.get(_PROGRAM_VARIABLE)
    program = shutil.which(named or "solana-test-validator")
    if program is None:
        place = f"{_PROGRAM_VARIABLE} names no program" if named else f"set {_PROGRAM_VARIABLE}"
        raise MissingServerError(f"solana-test-validator is missing ({place})")
    return program
