"""A master, its replica, and the sentinels that put the replica in the master's place."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import redis

from tests.servers.processes import LOCAL_ADDRESS, wait_until
from tests.servers.redis_server import RedisServer

MASTER_NAME: Final = "deal"
_SENTINELS: Final = 3
_QUORUM: Final = 2
_DOWN_AFTER_MS: Final = 300
_PATIENT_DOWN_AFTER_MS: Final = 120_000
"""Until a test wants a death to be noticed, nobody is taken for dead, however slow this machine is."""
_FAILOVER_TIMEOUT_MS: Final = 1_000
_READY_SECONDS: Final = 60.0


class RedisSentinels:
    """Three sentinels over one master with one replica."""

    def __init__(self) -> None:
        """Choose the ports; nothing is started yet."""
        common = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
        self.master = RedisServer(options=common)
        self.replica = RedisServer(options=[*common, "--replicaof", LOCAL_ADDRESS, str(self.master.port)])
        self.sentinels = [RedisServer(sentinel_configuration=self._watch()) for _ in range(_SENTINELS)]

    @property
    def url(self) -> str:
        """Return the URL that `open_store` takes."""
        hosts = ",".join(f"{LOCAL_ADDRESS}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{MASTER_NAME}"

    def start(self) -> None:
        """Start all and return once the replica is in step and every sentinel knows everybody."""
        for server in (self.master, self.replica, *self.sentinels):
            server.start()
        wait_until(self._is_ready, "the sentinels did not find each other", _READY_SECONDS)

    def fail_over(self) -> None:
        """Order a failover to the replica, and return once the former master is a replica itself."""

        def is_done() -> bool:
            # A failover that is not through in time is given up, so it is ordered until it is.
            if _state(self.sentinels[0]).get("port") == str(self.master.port):
                with self.sentinels[0].client() as client, suppress(redis.RedisError):
                    client.execute_command("SENTINEL FAILOVER", MASTER_NAME)
            return self._is_master(self.replica)

        wait_until(is_done, "the replica was not promoted", _READY_SECONDS)
        # What a sentinel does some seconds later.
        with self.master.client() as client:
            client.execute_command("REPLICAOF", LOCAL_ADDRESS, self.replica.port)
        wait_until(lambda: _is_replica_in_step(self.master), "the master did not follow", _READY_SECONDS)

    def notice_deaths(self) -> None:
        """Let sentinels replace a master that is silent for a moment, from now on."""
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                client.execute_command(
                    "SENTINEL", "SET", MASTER_NAME, "down-after-milliseconds", _DOWN_AFTER_MS
                )

    def wait_for(self, server: RedisServer) -> None:
        """Wait until every sentinel names a server as master and it takes writes."""
        wait_until(lambda: self._is_master(server), "the replica was not promoted", _READY_SECONDS)

    def remove(self) -> None:
        """End all servers and delete their directories."""
        for server in (*self.sentinels, self.replica, self.master):
            server.remove()

    def _watch(self) -> str:
        lines = [
            f"sentinel monitor {MASTER_NAME} {LOCAL_ADDRESS} {self.master.port} {_QUORUM}",
            f"sentinel down-after-milliseconds {MASTER_NAME} {_PATIENT_DOWN_AFTER_MS}",
            f"sentinel failover-timeout {MASTER_NAME} {_FAILOVER_TIMEOUT_MS}",
        ]
        return "\n".join(lines) + "\n"

    def _is_ready(self) -> bool:
        for sentinel in self.sentinels:
            state = _state(sentinel)
            if state.get("num-slaves") != "1" or state.get("num-other-sentinels") != str(_SENTINELS - 1):
                return False
        return _is_replica_in_step(self.replica)

    def _is_master(self, server: RedisServer) -> bool:
        named = {_state(sentinel).get("port") for sentinel in self.sentinels}
        with server.client() as client:
            return named == {str(server.port)} and client.execute_command("ROLE")[0] == "master"


def _is_replica_in_step(server: RedisServer) -> bool:
    with server.client() as client:
        return bool("connected" in client.execute_command("ROLE")[3:4])


def _state(sentinel: RedisServer) -> dict[str, Any]:
    with sentinel.client() as client:
        client.response_callbacks.clear()
        try:
            state: dict[str, Any] = client.execute_command("SENTINEL", "MASTER", MASTER_NAME)
        except redis.RedisError:
            return {}
    return state
