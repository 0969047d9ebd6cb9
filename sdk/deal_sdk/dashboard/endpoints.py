"""What an operation of the API is: its path, its models, who may call it, and the function behind it.

The same description routes a request, parses it, writes the answer and becomes the OpenAPI document, so
that the document cannot say anything else than what is served.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from deal_sdk.dashboard.access import Principal, is_csrf_token
from deal_sdk.dashboard.guard import check_origin
from deal_sdk.dashboard.problems import input_error, internal_response, problem_response
from deal_sdk.dashboard.service import Service
from deal_sdk.errors import (
    AccessDeniedError,
    CrossOriginError,
    InvalidInputError,
    NotSignedInError,
    PayloadTooLargeError,
    TokenError,
)

logger = logging.getLogger(__name__)

API_PREFIX: Final = "/api/v1"
MAX_BODY_BYTES: Final = 16_384
CSRF_HEADER: Final = "x-csrf-token"
JSON_TYPE: Final = "application/json"
_BEARER: Final = "bearer "
_READING: Final = frozenset({"GET"})

Method = Literal["GET", "POST", "PUT", "DELETE"]
Audience = Literal["anyone", "viewer", "operator"]


class Nothing(BaseModel):
    """No query, no body."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Call:
    """One request, parsed and allowed."""

    request: Request
    principal: Principal | None
    query: Any
    """The operation's query model."""
    body: Any
    """The operation's body model."""

    @property
    def caller(self) -> Principal:
        """Return who calls; an operation for anyone never asks."""
        assert self.principal is not None, "the operation is not for anyone"
        return self.principal

    def path(self, name: str) -> str:
        """Return a parameter of the path."""
        return str(self.request.path_params[name])


Handler = Callable[[Service, Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One operation of the API."""

    method: Method
    path: str
    summary: str
    tag: str
    handler: Handler
    answer: type[BaseModel]
    query: type[BaseModel] = Nothing
    body: type[BaseModel] | None = None
    audience: Audience = "viewer"
    status: int = 200

    def route(self, service: Service) -> Route:
        """Return the operation as a route of the application."""

        async def serve(request: Request) -> Response:
            return await _serve(self, service, request)

        return Route(self.path, serve, methods=[self.method], name=f"{self.method} {self.path}")


async def principal_of(service: Service, request: Request) -> Principal:
    """Return who makes a request, and refuse a change that another site's page may have made.

    Raises:
        NotSignedInError: without a valid token or session.
        CrossOriginError: for a change under a session that is not proven to be the page's own.
    """
    header = request.headers.get("authorization", "")
    if header.lower().startswith(_BEARER):
        # A browser adds no such header by itself, so no other site can make it.
        return await service.by_token(header[len(_BEARER) :].strip(), request.client)
    cookie = request.cookies.get(service.cookie_name)
    if cookie is None:
        raise NotSignedInError("sign in: there is no session")
    if request.method not in _READING:
        check_origin(request)
        if not is_csrf_token(cookie, request.headers.get(CSRF_HEADER)):
            raise CrossOriginError("the request carries no CSRF token of this session", field=CSRF_HEADER)
    return await service.access.by_cookie(cookie)


async def _serve(endpoint: Endpoint, service: Service, request: Request) -> Response:
    try:
        return await _answer(endpoint, service, request)
    except TokenError as error:
        return problem_response(error)
    except ClientDisconnect:
        return Response(status_code=400)
    except Exception:
        logger.exception("a defect in %s %s", endpoint.method, endpoint.path)
        return internal_response()


async def _answer(endpoint: Endpoint, service: Service, request: Request) -> Response:
    principal = None
    if endpoint.audience != "anyone":
        principal = await principal_of(service, request)
        if endpoint.audience == "operator" and not principal.is_operator:
            raise AccessDeniedError("only an operator may do this", role=principal.role)
    else:
        check_origin(request)
    body = None if endpoint.body is None else await _body(endpoint.body, request)
    query = _parse(endpoint.query, dict(request.query_params))
    made = await endpoint.handler(service, Call(request, principal, query, body))
    if isinstance(made, Response):
        return made
    return json_response(made, endpoint.status)


def json_response(model: BaseModel, status: int = 200) -> Response:
    """Write a model as a response."""
    return Response(model.model_dump_json(by_alias=True), status_code=status, media_type=JSON_TYPE)


async def _body(model: type[BaseModel], request: Request) -> BaseModel:
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != JSON_TYPE:
        raise InvalidInputError(f"the body must be {JSON_TYPE}", field="content-type")
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_BODY_BYTES:
            raise PayloadTooLargeError(f"the body has more than {MAX_BODY_BYTES} bytes", field="body")
    try:
        document = orjson.loads(bytes(received))
    except ValueError:
        raise InvalidInputError("the body is not JSON", field="body") from None
    return _parse(model, document)


def _parse(model: type[BaseModel], document: object) -> BaseModel:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise input_error(error) from None
