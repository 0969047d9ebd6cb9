"""One server process: start it, wait until it answers, fault it, stop it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

LOCAL_ADDRESS: Final = "127.0.0.1"
_STOP_TIMEOUT_SECONDS: Final = 20.0
_READY_POLL_SECONDS: Final = 0.02
_PORT_ATTEMPTS: Final = 200
# Below Linux's range of ephemeral ports (32768 and up), so that no outgoing connection takes one
# between the check and the server's own bind.
_LOWEST_PORT: Final = 10_000
_HIGHEST_PORT: Final = 32_000
_MEMORY_DIRECTORY: Final = Path("/dev/shm")
_MIN_FREE_MEMORY_BYTES: Final = 8 * 1024**3
_WORKER_VARIABLE: Final = "PYTEST_XDIST_WORKER"
_WORKERS_VARIABLE: Final = "PYTEST_XDIST_WORKER_COUNT"


class MissingServerError(RuntimeError):
    """A server that this machine does not have; the message says what to install."""


def free_port_block(count: int) -> int:
    """Return the first of `count` neighbouring ports on which nobody listens, TCP or UDP."""
    lowest, highest = _ports_of_this_worker()
    for _ in range(_PORT_ATTEMPTS):
        first = random.randrange(lowest, highest - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise RuntimeError(f"found no {count} free ports in a row")


def free_port() -> int:
    """Return a port on which nobody listens."""
    return free_port_block(1)


def _ports_of_this_worker() -> tuple[int, int]:
    # Each of the workers that share a run has a range of its own: none takes a port that another one
    # found free and is about to use. A worker that replaces one that crashed is numbered on.
    workers = int(os.environ.get(_WORKERS_VARIABLE, "1"))
    worker = int(os.environ.get(_WORKER_VARIABLE, "gw0").removeprefix("gw")) % workers
    share = (_HIGHEST_PORT - _LOWEST_PORT) // workers
    lowest = _LOWEST_PORT + worker * share
    return lowest, lowest + share


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((LOCAL_ADDRESS, port))
            except OSError:
                return False
    return True


def wait_until(is_ready: Callable[[], bool], what: str, timeout_seconds: float) -> None:
    """Ask until the answer is yes, so that nothing depends on how fast the machine is.

    Raises:
        TimeoutError: when the answer is still no after `timeout_seconds`.
    """
    deadline = time.monotonic() + timeout_seconds
    while not is_ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} within {timeout_seconds:.0f} s")
        time.sleep(_READY_POLL_SECONDS)


def _fast_directory() -> str | None:
    """Return where files are kept in memory, where that has room to spare: fsync costs nothing there.

    None where it has not, and where temporary files are in memory anyway.

    What a killed process wrote survives there as it does on a disk; only a machine's crash would show the
    difference, and no test crashes one.
    """
    if Path(tempfile.gettempdir()).is_relative_to(_MEMORY_DIRECTORY):
        return None
    try:
        free_bytes = shutil.disk_usage(_MEMORY_DIRECTORY).free
    except OSError:
        return None
    return str(_MEMORY_DIRECTORY) if free_bytes >= _MIN_FREE_MEMORY_BYTES else None


class ServerProcess:
    """A child process with a directory and a log of its own, which dies with the test session."""

    def __init__(self, name: str, *, in_memory: bool = False) -> None:
        """Name the server; nothing is started yet.

        Args:
            name: for its directory and for errors.
            in_memory: keep its files in memory where there is room.
        """
        self.name = name
        place = _fast_directory() if in_memory else None
        self.directory = Path(tempfile.mkdtemp(prefix=f"deal-test-{name}-", dir=place))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Say whether the process lives (a paused one does)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """Return the end of what the server wrote."""
        path = self.directory / "server.log"
        return path.read_text(errors="replace")[-4_000:] if path.exists() else ""

    def start(
        self,
        command: Sequence[str],
        is_ready: Callable[[], bool],
        *,
        user: str | None = None,
        death_signal: str = "KILL",
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float = 30.0,
    ) -> None:
        """Start the process and return once it answers.

        Args:
            command: the program and its arguments.
            is_ready: asks the server; called until it says yes.
            user: the system user to run as; needs root.
            death_signal: what the kernel sends it when the test session dies without stopping it.
            environment: replaces the session's environment.
            timeout_seconds: how long it may take to answer.

        Raises:
            RuntimeError: when it exits or does not answer in time; the message holds its log.
        """
        assert not self.running, f"{self.name} runs already"
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_guard(user, death_signal), *command],
                cwd=self.directory,
                env=dict(environment) if environment is not None else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

        def answers_or_died() -> bool:
            if not self.running:
                raise RuntimeError(f"{self.name} exited at its start:\n{self.log}")
            return is_ready()

        try:
            wait_until(answers_or_died, f"{self.name} did not answer", timeout_seconds)
        except BaseException as error:
            self.kill()
            if isinstance(error, TimeoutError):
                raise RuntimeError(f"{error}:\n{self.log}") from None
            raise

    def stop(self, stop_signal: signal.Signals = signal.SIGTERM) -> None:
        """Ask the process to end and wait for it; kill it when it does not."""
        if self._process is None:
            return
        if self.running:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(stop_signal)
        try:
            self._process.wait(_STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the process at once (SIGKILL), as a crash of it would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_TIMEOUT_SECONDS)
            self._process = None

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): connections stay open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill what still runs and delete the directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def _guard(user: str | None, death_signal: str) -> list[str]:
    # Without setpriv (macOS) the session's own teardown is all that ends a server.
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        if user is not None:
            raise MissingServerError(f"setpriv (util-linux) is missing; it is needed to run as {user}")
        return []
    guard = [setpriv, f"--pdeathsig={death_signal}"]
    if user is not None:
        guard += [f"--reuid={user}", f"--regid={user}", "--init-groups"]
    return guard
