"""How an error is told over HTTP: problem+json with the error's stable code (RFC 9457)."""

from __future__ import annotations

import math
from typing import Any, Final

import orjson
from pydantic import ValidationError
from starlette.responses import Response

from deal_sdk.errors import (
    AccessDeniedError,
    AccessTokenNotFoundError,
    ChainError,
    ConstraintError,
    DatabaseError,
    InvalidInputError,
    LimitExceededError,
    NotSignedInError,
    PayloadTooLargeError,
    PaymentNotFoundError,
    RpcUnavailableError,
    StoreUnavailableError,
    TokenError,
    UserNotFoundError,
    WalletAlreadyConnectedError,
    WalletNotFoundError,
    WalletNotWatchedError,
)

PROBLEM_TYPE: Final = "application/problem+json"
INTERNAL_CODE: Final = "internal"
INTERNAL_STATUS: Final = 500
RETRY_AFTER: Final = "retry_after_seconds"

# The first class that matches tells the status, so a subclass stands before its base.
_STATUS: Final[tuple[tuple[type[TokenError], int], ...]] = (
    (NotSignedInError, 401),
    (AccessDeniedError, 403),
    (PayloadTooLargeError, 413),
    (WalletAlreadyConnectedError, 409),
    (InvalidInputError, 400),
    (UserNotFoundError, 404),
    (WalletNotFoundError, 404),
    (PaymentNotFoundError, 404),
    (WalletNotWatchedError, 404),
    (AccessTokenNotFoundError, 404),
    (LimitExceededError, 429),
    (ConstraintError, 409),
    (DatabaseError, 503),
    (StoreUnavailableError, 503),
    (RpcUnavailableError, 503),
    (ChainError, 502),
)


def status_of(error: TokenError) -> int:
    """Return the HTTP status of an error; what no rule names is the request's conflict with the state."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 409)


def problem_of(error: TokenError, status: int) -> dict[str, Any]:
    """Return an error as the members of a problem; its facts stand beside them."""
    return {
        **error.facts,
        "type": f"urn:deal-sdk:error:{error.code}",
        "title": error.message,
        "status": status,
        "code": error.code,
        "retryable": error.retryable,
    }


def problem_response(error: TokenError) -> Response:
    """Return an error as a response."""
    status = status_of(error)
    headers = {}
    if isinstance(retry_after := error.facts.get(RETRY_AFTER), int | float):
        headers["retry-after"] = str(math.ceil(retry_after))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return _response(problem_of(error, status), headers)


def internal_response() -> Response:
    """Return what is told of a defect: nothing but that there is one; the log has the rest."""
    document = {
        "type": f"urn:deal-sdk:error:{INTERNAL_CODE}",
        "title": "the server has a defect; its log says which",
        "status": INTERNAL_STATUS,
        "code": INTERNAL_CODE,
        "retryable": False,
    }
    return _response(document, {})


def input_error(error: ValidationError) -> InvalidInputError:
    """Make an error of input that is not of its model's form; values are not repeated."""
    problems = [
        {"field": ".".join(map(str, item["loc"])) or "body", "problem": item["msg"]}
        for item in error.errors(include_input=False, include_url=False, include_context=False)
    ]
    text = "; ".join(f"{problem['field']}: {problem['problem']}" for problem in problems)
    return InvalidInputError(text, problems=problems)


def _response(document: dict[str, Any], headers: dict[str, str]) -> Response:
    body = orjson.dumps(document, default=str)
    return Response(body, status_code=document["status"], headers=headers, media_type=PROBLEM_TYPE)
