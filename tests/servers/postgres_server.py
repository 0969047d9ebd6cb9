"""A real PostgreSQL cluster of the session, with a fresh database for each test."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, LiteralString

import psycopg
from psycopg import sql

from tests.servers.processes import LOCAL_ADDRESS, MissingServerError, ServerProcess, free_port

_SUPERUSER: Final = "deal"
_MAX_CONNECTIONS: Final = 300
_INITDB_TIMEOUT_SECONDS: Final = 60.0


class PostgresServer:
    """One cluster with fsync on, as production has it; it can be stopped, killed and started again."""

    def __init__(self, *, in_memory: bool = True) -> None:
        """Choose a port; nothing is started yet.

        Args:
            in_memory: keep its files in memory where there is room; benchmarks want a disk.
        """
        self._binaries = find_postgres_binaries()
        self._user = _unprivileged_user()
        self._process = ServerProcess("postgres", in_memory=in_memory)
        self._data = self._process.directory / "data"
        self._numbers = itertools.count(1)
        self.port = free_port()

    @property
    def running(self) -> bool:
        """Say whether the process lives (a paused one does)."""
        return self._process.running

    def start(self) -> None:
        """Start it on its port; the first start makes the cluster."""
        if not self._data.exists():
            self._make_cluster()
        options = {
            "port": str(self.port),
            "listen_addresses": LOCAL_ADDRESS,
            "unix_socket_directories": "",
            "max_connections": str(_MAX_CONNECTIONS),
            "fsync": "on",
            "synchronous_commit": "on",
        }
        command = [str(self._binaries / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        self._process.start(command, self._answers, user=self._user, death_signal="QUIT")

    def stop(self) -> None:
        """Shut it down in order (fast): connections are ended, data is flushed."""
        self._process.stop(signal.SIGINT)

    def crash(self) -> None:
        """End every process of it at once (immediate); the next start recovers from the log.

        The postmaster is not sent SIGKILL: its children would outlive it and keep the port.
        """
        self._process.stop(signal.SIGQUIT)

    def pause(self) -> None:
        """Freeze the postmaster: no new connection is answered; open ones go on."""
        self._process.pause()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._process.resume()

    def heal(self) -> None:
        """Make sure that it runs, whatever the last test did to it."""
        if self.running:
            self.resume()
        else:
            self.start()

    def create_database(self, *, template: str = "template0") -> str:
        """Create a database as empty as its template, and return its name."""
        name = f"deal_test_{next(self._numbers)}"
        self._execute("CREATE DATABASE {name} TEMPLATE {template}", name, template)
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database and end what is still connected to it."""
        self._execute("DROP DATABASE IF EXISTS {name} WITH (FORCE)", name)

    def url(self, database: str) -> str:
        """Return the URL that `Settings.database_url` takes."""
        return f"postgresql+asyncpg://{_SUPERUSER}@{LOCAL_ADDRESS}:{self.port}/{database}"

    def remove(self) -> None:
        """End it and delete the cluster."""
        self._process.stop(signal.SIGQUIT)
        self._process.remove()

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=LOCAL_ADDRESS,
            port=self.port,
            user=_SUPERUSER,
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
        )

    def _execute(self, statement: LiteralString, name: str, template: str = "") -> None:
        names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
        with self._connect() as connection:
            connection.execute(sql.SQL(statement).format(**names))

    def _answers(self) -> bool:
        try:
            with self._connect() as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def _make_cluster(self) -> None:
        command = [str(self._binaries / "initdb"), "-D", str(self._data), "--no-sync"]
        command += ["--auth=trust", f"--username={_SUPERUSER}", "--encoding=UTF8", "--locale=C"]
        if self._user is not None:
            shutil.chown(self._process.directory, self._user, self._user)
            command = [*_become(self._user), *command]
        done = subprocess.run(
            command,
            cwd=self._process.directory,
            capture_output=True,
            text=True,
            timeout=_INITDB_TIMEOUT_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")


def find_postgres_binaries() -> Path:
    """Return the directory of the newest PostgreSQL's programs.

    Raises:
        MissingServerError: when there is none.
    """
    for directory in _candidate_directories():
        if (directory / "initdb").exists() and (directory / "postgres").exists():
            return directory
    raise MissingServerError("PostgreSQL is missing (apt-get install postgresql)")


def _candidate_directories() -> Iterator[Path]:
    packaged = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(packaged, key=lambda path: int(path.parent.name.split(".")[0]), reverse=True)
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent


def _unprivileged_user() -> str | None:
    """Return the user to run as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise MissingServerError("PostgreSQL refuses root, and there is no user postgres or nobody")


def _become(user: str) -> list[str]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise MissingServerError(f"setpriv (util-linux) is missing; it is needed to run as {user}")
    return [setpriv, f"--reuid={user}", f"--regid={user}", "--init-groups"]
