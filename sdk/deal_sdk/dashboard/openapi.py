"""The OpenAPI document of the API, made of the very models that requests are parsed by."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from deal_sdk._version import __version__
from deal_sdk.dashboard.endpoints import CSRF_HEADER, JSON_TYPE, Endpoint
from deal_sdk.dashboard.models import Problem
from deal_sdk.dashboard.problems import PROBLEM_TYPE

OPENAPI_VERSION: Final = "3.1.0"
_REFERENCE: Final = "#/components/schemas/{model}"
_PARAMETER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")

References: TypeAlias = Mapping[tuple[Any, JsonSchemaMode], Any]
"""Where each model's schema is, as it is read and as it is written."""

_DESCRIPTION: Final = (
    "Everything that the dashboard shows and does. A session is a cookie, and a change under it carries its"
    f" CSRF token in {CSRF_HEADER}; programs send a token as `Authorization: Bearer`. Every error is"
    " problem+json with a stable `code`."
)


def openapi_document(endpoints: Sequence[Endpoint], *, cookie_name: str) -> dict[str, Any]:
    """Describe every operation.

    Args:
        endpoints: all of them.
        cookie_name: under which a session's cookie is kept.
    """
    references, definitions = _schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operations = paths.setdefault(plain_path(endpoint.path), {})
        operations[endpoint.method.lower()] = _operation(endpoint, references)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": "deal_sdk dashboard", "version": __version__, "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": cookie_name},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def plain_path(path: str) -> str:
    """Return a route's path as OpenAPI writes it, without the kinds of its parameters."""
    return _PARAMETER.sub(r"{\1}", path)


def _schemas(endpoints: Sequence[Endpoint]) -> tuple[References, dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Problem, "serialization"): None}
    for endpoint in endpoints:
        wanted[endpoint.answer, "serialization"] = None
        if endpoint.body is not None:
            wanted[endpoint.body, "validation"] = None
    found, document = models_json_schema(list(wanted), ref_template=_REFERENCE)
    references: References = {(model, mode): schema for (model, mode), schema in found.items()}
    return references, document.get("$defs", {})


def _operation(endpoint: Endpoint, references: References) -> dict[str, Any]:
    problem = {"content": {PROBLEM_TYPE: {"schema": references[Problem, "serialization"]}}}
    answer = {"description": "Done", "content": _json(references[endpoint.answer, "serialization"])}
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": [*_path_parameters(endpoint), *_query_parameters(endpoint)],
        "responses": {str(endpoint.status): answer, "default": {"description": "Refused", **problem}},
        "security": [] if endpoint.audience == "anyone" else [{"session": []}, {"token": []}],
        "x-role": endpoint.audience,
    }
    if endpoint.body is not None:
        schema = references[endpoint.body, "validation"]
        operation["requestBody"] = {"required": True, "content": _json(schema)}
    return operation


def _json(schema: Any) -> dict[str, Any]:
    return {JSON_TYPE: {"schema": schema}}


def _operation_id(endpoint: Endpoint) -> str:
    words = re.findall(r"\w+", plain_path(endpoint.path).removeprefix("/api/v1"))
    return "_".join([endpoint.method.lower(), *words])


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(endpoint.path)
    ]


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    schema = endpoint.query.model_json_schema()
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _without_title(one)}
        for name, one in schema.get("properties", {}).items()
    ]


def _without_title(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "title"}
