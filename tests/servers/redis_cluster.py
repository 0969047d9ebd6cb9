"""A Redis Cluster of three masters, and replicas where a test fails over."""

from __future__ import annotations

import time
from typing import Any, Final

import redis

from tests.servers.processes import LOCAL_ADDRESS, free_port_block, wait_until
from tests.servers.redis_server import RedisServer

SLOTS: Final = 16_384
_MASTERS: Final = 3
_NODE_TIMEOUT_MS: Final = 1_000
_BUS_OFFSET: Final = 1
_FAILOVER_SECONDS: Final = 6.0
_READY_SECONDS: Final = 60.0


class RedisCluster:
    """Masters that share the slots evenly, without persistence."""

    def __init__(self, *, replicas: int = 0) -> None:
        """Choose the ports; nothing is started yet.

        Args:
            replicas: how many of the masters, from the first on, have a replica.
        """
        self.masters = [_node() for _ in range(_MASTERS)]
        self.replicas = [_node() for _ in range(replicas)]

    @property
    def url(self) -> str:
        """Return the URL that `open_store` takes; one of the masters is left for it to find."""
        hosts = ",".join(f"{LOCAL_ADDRESS}:{node.port}" for node in self.masters[:2])
        return f"redis+cluster://{hosts}"

    @property
    def nodes(self) -> list[RedisServer]:
        """Return all servers."""
        return [*self.masters, *self.replicas]

    def start(self) -> None:
        """Start all nodes and return once each knows of the others and all slots are served."""
        for node in self.nodes:
            node.start()
        share = SLOTS // _MASTERS
        for index, master in enumerate(self.masters):
            last = SLOTS - 1 if index == _MASTERS - 1 else (index + 1) * share - 1
            # Epochs that differ from the start on need not be negotiated.
            _ask(master, "CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            _ask(master, "CLUSTER", "ADDSLOTSRANGE", index * share, last)
        first = self.masters[0]
        for node in self.nodes[1:]:
            _ask(first, "CLUSTER", "MEET", LOCAL_ADDRESS, node.port, node.port + _BUS_OFFSET)
        wait_until(self._all_know_all, "the cluster did not form", _READY_SECONDS)
        for replica, master in zip(self.replicas, self.masters, strict=False):
            _ask(replica, "CLUSTER", "REPLICATE", _ask(master, "CLUSTER", "MYID"))
        wait_until(self.is_whole, "the cluster did not become whole", _READY_SECONDS)

    def flush(self) -> None:
        """Empty every master of keys, scripts and functions; all of them must run."""
        for node in self.nodes:
            if node.running:
                node.resume()
            else:
                node.start()
        wait_until(self.is_whole, "the cluster did not become whole", _READY_SECONDS)
        for node in self.nodes:
            with node.client() as client:
                client.script_flush()
                if client.role()[0] == "master":
                    client.flushall()

    def owner_of(self, key: str) -> RedisServer:
        """Return the master that holds a key's slot, as the cluster sees it now."""
        slot = _ask(self._running(), "CLUSTER", "KEYSLOT", key)
        for first, last, master, *_ in _ask(self._running(), "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == master[1])
        raise LookupError(f"nobody serves slot {slot}")

    def slot_of(self, key: str) -> int:
        """Return a key's slot."""
        return int(_ask(self._running(), "CLUSTER", "KEYSLOT", key))

    def fail_over(self) -> None:
        """Let the first replica take its master's place by CLUSTER FAILOVER, and wait until all know."""
        replica = self.replicas[0]
        ordered_at = float("-inf")

        def is_done() -> bool:
            nonlocal ordered_at
            # What the master does not answer in five seconds is given up, so it is ordered again.
            if _role(replica) != "master" and time.monotonic() - ordered_at > _FAILOVER_SECONDS:
                ordered_at = time.monotonic()
                _ask(replica, "CLUSTER", "FAILOVER")
            return _role(replica) == "master"

        wait_until(is_done, "the replica was not promoted", _READY_SECONDS)

    def allow_failover(self, replica: RedisServer, *, allowed: bool) -> None:
        """Say whether a replica may take its master's place by itself."""
        with replica.client() as client:
            client.config_set("cluster-replica-no-failover", "no" if allowed else "yes")

    def is_whole(self) -> bool:
        """Say whether every running node sees all slots served and every replica is in step."""
        running = [node for node in self.nodes if node.running]
        return all(_serves_all(node) for node in running) and all(_in_step(node) for node in running)

    def remove(self) -> None:
        """End all nodes and delete their directories."""
        for node in self.nodes:
            node.remove()

    def _all_know_all(self) -> bool:
        return all(int(_info(node)["cluster_known_nodes"]) == len(self.nodes) for node in self.nodes)

    def _running(self) -> RedisServer:
        return next(node for node in self.nodes if node.running)


def _node() -> RedisServer:
    port = free_port_block(2)
    options = ["--cluster-enabled", "yes", "--cluster-port", str(port + _BUS_OFFSET)]
    options += ["--cluster-node-timeout", str(_NODE_TIMEOUT_MS), "--repl-diskless-sync-delay", "0"]
    # What one server cannot serve is no reason for the others to refuse.
    options += ["--cluster-require-full-coverage", "no"]
    return RedisServer(port=port, options=options)


def _ask(node: RedisServer, *words: str | int) -> Any:
    with node.client() as client:
        client.response_callbacks.clear()
        return client.execute_command(*words)


def _info(node: RedisServer) -> dict[str, str]:
    lines = _ask(node, "CLUSTER", "INFO").split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _serves_all(node: RedisServer) -> bool:
    try:
        info = _info(node)
    except redis.RedisError:
        return False
    return info["cluster_state"] == "ok" and info["cluster_slots_ok"] == str(SLOTS)


def _role(node: RedisServer) -> str:
    return str(_ask(node, "ROLE")[0])


def _in_step(node: RedisServer) -> bool:
    role = _ask(node, "ROLE")
    return "master" in role[:1] or "connected" in role[3:4]
