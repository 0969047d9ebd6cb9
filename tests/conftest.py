"""The servers, marks and options that every test shares.

A test that uses a server's fixture is marked by it (`redis`, `postgres`, `validator`, `node`,
`browser`), so that `./scripts/test --fast` can leave it out. A fixture taken by
`request.getfixturevalue` cannot be seen in time: its parameter needs the mark,
`pytest.param("redis", marks=pytest.mark.redis)`.

A server that is missing skips the test and says what to install; with CI=true it fails instead.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, TypeVar

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings

from deal_sdk.clock import SystemClock
from deal_sdk.records import Database, engines
from tests.servers import (
    MissingServerError,
    PostgresServer,
    RedisCluster,
    RedisSentinels,
    RedisServer,
    ValidatorServer,
)

# Installed, the package registers it by itself; a tree that is not installed names it here.
pytest_plugins = ["pytest_deal_localnet"]

MAX_WORKERS: Final = 8
"""Each starts the servers that its tests need: PostgreSQL, Redis, a Redis Cluster."""

MARK_OF_FIXTURE: Final = {
    "redis_server": "redis",
    "redis_cluster": "redis",
    "redis_factory": "redis",
    "redis_sentinels": "redis",
    "postgres_server": "postgres",
    "validator_server": "validator",
    "node_program": "node",
    "browser_program": "browser",
}

COMMON_VARIABLES: Final = {
    "DATABASE_URL",
    "MAX_TRANSACTIONS_PER_WALLET",
    "REDIS_HOST",
    "REDIS_PASSWORD",
    "REDIS_PORT",
    "REDIS_URL",
    "SOLANA_RPC_URL",
    "TOKEN_PURCHASE_KEY_PREFIX",
    "TOKEN_PURCHASE_TTL",
}
"""Settings' names without the DEAL_ prefix, which other programs use as well."""

IN_CI: Final = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


class _Compiled(dict[tuple[Any, ...], Any]):
    """What each statement compiles to, for every engine that a run of tests opens.

    By itself each engine compiles for itself, because SQLAlchemy's key begins with the engine's dialect;
    those of one driver compile alike here, and a fifth of the simulation's time went into doing it again.
    """

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get(key[1:], default)

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        super().__setitem__(key[1:], compiled)


class _Server(Protocol):
    def start(self) -> None: ...

    def remove(self) -> None: ...


ServerT = TypeVar("ServerT", bound=_Server)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests marked long")


def pytest_configure(config: pytest.Config) -> None:
    _forget_the_callers_settings()
    _compile_each_statement_once()
    unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("default", unhurried, max_examples=50)
    settings.register_profile("ci", unhurried, max_examples=100, derandomize=True, database=None)
    settings.register_profile("long", unhurried, max_examples=2_000)
    profile = "long" if config.getoption("--long") else "ci" if IN_CI else "default"
    settings.load_profile(profile)


def pytest_xdist_auto_num_workers() -> int:
    """Have a worker for each core that this process may use; pytest-xdist would count the machine's."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MAX_WORKERS)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        for fixture, mark in MARK_OF_FIXTURE.items():
            if fixture in used and item.get_closest_marker(mark) is None:
                item.add_marker(mark)
        if item.get_closest_marker("validator"):
            item.add_marker(pytest.mark.xdist_group("validator"))
    if not config.getoption("--long"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if not item.get_closest_marker("long")]
    yield
    # It keeps more than a core busy from its start to the end of the run, so it is started last.
    items.sort(key=lambda item: item.get_closest_marker("validator") is not None)


def _forget_the_callers_settings() -> None:
    # A developer's own DEAL_RPC_URL or DATABASE_URL must never reach a test, nor a test it.
    for name in tuple(os.environ):
        is_setting = name.startswith("DEAL_") and not name.startswith(("DEAL_TEST_", "DEAL_SBPF_"))
        if is_setting or name in COMMON_VARIABLES:
            del os.environ[name]


def _compile_each_statement_once() -> None:
    caches: dict[str, _Compiled] = {}
    listen = engines._listen

    def listen_and_share(engine: sa.Engine) -> None:
        listen(engine)
        cache = caches.setdefault(engine.dialect.driver, _Compiled())
        engine.update_execution_options(compiled_cache=cache)

    engines._listen = listen_and_share


def _missing(reason: str) -> None:
    if IN_CI:
        pytest.fail(f"{reason}; in CI nothing may be left out", pytrace=False)
    pytest.skip(reason)


def _check_mark(request: pytest.FixtureRequest, mark: str) -> None:
    if request.node.get_closest_marker(mark) is None:
        pytest.fail(f"taken by getfixturevalue without the mark {mark}", pytrace=False)


def _run(make: Callable[[], ServerT]) -> Iterator[ServerT]:
    try:
        server = make()
    except MissingServerError as error:
        _missing(str(error))
        raise
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def _redis_of_session() -> Iterator[RedisServer]:
    yield from _run(RedisServer)


@pytest.fixture
def redis_server(request: pytest.FixtureRequest, _redis_of_session: RedisServer) -> Iterator[RedisServer]:
    """A flushed redis-server that the test may kill, pause and restart; it is healed afterwards."""
    _check_mark(request, "redis")
    _redis_of_session.flush()
    yield _redis_of_session
    if _redis_of_session.running:
        _redis_of_session.resume()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of a flushed redis-server."""
    return redis_server.url


