"""Where a store is: the forms of its URL, and what is needed to be let in.

Owns reading them, and making the connections that they stand for. A URL or a password is never repeated in
an error or a name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import redis.asyncio
from pydantic import SecretStr
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from deal_sdk.errors import ConfigurationError
from deal_sdk.limits._errors import Address
from deal_sdk.limits.clusters import ClusterServers
from deal_sdk.limits.connections import ServerConnections, check_client_library
from deal_sdk.limits.lanes import SERVER_PIPELINES, Lane
from deal_sdk.limits.scripts import Digests
from deal_sdk.limits.sentinels import SentinelServers
from deal_sdk.limits.servers import OneServer, Servers
from deal_sdk.tls import ClientTlsFiles, client_context

DEFAULT_PORT: Final = 6379
DEFAULT_SENTINEL_PORT: Final = 26379
_CLUSTER: Final = "+cluster"
_SENTINEL: Final = "+sentinel"
_TLS: Final = "rediss"
_UNIX: Final = "unix"
_ONLY_DATABASE_OF_A_CLUSTER: Final = 0


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """What a store asks for besides its URL; what the URL itself names comes first."""

    username: str | None = None
    password: SecretStr | None = None
    sentinel_username: str | None = None
    sentinel_password: SecretStr | None = None
    tls_ca_file: str | None = None
    """Certificates of the authorities that are trusted instead of the system's."""
    tls_certificate_file: str | None = None
    """The client's own certificate, for servers that ask for one."""
    tls_key_file: str | None = None
    tls_key_password: SecretStr | None = None
    tls_check_hostname: bool = True
    """Whether the server's certificate must name the host that the URL, or its cluster, names."""


@dataclass(frozen=True, slots=True)
class Location:
    """A store's servers, and the name by which errors call it."""

    servers: Servers
    name: str


def locate(redis_url: str, access: StoreAccess, *, timeout_seconds: float) -> Location:
    """Read a URL and prepare the connections that it stands for; nothing connects yet.

    Args:
        redis_url: as for `open_store`, memory:// excepted.
        access: what the servers ask for besides.
        timeout_seconds: the longest that one exchange may take.

    Raises:
        ConfigurationError: for a URL of another form, TLS files that cannot be used, or another redis-py.
    """
    check_client_library()
    parts = urlsplit(redis_url)
    if parts.scheme.startswith(_TLS):
        _check_tls_files(access)
    try:
        return _locate(parts, access, timeout_seconds)
    except ValueError:
        raise ConfigurationError("the Redis URL cannot be used") from None


def _locate(parts: SplitResult, access: StoreAccess, timeout_seconds: float) -> Location:
    scheme, _, form = parts.scheme.partition("+")
    make = partial(_make_lane, timeout_seconds=timeout_seconds)
    if not form:
        options = _options(parts, access)
        name = _name(parts)
        return Location(OneServer(make(options, name)), name)
    default_port = DEFAULT_SENTINEL_PORT if f"+{form}" == _SENTINEL else DEFAULT_PORT
    user, addresses = _split_hosts(parts.netloc, default_port)
    hosts = ",".join(map(str, addresses))
    if f"+{form}" == _CLUSTER:
        options = _options(parts._replace(scheme=scheme, netloc=f"{user}{addresses[0]}"), access)
        if options.get("db", 0) != _ONLY_DATABASE_OF_A_CLUSTER:
            raise ConfigurationError("a Redis Cluster has no database but 0")
        to_node = _lanes_by_address(make, options, scheme)
        return Location(ClusterServers(addresses, to_node), f"{parts.scheme}://{hosts}")
    if f"+{form}" != _SENTINEL:
        raise ValueError(form)
    master_name, _, database = parts.path.strip("/").partition("/")
    if not master_name:
        raise ConfigurationError("a Sentinel URL needs the master's name: redis+sentinel://host:port/NAME")
    server = parts._replace(scheme=scheme, netloc=f"{user}{addresses[0]}", path=f"/{database}")
    options = _options(server, access)
    watching = {**options, "db": 0, "username": access.sentinel_username}
    watching["password"] = _secret(access.sentinel_password)
    to_sentinel = _lanes_by_address(make, watching, scheme)
    sentinels = [to_sentinel(address) for address in addresses]
    to_master = _lanes_by_address(partial(make, master_only=True), options, scheme)
    servers = SentinelServers(sentinels, master_name, to_master)
    return Location(servers, f"{parts.scheme}://{hosts}/{master_name}")


def _lanes_by_address(
    make: Callable[[dict[str, Any], str], Lane], options: dict[str, Any], scheme: str
) -> Callable[[Address], Lane]:
    def lane(address: Address) -> Lane:
        return make({**options, "host": address.host, "port": address.port}, f"{scheme}://{address}")

    return lane


def _make_lane(
    options: dict[str, Any], name: str, *, timeout_seconds: float, master_only: bool = False
) -> Lane:
    pool = redis.asyncio.ConnectionPool(
        **{
            **options,
            # One bound stands over a whole exchange; a read within it needs none of its own.
            "socket_timeout": None,
            "socket_connect_timeout": timeout_seconds,
            # A command that may have been carried out is not sent twice.
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
    )
    client = redis.asyncio.Redis.from_pool(pool)
    connections = ServerConnections(client, timeout_seconds=timeout_seconds, master_only=master_only)
    return Lane(connections, name=name, form=Digests(), pipelines=SERVER_PIPELINES)


def _options(parts: SplitResult, access: StoreAccess) -> dict[str, Any]:
    given: dict[str, Any] = {
        "username": access.username,
        "password": _secret(access.password),
        **parse_url(parts.geturl()),
    }
    if parts.scheme == _TLS:
        given = {
            "ssl_ca_certs": access.tls_ca_file,
            "ssl_certfile": access.tls_certificate_file,
            "ssl_keyfile": access.tls_key_file,
            "ssl_password": _secret(access.tls_key_password),
            "ssl_check_hostname": access.tls_check_hostname,
            **given,
        }
    return given


def _check_tls_files(access: StoreAccess) -> None:
    # The client reads them at its first connection, where a wrong path would look like a server that is away.
    files = ClientTlsFiles(
        access.tls_ca_file, access.tls_certificate_file, access.tls_key_file, access.tls_key_password
    )
    client_context(files, "the store")


def _split_hosts(netloc: str, default_port: int) -> tuple[str, list[Address]]:
    user, separator, hosts = netloc.rpartition("@")
    addresses = []
    for host in hosts.split(","):
        # A port that is no number raises ValueError here.
        parts = urlsplit(f"//{host}")
        if not parts.hostname:
            raise ValueError("a host is missing")
        addresses.append(Address(parts.hostname, parts.port or default_port))
    return user + separator, addresses


def _name(parts: SplitResult) -> str:
    if parts.scheme == _UNIX:
        return f"{_UNIX}://{parts.path}"
    address = Address(parts.hostname or "localhost", parts.port or DEFAULT_PORT)
    return f"{parts.scheme}://{address}{parts.path}"


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()
