"""The operations of the API on a real `Deal`: wallets, payments, balances, limits, credits, charts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from openapi_spec_validator import validate
from solders.keypair import Keypair

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer
from deal_sdk import Deal
from deal_sdk.dashboard.application import ENDPOINTS
from deal_sdk.dashboard.openapi import plain_path
from tests.integration.conftest import FAST_CHAIN, MakePerson
from tests.integration.dashboard.conftest import Site, serve

MARKUP = '<img src=x onerror="alert(1)">'


def address() -> str:
    return str(Keypair().pubkey())


async def test_the_document_is_valid_and_has_every_route(site: Site) -> None:
    async with site.visit() as visitor:
        document = (await visitor.get("/openapi.json")).body
        validate(document)
        for endpoint in ENDPOINTS:
            operation = document["paths"][plain_path(endpoint.path)][endpoint.method.lower()]
            assert operation["x-role"] == endpoint.audience
        assert sum(len(operations) for operations in document["paths"].values()) == len(ENDPOINTS)
        plain = [
            path for path, operations in document["paths"].items() if "get" in operations and "{" not in path
        ]
        for path in plain:
            wallet = "?wallet=x" if path.endswith("/balance") else ""
            assert (await visitor.get(path.removeprefix("/api/v1") + wallet)).status == 200, path


async def test_an_operator_watches_stops_and_rewatches_wallets(site: Site) -> None:
    first, *others = [address() for _ in range(4)]
    async with site.visit() as visitor:
        added = await visitor.post("/wallets", {"address": first, "label": MARKUP, "max_transactions": 10})
        assert added.status == 201
        wallet = added.body["wallet"]
        assert (wallet["label"], wallet["badge"], wallet["status_text"]) == (MARKUP, "0/10", "Active")
        for malformed, code in [("x", "invalid_wallet_address"), ("", "invalid_input")]:
            assert (await visitor.post("/wallets", {"address": malformed})).code == code
        duplicate = await visitor.post("/wallets", {"address": first})
        assert (duplicate.status, duplicate.code) == (409, "wallet_already_watched")
        for limit in (0, -1):
            refused = await visitor.post("/wallets", {"address": others[0], "max_transactions": limit})
            assert (refused.status, refused.code) == (400, "invalid_input")
            refused = await visitor.call("PUT", f"/wallets/{first}/limit", {"max_transactions": limit})
            assert (refused.status, refused.code) == (400, "invalid_input")
        for other in others[:2]:
            assert (await visitor.post("/wallets", {"address": other})).status == 201
        fourth = await visitor.post("/wallets", {"address": others[2]})
        assert (fourth.status, fourth.code) == (409, "watch_slots_full")
        stopped = (await visitor.post(f"/wallets/{first}/stop")).body["wallet"]
        assert (stopped["status_text"], stopped["stop_reason"]) == ("Stopped", "manual")
        again = (await visitor.post(f"/wallets/{first}/rewatch")).body
        assert again["message"] == f"Now tracking {first} again. Quota usage continues from previous count."
        limit = await visitor.call("PUT", f"/wallets/{first}/limit", {"max_transactions": 99_999})
        assert limit.body["wallet"]["is_unlimited"]
        reset = (await visitor.post(f"/wallets/{first}/reset")).body
        assert reset["wallet"]["transaction_count"] == 0
        unknown = await visitor.post(f"/wallets/{others[2]}/stop")
        assert (unknown.status, unknown.code) == (404, "wallet_not_watched")
        listed = (await visitor.get("/wallets")).body
        assert (listed["active"], listed["max_active"], len(listed["items"])) == (3, 3, 3)
        assert (await visitor.get(f"/wallets/{first}/transactions")).body == {
            "items": [],
            "next_before": None,
        }


async def test_what_was_counted_is_exported(site: Site) -> None:
    watched = address()
    async with site.visit() as visitor:
        form = {"address": watched, "wallet_type": "exchange"}
        assert (await visitor.post("/wallets", form)).body["wallet"]["wallet_type"] == "exchange"
        as_text = (await visitor.get(f"/wallets/{watched}/export?format=csv")).body
        assert (as_text["format"], as_text["export"].split(",")[:2]) == ("csv", ["number", "signature"])
        assert (await visitor.get(f"/wallets/{watched}/export")).body["format"] == "json"
        refused = await visitor.get(f"/wallets/{watched}/export?format=xml")
        assert (refused.status, refused.code) == (400, "invalid_input")
        assert (await visitor.get(f"/wallets/{address()}/export")).status == 404


async def test_an_operator_grants_more_and_schedules_a_stop(site: Site) -> None:
    watched = address()
    async with site.visit() as visitor:
        await visitor.post("/wallets", {"address": watched, "max_transactions": 10})
        granted = await visitor.post(
            f"/wallets/{watched}/override", {"extra_transactions": 5, "reason": "the audit goes on"}
        )
        assert granted.body["wallet"]["next_stop"] == 15
        for form in ({"extra_transactions": 0, "reason": "x"}, {"extra_transactions": 5, "reason": ""}):
            refused = await visitor.post(f"/wallets/{watched}/override", form)
            assert (refused.status, refused.code) == (400, "invalid_input")
        stops_at = datetime.now(UTC) + timedelta(days=1)
        path = f"/wallets/{watched}/scheduled-stop"
        scheduled = await visitor.call("PUT", path, {"stop_at": stops_at.isoformat()})
        assert datetime.fromisoformat(scheduled.body["wallet"]["stop_at"]) == stops_at
        for text in ("2020-01-01T00:00:00Z", stops_at.replace(tzinfo=None).isoformat(), "tomorrow"):
            refused = await visitor.call("PUT", path, {"stop_at": text})
            assert (refused.status, refused.code) == (400, "invalid_input"), text
        taken_back = await visitor.call("PUT", path, {"stop_at": None})
        assert taken_back.body["wallet"]["stop_at"] is None


async def test_payments_are_listed_searched_and_shown_with_their_evidence(
    site: Site, make_person: MakePerson
) -> None:
    deal = site.deal
    alice, bob = await make_person("10"), await make_person()
    paid = [
        await deal.tokens.transfer(
            alice.user.id, bob.address, str(n), MARKUP, idempotency_key=f"k{n}", wait_for="finalized"
        )
        for n in (1, 2)
    ]
    await deal.reconcile()
    async with site.visit("viewer") as visitor:
        first = (await visitor.get("/payments?type=transfer&limit=2")).body
        assert [item["amount"] for item in first["items"]] == ["2", "1"]
        assert first["items"][0]["reason"] == MARKUP
        more = f"/payments?type=transfer&limit=2&cursor={first['next_cursor']}"
        rest = (await visitor.get(more)).body
        assert [item["amount"] for item in rest["items"]] == ["10"]
        assert rest["next_cursor"] is None
        newest = paid[1]
        for text, found in [
            (str(newest.id), 1),
            (newest.signature, 1),
            ("k2", 1),
            (str(alice.user.id), 3),
            (bob.address, 2),
            ("nobody", 0),
            ("x" * 200, 0),
        ]:
            assert len((await visitor.get(f"/payments?q={text}")).body["items"]) == found, text
        assert (await visitor.get("/payments?q=k2&status=failed")).body["items"] == []
        assert (await visitor.get("/payments?status=odd")).code == "invalid_input"
        assert (await visitor.get("/payments?cursor=odd")).code == "invalid_input"
        shown = (await visitor.get(f"/payments/{newest.id}")).body
        assert shown["idempotency_key"] == "k2"
        (attempt,) = shown["attempts"]
        assert (attempt["status"], attempt["signature"]) == ("finalized", newest.signature)
        assert attempt["evidence"]
        unknown = await visitor.get(f"/payments/{alice.user.id}")
        assert (unknown.status, unknown.code) == (404, "payment_not_found")
        volume = (await visitor.get("/series/volume?hours=1")).body
        assert sum(point["payments"] for point in volume["points"]) == 3
        assert sum(float(point["amount"]) for point in volume["points"]) == 13
        series = (await visitor.get(f"/series/balance?wallet={bob.address}")).body
        assert [point["amount"] for point in series["points"]] == ["1", "3"]
        balances = (await visitor.get("/balances?limit=1")).body
        assert balances["next_cursor"] == balances["items"][0]["token_account"]
        overview = (await visitor.get("/overview")).body
        assert overview["token"]["total_supply"] == "1000000000"
        assert {one["name"]: one["amount"] for one in overview["balances"]}["treasury"] == "999999990"


async def test_limits_near_their_edge_and_renewals_due_are_shown(site: Site, make_person: MakePerson) -> None:
    deal = site.deal
    person = await make_person()
    async with site.visit() as visitor:
        before = (await visitor.get("/limits")).body
        assert (before["purchases"], before["hits"]) == ([], [])
        for _ in range(3):
            await deal.purchases.increment_and_validate_purchase(person.user.id, MARKUP, 3)
        await deal.purchases.increment_and_validate_purchase(person.user.id, "half", 2)
        await deal.events.drain()
        found = (await visitor.get("/limits")).body
        (use,) = found["purchases"]
        assert (use["token_mint"], use["count"], use["maximum"], use["percent"]) == (MARKUP, 3, 3, 100)
        assert found["hits"][0]["type"] == "purchase_limit_reached"
        credits = (await visitor.get("/credits")).body
        assert credits["users"] == 1
        assert [user["user_id"] for user in credits["due"]] == [str(person.user.id)]


async def test_a_database_that_is_gone_is_a_typed_refusal() -> None:
    async with Deal.open(**FAST_CHAIN) as deal, serve(deal) as site, site.visit() as visitor:
        await deal.database.close()
        for path in ("/session", "/wallets", "/payments"):
            refused = await visitor.get(path)
            assert (refused.status, refused.code) == (503, "database_unavailable")
            assert refused.body["retryable"]
        async with visitor.http.get(f"{site.url}/healthz") as response:
            assert response.status == 503


async def test_without_the_chain_all_but_its_part_is_shown(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}"
    async with Localnet(LocalnetConfig(slot_seconds=0.02)) as chain:
        async with LocalnetServer(chain, "127.0.0.1", 0) as server:
            opening = Deal.open(
                rpc_url=server.rpc_url,
                database_url=url,
                keystore_passphrase="a passphrase",
                create_mint=True,
                background_jobs=False,
                rpc_timeout_seconds=0.5,
            )
            deal = await opening
        async with deal, serve(deal) as site, site.visit() as visitor:
            overview = await visitor.get("/overview")
            assert overview.status == 200
            assert overview.body["chain_problem"].startswith("rpc_")
            assert overview.body["token"]["total_supply"] is None
            assert (await visitor.get("/wallets")).status == 200
            refused = await visitor.post("/wallets", {"address": address()})
            assert (refused.status, refused.body["code"][:4]) == (503, "rpc_")
            assert await deal.monitor.list() == ()


async def test_a_period_beyond_its_bounds_is_refused(site: Site) -> None:
    async with site.visit() as visitor:
        for hours in (0, -1, 10_000, "x"):
            assert (await visitor.get(f"/series/volume?hours={hours}")).code == "invalid_input"