@pytest.fixture(scope="session")
def _cluster_of_session() -> Iterator[RedisCluster]:
    yield from _run(RedisCluster)


@pytest.fixture
def redis_cluster(request: pytest.FixtureRequest, _cluster_of_session: RedisCluster) -> RedisCluster:
    """A flushed Redis Cluster of three masters, which the test leaves as it is."""
    _check_mark(request, "redis")
    _cluster_of_session.flush()
    return _cluster_of_session


@pytest.fixture
def redis_sentinels() -> Iterator[RedisSentinels]:
    """A master with a replica and three sentinels, for one test that fails over."""
    yield from _run(RedisSentinels)


@pytest.fixture
def redis_factory() -> Iterator[Callable[..., RedisServer]]:
    """Start further servers, for tests that need two or one that keeps its data."""
    started: list[RedisServer] = []

    def start(*, keep_data: bool = False) -> RedisServer:
        try:
            server = RedisServer(keep_data=keep_data)
        except MissingServerError as error:
            _missing(str(error))
            raise
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.remove()


@pytest.fixture(scope="session")
def _postgres_of_session() -> Iterator[PostgresServer]:
    yield from _run(PostgresServer)


@pytest.fixture
def postgres_server(
    request: pytest.FixtureRequest, _postgres_of_session: PostgresServer
) -> Iterator[PostgresServer]:
    """A running PostgreSQL that the test may stop, crash and start; it is healed afterwards."""
    _check_mark(request, "postgres")
    _postgres_of_session.heal()
    yield _postgres_of_session
    _postgres_of_session.heal()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database that is dropped after the test."""
    name = postgres_server.create_database()
    yield postgres_server.url(name)
    postgres_server.heal()
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def _migrated_postgres(_postgres_of_session: PostgresServer) -> str:
    name = _postgres_of_session.create_database()
    asyncio.run(migrate(_postgres_of_session.url(name)))
    return name


@pytest.fixture
def migrated_postgres_url(postgres_server: PostgresServer, _migrated_postgres: str) -> Iterator[str]:
    """The URL of a database with the current schema and nothing in it, dropped after the test."""
    name = postgres_server.create_database(template=_migrated_postgres)
    yield postgres_server.url(name)
    postgres_server.heal()
    postgres_server.drop_database(name)


async def migrate(url: str) -> None:
    """Bring an empty database to the current schema."""
    await (await Database.open(url, clock=SystemClock(), migrate=True)).close()


@pytest.fixture(scope="session")
def validator_server() -> Iterator[ValidatorServer]:
    """The session's solana-test-validator."""
    yield from _run(ValidatorServer)


@pytest.fixture(scope="session")
def validator_url(validator_server: ValidatorServer) -> str:
    """The JSON-RPC URL of the session's solana-test-validator."""
    return validator_server.url


@pytest.fixture(scope="session")
def validator_websocket_url(validator_server: ValidatorServer) -> str:
    """The WebSocket URL of the session's solana-test-validator."""
    return validator_server.websocket_url


@pytest.fixture(scope="session")
def node_program() -> str:
    """The path of Node.js; npm must be there as well."""
    program = shutil.which("node")
    if program is None or shutil.which("npm") is None:
        _missing("Node.js and npm are missing")
        raise MissingServerError("unreachable: _missing always raises")
    return program


@pytest.fixture(scope="session")
def browser_program() -> str:
    """The path of Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        _missing("Chromium is missing; Debian's package is chromium")
        raise MissingServerError("unreachable: _missing always raises")
    return program
