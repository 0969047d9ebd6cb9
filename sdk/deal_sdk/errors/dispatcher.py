"""Hands errors to the caller's own handlers."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable

from deal_sdk.errors.base import TokenError

logger = logging.getLogger(__name__)

ErrorHandler = Callable[[TokenError], Awaitable[None]]


class ErrorDispatcher:
    """Carries errors to the caller's async handlers by class, subclasses included."""

    def __init__(self) -> None:
        """Start without handlers."""
        self._handlers: dict[type[TokenError], list[ErrorHandler]] = {}

    def on(self, error_class: type[TokenError], handler: ErrorHandler) -> None:
        """Register a handler for a class of errors and everything below it.

        Args:
            error_class: `TokenError` or a subclass.
            handler: an async callable that takes the error.

        Raises:
            TypeError: when the handler is not an async callable.
        """
        is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004 - an object with an async __call__ counts
        )
        if not is_async:
            raise TypeError("an error handler must be an async callable")
        self._handlers.setdefault(error_class, []).append(handler)

    async def dispatch(self, error: TokenError) -> bool:
        """Call every handler of the most specific class that has any.

        A handler that raises is logged and keeps no other from running: reporting an error must not
        become one.

        Returns:
            Whether a handler took it; one that nobody handles is logged.
        """
        for error_class in type(error).__mro__:
            handlers = self._handlers.get(error_class)
            if handlers:
                await self._call_all(handlers, error)
                return True
        logger.error("unhandled %s: %s", error.code, error.message, extra={"deal_error": error.to_dict()})
        return False

    @staticmethod
    async def _call_all(handlers: list[ErrorHandler], error: TokenError) -> None:
        for handler in handlers:
            try:
                await handler(error)
            except asyncio.CancelledError:
                raise
            except Exception:
                logger.exception("an error handler failed on %s", error.code)
