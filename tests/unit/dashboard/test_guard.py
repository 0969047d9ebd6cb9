"""Which hosts and origins are answered."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from deal_sdk.dashboard.guard import check_origin, is_known_host
from deal_sdk.errors import CrossOriginError

NAMES = {"localhost", "ops.example"}


@pytest.mark.parametrize(
    "header",
    [
        "localhost",
        "localhost:8799",
        "127.0.0.1:8799",
        "[::1]:8799",
        "10.1.2.3",
        "ops.example",
        "OPS.example:1",
    ],
)
def test_own_names_and_addresses_are_served(header: str) -> None:
    assert is_known_host(header, NAMES)


@pytest.mark.parametrize(
    "header",
    ["", "evil.example", "localhost.evil.example", "ops.example.evil", "[::1", "127.0.0.1.evil.example"],
)
def test_other_names_are_not(header: str) -> None:
    assert not is_known_host(header, NAMES)


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": raw})


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "a:1"},
        {"host": "a:1", "origin": "http://a:1"},
        {"host": "a:1", "origin": "https://A:1", "sec_fetch_site": "same-origin"},
        {"host": "a:1", "sec_fetch_site": "none"},
    ],
)
def test_a_page_of_the_same_origin_may_ask(headers: dict[str, str]) -> None:
    check_origin(request(**headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "a:1", "origin": "http://a:2"},
        {"host": "a:1", "origin": "http://a.evil:1"},
        {"host": "a:1", "origin": "null"},
        {"host": "a:1", "origin": "http://["},
        {"host": "a:1", "origin": "ftp://a:1"},
        {"host": "a:1", "sec_fetch_site": "cross-site"},
        {"host": "a:1", "origin": "http://a:1", "sec_fetch_site": "same-site"},
    ],
)
def test_any_other_may_not(headers: dict[str, str]) -> None:
    with pytest.raises(CrossOriginError):
        check_origin(request(**headers))


def test_a_handshake_without_an_origin_is_refused() -> None:
    with pytest.raises(CrossOriginError):
        check_origin(request(host="a:1"), is_required=True)
