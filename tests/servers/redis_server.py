"""A real redis-server that a test can kill, freeze and bring back on the same port."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.processes import LOCAL_ADDRESS, MissingServerError, ServerProcess, free_port

_CLIENT_TIMEOUT_SECONDS: Final = 5.0


class RedisServer:
    """One redis-server without persistence: a restart has lost everything, like a failed-over node."""

    def __init__(
        self,
        *,
        keep_data: bool = False,
        port: int | None = None,
        options: Sequence[str] = (),
        sentinel_configuration: str = "",
    ) -> None:
        """Choose a port; nothing is started yet.

        Args:
            keep_data: write every command to disk before it is answered, so that a restart has it all.
            port: a free one, where it must be a certain one.
            options: further words of its command line.
            sentinel_configuration: what it watches, which makes it a sentinel.
        """
        self._program = find_redis_server()
        self._keep_data = keep_data
        self._options = tuple(options)
        self._process = ServerProcess("redis")
        self.port = port or free_port()
        self._sentinel_file = self._process.directory / "sentinel.conf"
        if sentinel_configuration:
            self._sentinel_file.write_text(sentinel_configuration)

    @property
    def url(self) -> str:
        """Return the URL that redis-py and `Settings.redis_url` take."""
        return f"redis://{LOCAL_ADDRESS}:{self.port}/0"

    @property
    def running(self) -> bool:
        """Say whether the process lives (a paused one does)."""
        return self._process.running

    def start(self) -> None:
        """Start it on its port, where it also was before."""
        persistence = ["--appendonly", "yes", "--appendfsync", "always"] if self._keep_data else []
        is_sentinel = self._sentinel_file.exists()
        role = [str(self._sentinel_file), "--sentinel"] if is_sentinel else ["--save", ""]
        command = [self._program, *role, "--port", str(self.port), "--bind", LOCAL_ADDRESS]
        command += ["--daemonize", "no", "--dir", str(self._process.directory), *persistence]
        command += self._options
        self._process.start(command, self._answers)

    def kill(self) -> None:
        """End it at once; every connection breaks."""
        self._process.kill()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self._process.pause()

    def resume(self) -> None:
        """Let it go on after `pause`; commands that arrived meanwhile are carried out."""
        self._process.resume()

    def restart(self) -> None:
        """Kill it and start it again on the same port."""
        self._process.kill()
        self.start()

    def flush(self) -> None:
        """Empty it of keys, scripts and functions, and let it run if it does not."""
        if self.running:
            self.resume()
        else:
            self.start()
        with self.client() as client:
            client.flushall()
            client.script_flush()
            client.function_flush()
            client.config_set("maxmemory", 0)

    def client(self) -> redis.Redis:
        """Return a blocking client, for what a test prepares or looks at behind the package's back."""
        return redis.Redis(
            host=LOCAL_ADDRESS,
            port=self.port,
            socket_timeout=_CLIENT_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )

    def remove(self) -> None:
        """End it and delete its directory."""
        self._process.remove()

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def find_redis_server() -> str:
    """Return the path of redis-server.

    Raises:
        MissingServerError: when there is none.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise MissingServerError("redis-server is missing (apt-get install redis-server)")
    return program
