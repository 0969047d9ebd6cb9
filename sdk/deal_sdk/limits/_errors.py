"""Where Redis' exceptions become the package's own; nothing above imports them.

A text of the server or of a URL may repeat arguments or a password, so only its error word is kept.
"""

from __future__ import annotations

import re
from typing import Final

import redis.exceptions as redis_errors

from deal_sdk.errors import StoreUnavailableError

STORE_FAILURES: Final = (redis_errors.RedisError, OSError, TimeoutError)

_FUNCTION_MISSING: Final = "Function not found"
_ERROR_WORD: Final = re.compile(r"^[A-Z]{2,32}\b")


def is_script_missing(reply: object) -> bool:
    """Say whether a reply means that the server does not know the script, so that nothing ran."""
    if isinstance(reply, redis_errors.NoScriptError):
        return True
    return isinstance(reply, redis_errors.ResponseError) and _FUNCTION_MISSING in str(reply)


def translate(error: BaseException, store: str) -> StoreUnavailableError:
    """Say what kept the store from answering, without repeating the server's text.

    Args:
        error: one of `STORE_FAILURES`.
        store: the store's address without its password.
    """
    if isinstance(error, redis_errors.TimeoutError | TimeoutError):
        return timed_out(store)
    if isinstance(error, redis_errors.ResponseError):
        # redis-py drops the word of those errors that it has a class for.
        word = _ERROR_WORD.match(str(error))
        answer = word.group() if word else type(error).__name__
        return StoreUnavailableError(
            f"the store {store} refused a command: {answer}", store=store, reason="refused", answer=answer
        )
    return StoreUnavailableError(f"the store {store} cannot be reached", store=store, reason="connection")


def timed_out(store: str) -> StoreUnavailableError:
    """Say that no answer came in time; the command may have been carried out."""
    return StoreUnavailableError(f"the store {store} did not answer in time", store=store, reason="timeout")
