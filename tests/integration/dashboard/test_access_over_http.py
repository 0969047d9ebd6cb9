"""Signing in, and everything that a request is refused for before it reaches an operation."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from deal_sdk import Deal
from deal_sdk.dashboard import Dashboard, DashboardServer, TlsFiles
from deal_sdk.dashboard.server import is_loopback
from deal_sdk.errors import ConfigurationError
from tests.integration.dashboard.conftest import Site, serve
from tests.servers.tls_files import make_tls_files

WALLET = {"address": "11111111111111111111111111111111"}


async def test_a_session_is_a_strict_cookie_that_ends(site: Site) -> None:
    token = await site.dashboard.access.ensure_first()
    assert token is not None
    async with site.visit(None) as visitor:
        refused = await visitor.get("/wallets")
        assert (refused.status, refused.code) == (401, "not_signed_in")
        answer = await visitor.sign_in(token)
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Max-Age=43200" in cookie
        assert token not in str(answer.body)
        assert (await visitor.get("/session")).body == answer.body
        assert (await visitor.get("/wallets")).status == 200
        assert (await visitor.call("DELETE", "/session")).status == 200
        assert (await visitor.get("/wallets")).status == 401


async def test_a_wrong_token_is_refused_and_tries_are_limited(site: Site) -> None:
    async with site.visit(None) as visitor:
        tries = [await visitor.sign_in("deal_dash_wrong") for _ in range(12)]
        assert (tries[0].status, tries[0].code) == (401, "not_signed_in")
        (refused, *_) = [one for one in tries if one.status != 401]
        assert (refused.status, refused.code) == (429, "rate_limit_exceeded")
        assert int(refused.headers["retry-after"]) >= 1
        bearer = {"headers": {"authorization": "Bearer wrong"}}
        answers = {(await visitor.get("/wallets", **bearer)).status for _ in range(12)}
        assert answers == {401, 429}


async def test_programs_send_the_token_itself(site: Site) -> None:
    _, token = await site.dashboard.access.create("prometheus", "viewer")
    async with site.visit(None) as visitor:
        headers = {"authorization": f"Bearer {token}"}
        assert (await visitor.get("/quota", headers=headers)).status == 200
        refused = await visitor.post("/wallets", WALLET, headers=headers)
        assert (refused.status, refused.code) == (403, "access_denied")
        async with visitor.http.get(f"{site.url}/metrics") as response:
            assert response.status == 401
        async with visitor.http.get(f"{site.url}/metrics", headers=headers) as response:
            assert "token_transactions_total" in await response.text()
        async with visitor.http.get(f"{site.url}/healthz") as response:
            assert (await response.json())["status"] == "ok"


async def test_only_an_operator_changes_anything(site: Site) -> None:
    async with site.visit("viewer") as viewer:
        for method, path, body in [
            ("POST", "/wallets", WALLET),
            ("POST", "/wallets/x/stop", None),
            ("POST", "/wallets/x/rewatch", None),
            ("POST", "/wallets/x/reset", None),
            ("PUT", "/wallets/x/limit", {"max_transactions": 5}),
            ("POST", "/wallets/x/override", {"extra_transactions": 5, "reason": "audit"}),
            ("PUT", "/wallets/x/scheduled-stop", {"stop_at": None}),
        ]:
            refused = await viewer.call(method, path, body)
            assert (refused.status, refused.code) == (403, "access_denied"), path


async def test_a_change_that_another_site_made_is_refused(site: Site) -> None:
    async with site.visit("operator") as visitor:
        for headers in (
            {},
            {"x-csrf-token": "0" * 64},
            {**visitor.headers, "origin": "http://evil.example"},
            {**visitor.headers, "sec-fetch-site": "cross-site"},
        ):
            refused = await visitor.post("/wallets", WALLET, headers=headers)
            assert (refused.status, refused.code) == (403, "cross_origin")
        assert await site.deal.monitor.list() == ()


async def test_another_hosts_name_is_not_served(site: Site) -> None:
    async with site.visit("operator") as visitor:
        refused = await visitor.get("/session", headers={"host": "rebound.example"})
        assert (refused.status, refused.code) == (403, "cross_origin")


async def test_every_response_has_its_security_headers(site: Site) -> None:
    async with site.visit(None) as visitor:
        for path in ("/", "/static/main.js", "/api/v1/session", "/nowhere"):
            async with visitor.http.get(site.url + path) as response:
                policy = response.headers["content-security-policy"]
                assert "script-src 'self'" in policy
                assert "unsafe" not in policy
                assert "frame-ancestors 'none'" in policy
                assert response.headers["x-content-type-options"] == "nosniff"
                assert "server" not in response.headers
        async with visitor.http.get(f"{site.url}/static/main.js") as response:
            tag = response.headers["etag"]
        async with visitor.http.get(f"{site.url}/static/main.js", headers={"if-none-match": tag}) as response:
            assert response.status == 304


async def test_bodies_that_are_none_are_refused(site: Site) -> None:
    async with site.visit("operator") as visitor:
        json = {**visitor.headers, "content-type": "application/json"}
        for options, status, code in [
            ({"data": b"{", "headers": json}, 400, "invalid_input"),
            ({"data": b"[]", "headers": json}, 400, "invalid_input"),
            ({"data": b" " * 20_000, "headers": json}, 413, "payload_too_large"),
            (
                {"data": b"{}", "headers": {**visitor.headers, "content-type": "text/plain"}},
                400,
                "invalid_input",
            ),
            ({"json": {**WALLET, "more": 1}}, 400, "invalid_input"),
        ]:
            refused = await visitor.post("/wallets", **options)
            assert (refused.status, refused.code) == (status, code)
        assert (await visitor.get("/wallets?x=1")).code == "invalid_input"
        assert (await visitor.get("/nowhere")).code == "not_found"
        assert (await visitor.post("/quota")).code == "method_not_allowed"


async def test_over_tls_the_cookie_is_secure_and_this_hosts_own(deal: Deal, tmp_path: Path) -> None:
    files = make_tls_files(tmp_path)
    context = ssl.create_default_context(cafile=str(files.ca))
    async with serve(deal, tls=TlsFiles(files.server_certificate, files.server_key)) as site:
        token = await site.dashboard.access.ensure_first()
        async with site.visit(None) as visitor:
            answer = await visitor.post("/session", {"token": token}, ssl=context)
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith("__Host-deal_session=")
            assert "Secure" in cookie
            assert "strict-transport-security" in answer.headers


async def test_what_cannot_be_listened_on_is_a_typed_refusal(deal: Deal, tmp_path: Path) -> None:
    missing = TlsFiles(tmp_path / "none.pem", tmp_path / "none.key")
    async with serve(deal) as site:
        taken = int(site.url.rpartition(":")[2])
        for server in (
            DashboardServer(Dashboard(deal), port=taken),
            DashboardServer(Dashboard(deal), host="192.0.2.1", port=0),
            DashboardServer(Dashboard(deal), port=0, tls=missing),
        ):
            with pytest.raises(ConfigurationError):
                await server.start()
            await server.close()
    assert all(is_loopback(host) for host in ("127.0.0.2", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "ops.example"))
