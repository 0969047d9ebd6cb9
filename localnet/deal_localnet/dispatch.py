"""JSON-RPC: takes a request or a batch apart, calls the methods and puts the reply together."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import orjson

from . import (
    methods_accounts,
    methods_chain,
    methods_cluster,
    methods_supply,
    methods_testing,
    methods_tokens,
    methods_transactions,
)
from .config import BATCH_SLICE_SECONDS
from .errors import INVALID_REQUEST, RpcError, method_not_found
from .params import arguments
from .registry import Method, Node

AnswerCall = Callable[[Node, dict[str, Any]], dict[str, Any] | None]

logger = logging.getLogger(__name__)

INTERNAL_ERROR: Final = {"code": -32603, "message": "Internal error"}
PARSE_FAILURE: Final = b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}'
MEMBERS: Final = frozenset({"id", "jsonrpc", "method", "params"})
BAD_VERSION: Final = "Unsupported JSON-RPC protocol version"

METHODS: Final[dict[str, Method]] = {
    **methods_chain.table.methods,
    **methods_cluster.table.methods,
    **methods_supply.table.methods,
    **methods_accounts.table.methods,
    **methods_tokens.table.methods,
    **methods_transactions.table.methods,
    **methods_testing.table.methods,
}


async def answer(node: Node, body: bytes, answer_call: AnswerCall | None = None) -> bytes | None:
    """Answer one request or one batch; None when it held notifications alone.

    A long batch gives the event loop a turn now and then, so that its host is not starved.

    Args:
        node: what answers.
        body: the request or the batch, as JSON.
        answer_call: what answers a single request, `answer_one` by default.
    """
    answer_call = answer_call or answer_one
    request = parse(body)
    if request is None:
        return PARSE_FAILURE
    if isinstance(request, dict):
        reply = answer_call(node, request)
        return None if reply is None else orjson.dumps(reply)
    replies = []
    deadline = time.monotonic() + BATCH_SLICE_SECONDS
    for item in request:
        reply = answer_call(node, item)
        if reply is not None:
            replies.append(reply)
        if time.monotonic() >= deadline:
            await asyncio.sleep(0)
            deadline = time.monotonic() + BATCH_SLICE_SECONDS
    return orjson.dumps(replies) if replies else None


def parse(body: bytes) -> dict[str, Any] | list[dict[str, Any]] | None:
    """Parse a body; None when it is neither a request nor a list of requests."""
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    items = request if isinstance(request, list) else [request]
    if not all(isinstance(item, dict) and _usable_id(item.get("id")) for item in items):
        return None
    return request  # type: ignore[no-any-return]


def _usable_id(identifier: Any) -> bool:
    if isinstance(identifier, bool):
        return False
    if isinstance(identifier, int):
        return identifier >= 0
    return identifier is None or isinstance(identifier, str)


def answer_one(node: Node, request: dict[str, Any]) -> dict[str, Any] | None:
    """Answer a single request; a notification, which has no id, gets no reply."""
    identifier = request.get("id")
    fault = envelope_fault(request)
    if fault is not None:
        return fault
    reply: dict[str, Any]
    try:
        result = _call(node, request["method"], request.get("params"))
    except RpcError as error:
        reply = {"jsonrpc": "2.0", "error": error.as_object(), "id": identifier}
    except Exception:
        # A fault of this node must cost its caller one reply, not the rest of the batch.
        logger.exception("%s failed", request["method"])
        reply = {"jsonrpc": "2.0", "error": INTERNAL_ERROR, "id": identifier}
    else:
        reply = {"jsonrpc": "2.0", "result": result, "id": identifier}
    return reply if "id" in request else None


def envelope_fault(request: dict[str, Any]) -> dict[str, Any] | None:
    """Return the error reply for what is no JSON-RPC 2.0 call; None when it is one."""
    identifier = request.get("id")
    well_formed = isinstance(request.get("method"), str) and isinstance(
        request.get("params"), (list, dict, type(None))
    )
    version = request.get("jsonrpc")
    if not well_formed or not MEMBERS.issuperset(request) or version not in (None, "2.0"):
        error = {"code": INVALID_REQUEST, "message": "Invalid request"}
        return {"jsonrpc": "2.0", "error": error, "id": identifier}
    if version is None:
        return {"error": {"code": INVALID_REQUEST, "message": BAD_VERSION}, "id": identifier}
    return None


def _call(node: Node, name: str, params: Any) -> Any:
    method = METHODS.get(name)
    if method is None:
        raise method_not_found()
    return method.handler(node, arguments(params, method.required, method.maximum))
