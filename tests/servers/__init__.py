"""Real servers for tests: Redis (one, a cluster, with sentinels), PostgreSQL and solana-test-validator.

Owns starting, faulting and stopping them, on free ports and in temporary directories. Never waits
for luck: readiness is asked for until a deadline, and a server that misses it ends with its log.
"""

from tests.servers.postgres_server import PostgresServer
from tests.servers.processes import MissingServerError, ServerProcess, free_port, free_port_block
from tests.servers.redis_cluster import RedisCluster
from tests.servers.redis_sentinels import RedisSentinels
from tests.servers.redis_server import RedisServer
from tests.servers.tls_files import TlsFiles, make_tls_files
from tests.servers.validator_server import ValidatorServer

__all__ = [
    "MissingServerError",
    "PostgresServer",
    "RedisCluster",
    "RedisSentinels",
    "RedisServer",
    "ServerProcess",
    "TlsFiles",
    "ValidatorServer",
    "free_port",
    "free_port_block",
    "make_tls_files",
]
