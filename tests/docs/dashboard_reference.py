"""Writes the reference page of the dashboard's API from the descriptions that it is served by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from pydantic import BaseModel

from deal_sdk.dashboard.application import ENDPOINTS, LIVE_PATH, OPENAPI_PATH
from deal_sdk.dashboard.endpoints import CSRF_HEADER, Endpoint, Nothing
from deal_sdk.dashboard.openapi import plain_path

_OPENING = f"""# The dashboard's API

The page is made of these operations, and so may be anything else. The document at `{OPENAPI_PATH}`
says the same to programs.

- **Who.** A program sends a token as `Authorization: Bearer`; a page has a session's cookie, and sends its
  CSRF token in `{CSRF_HEADER}` with each change. Operations of role `operator` change something.
- **Refusals** are `application/problem+json` with `title`, `status`, `retryable` and a stable `code`, which
  is that of the [error](errors.md); the error's facts stand beside them.
- **Amounts** are decimal texts in whole tokens; times are ISO 8601.
- **Pages** go on with the `cursor` that the one before gave as `next_cursor`.

`GET {LIVE_PATH}` is the live stream, a WebSocket for sessions of the same origin. Its first frame says
where it stands, `{{"type": "hello", "position": id, "resync": null}}`; then come frames
`{{"type": "events", "events": [{{id, type, data, timestamp}}, ...]}}`. Connect again with `?after=ID` of
the last event, and what was missed comes first; where that is no longer known, `resync` says why, and
everything is to be loaded anew. A reader that is too slow gets
`{{"type": "resync", "reason": "slow_reader"}}` and is closed. The only frame that a page may send is
`{{"type": "ping"}}`.

`GET /healthz` asks database, chain and limits store, for anyone; `GET /metrics` is Prometheus' text, for
a token."""


def dashboard_page() -> str:
    """Return the page."""
    lines = [_OPENING]
    for tag, endpoints in groupby(ENDPOINTS, key=lambda endpoint: endpoint.tag):
        lines += ["", f"## {tag.capitalize()}"]
        for endpoint in endpoints:
            lines += ["", *_operation(endpoint)]
    return "\n".join(lines) + "\n"


def _operation(endpoint: Endpoint) -> Iterator[str]:
    yield f"### `{endpoint.method} {plain_path(endpoint.path)}`"
    yield ""
    yield f"{endpoint.summary}. Role: {endpoint.audience}; answers {endpoint.status}."
    if endpoint.query is not Nothing:
        yield from _members("Query", endpoint.query)
    if endpoint.body is not None:
        yield from _members("Body", endpoint.body)
    yield from _members("Answer", endpoint.answer, is_answer=True)


def _members(title: str, model: type[BaseModel], *, is_answer: bool = False) -> Iterator[str]:
    schema = model.model_json_schema(mode="serialization" if is_answer else "validation")
    yield ""
    yield f"| {title.lower()} | type |"
    yield "| --- | --- |"
    for name, member in schema.get("properties", {}).items():
        yield f"| `{name}` | {_kind(member, schema.get('$defs', {}))} |"


def _kind(member: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "$ref" in member:
        name = member["$ref"].rpartition("/")[2]
        return f"{name}: " + ", ".join(f"`{one}`" for one in definitions[name].get("properties", {}))
    if "anyOf" in member:
        return " or ".join(_kind(one, definitions) for one in member["anyOf"])
    if "enum" in member:
        return ", ".join(f"`{one}`" for one in member["enum"])
    kind = str(member.get("format") or member.get("type", "any"))
    if kind == "array":
        return f"list of {_kind(member['items'], definitions)}"
    bounds = [str(member[name]) for name in ("minimum", "maximum") if name in member]
    return f"{kind}, {' to '.join(bounds)}" if len(bounds) == 2 else kind
