"""Where Redis' exceptions become the package's own; nothing above imports them.

A text of the server or of a URL may repeat arguments or a password, so only its error word is kept. What
proves that a command did not run is told apart from what leaves it open, because only the former may be
sent again.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import redis.exceptions as redis_errors

from deal_sdk.errors import StoreUnavailableError

STORE_FAILURES: Final = (redis_errors.RedisError, OSError, TimeoutError)
ERROR_REPLIES: Final = (
    redis_errors.ResponseError,
    redis_errors.BusyLoadingError,
    redis_errors.AuthenticationError,
)
"""Error replies of a server, some of which redis-py counts among the failures of a connection."""

PROTOCOL_FAILURE: Final = redis_errors.InvalidResponse
"""What is read from a server that does not speak its protocol."""

_REPLY_CLASSES: Final[dict[str, type[Exception]]] = {
    "ASK": redis_errors.AskError,
    "CLUSTERDOWN": redis_errors.ClusterDownError,
    "CROSSSLOT": redis_errors.ClusterCrossSlotError,
    "LOADING": redis_errors.BusyLoadingError,
    "MASTERDOWN": redis_errors.MasterDownError,
    "MOVED": redis_errors.MovedError,
    "NOAUTH": redis_errors.AuthenticationError,
    "NOPERM": redis_errors.NoPermissionError,
    "NOSCRIPT": redis_errors.NoScriptError,
    "OOM": redis_errors.OutOfMemoryError,
    "READONLY": redis_errors.ReadOnlyError,
    "TRYAGAIN": redis_errors.TryAgainError,
    "WRONGPASS": redis_errors.AuthenticationError,
}
"""Of the words that begin error replies those that redis-py has a class for, and something follows from."""

_FUNCTION_MISSING: Final = "Function not found"
_ERROR_WORD: Final = re.compile(r"^[A-Z]{2,32}\b")
_BUSY_WORD: Final = "BUSY"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Reason(Enum):
    """Why a command provably did not run."""

    UNREACHABLE = auto()
    """No connection was made, so nothing was sent."""
    DEMOTED = auto()
    """The server has become a replica."""
    MOVED = auto()
    """Another server holds the key for good."""
    ASK = auto()
    """Another server holds the key for this once."""
    WAIT = auto()
    """The server is starting, a script blocks it, or its cluster is being rearranged."""


class NotRunError(Exception):
    """A command that provably did not run and may be sent again."""

    def __init__(
        self, error: StoreUnavailableError, reason: Reason, *, address: Address | None = None, slot: int = 0
    ) -> None:
        """Keep the error for the caller in case it is not sent again, and where the key is said to be."""
        super().__init__(error.message)
        self.error = error
        self.reason = reason
        self.address = address
        self.slot = slot


class NotConnectedError(Exception):
    """No connection was made; nothing was sent."""

    def __init__(self, failure: BaseException) -> None:
        """Keep what failed."""
        super().__init__()
        self.failure = failure


def error_reply(text: str) -> Exception:
    """Return the exception that stands for an error reply of a server; of redis-py, with its texts."""
    word, _, rest = text.partition(" ")
    known = _REPLY_CLASSES.get(word)
    return redis_errors.ResponseError(text) if known is None else known(rest)


def replica_reply() -> Exception:
    """Return the failure of a connection that was to lead to a master and leads to a replica."""
    return redis_errors.ReadOnlyError("the server is a replica")


def closed_by_server() -> Exception:
    """Return the failure of a connection that ended with replies outstanding, or said what nobody asked."""
    return redis_errors.ConnectionError("the connection was closed")


def is_script_missing(reply: object) -> bool:
    """Say whether a reply means that the server does not know the script, so that nothing ran."""
    if isinstance(reply, redis_errors.NoScriptError):
        return True
    return isinstance(reply, redis_errors.ResponseError) and _FUNCTION_MISSING in str(reply)


def judge(failure: BaseException, store: str) -> StoreUnavailableError | NotRunError:
    """Say what a failure leaves to believe: that the command did not run, or that nobody knows.

    Args:
        failure: one of `STORE_FAILURES`, as a reply or instead of one.
        store: the server's address without its password.
    """
    error = translate(failure, store)
    if isinstance(failure, redis_errors.AskError):
        reason = Reason.MOVED if isinstance(failure, redis_errors.MovedError) else Reason.ASK
        address = Address(str(failure.host), int(failure.port))
        return NotRunError(error, reason, address=address, slot=int(failure.slot_id))
    if isinstance(failure, redis_errors.ReadOnlyError):
        return NotRunError(error, Reason.DEMOTED)
    waits = (redis_errors.BusyLoadingError, redis_errors.ClusterDownError, redis_errors.TryAgainError)
    if isinstance(failure, waits) or error.facts.get("answer") == _BUSY_WORD:
        return NotRunError(error, Reason.WAIT)
    return error


def not_connected(failure: BaseException, store: str) -> NotRunError:
    """Say that no connection was made."""
    return NotRunError(translate(failure, store), Reason.UNREACHABLE)


def translate(error: BaseException, store: str) -> StoreUnavailableError:
    """Say what kept the store from answering, without repeating the server's text.

    Args:
        error: one of `STORE_FAILURES`.
        store: the store's address without its password.
    """
    if isinstance(error, redis_errors.TimeoutError | TimeoutError):
        return timed_out(store)
    if isinstance(error, redis_errors.AuthenticationError):
        return StoreUnavailableError(
            f"the store {store} accepts neither user nor password", store=store, reason="authentication"
        )
    if isinstance(error, ERROR_REPLIES):
        # redis-py drops the word of those errors that it has a class for.
        word = _ERROR_WORD.match(str(error))
        answer = word.group() if word else type(error).__name__
        return StoreUnavailableError(
            f"the store {store} refused a command: {answer}", store=store, reason="refused", answer=answer
        )
    if any(isinstance(cause, ssl.SSLError) for cause in (error, error.__cause__, error.__context__)):
        return StoreUnavailableError(
            f"no TLS connection to the store {store}: check its certificate and the CA file",
            store=store,
            reason="tls",
        )
    return StoreUnavailableError(f"the store {store} cannot be reached", store=store, reason="connection")


def timed_out(store: str) -> StoreUnavailableError:
    """Say that no answer came in time; the command may have been carried out."""
    return StoreUnavailableError(f"the store {store} did not answer in time", store=store, reason="timeout")
