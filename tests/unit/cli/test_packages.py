"""`dealctl packages` against a chain that runs beside the test."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from deal_sdk.cli.application import run


@pytest.mark.slow
def test_what_is_offered_is_asked_for_once(
    servers: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str, code: int = 0) -> Any:
        assert run(["packages", *arguments, *servers, "--json"]) == code
        return orjson.loads(capsys.readouterr().out)

    package = said("offer", "starter", "500", "2.5", "--lifetime-days", "30", "--priority", "20")
    assert (package["credits"], package["price"], package["lifetime_days"]) == (500, "2.5", 30)
    assert said("list") == {"packages": [package]}
    asked = ("invoice", "ext:chat-7", "starter", "--key", "order-7", "--expires-in-seconds", "60")
    invoice = said(*asked)
    assert said(*asked) == invoice
    assert (invoice["status"], invoice["amount"], invoice["package_id"]) == ("open", "2.5", package["id"])
    assert invoice["url"].startswith("solana:")
    listed = said("invoices", invoice["user_id"])
    assert listed == {"user_id": invoice["user_id"], "invoices": [{**invoice, "payments": []}]}
    assert said("offer", "free", "5", "0", code=1)["error"]["code"] == "invalid_amount"
    assert said("invoice", "ext:chat-7", "unheard-of", code=1)["error"]["code"] == "package_not_found"
    assert said("invoices", "ext:nobody", code=1)["error"]["code"] == "user_not_found"
    accepted = said("accept", invoice["id"])
    assert (accepted["status"], accepted["received"]) == ("accepted", "0")
    assert accepted["granted_at"] is not None
    assert said("accept", invoice["id"]) == accepted, "once"
    assert said("accept", "5c4a", code=1)["error"]["code"] == "invalid_input"

    tier = ("invoice-subscription", "ext:chat-7", "Professional", "19.9", "--periods", "2", "--key", "sub-1")
    subscription = said(*tier)
    assert said(*tier) == subscription
    named = ("tier", "periods", "amount", "package_id")
    assert [subscription[name] for name in named] == ["Professional", 2, "19.9", None]
    assert said("accept", subscription["id"])["granted_at"] is not None
    assert said("invoice-subscription", "ext:chat-7", "Gift", "1", code=1)["error"]["code"] == "invalid_input"

    assert said("withdraw", "starter") == {"name": "starter", "withdrawn": True}
    assert said("list") == {"packages": []}
    assert said("withdraw", "starter", code=1)["error"]["code"] == "package_not_found"
    assert run(["packages", "invoices", "ext:chat-7", *servers]) == 0
    assert "2.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("offer", "starter", "0", "1"),
        ("offer", "starter", "1.5", "1"),
        ("offer", "starter", "5", "1", "--lifetime-days", "0"),
        ("offer", "starter", "5", "1", "--priority", "101"),
        ("invoice", "ext:chat-7", "starter", "--expires-in-seconds", "0"),
        ("invoices",),
        ("invoice-subscription", "ext:chat-7", "Professional", "1", "--periods", "0"),
        ("invoice-subscription", "ext:chat-7", "Professional"),
        ("accept",),
        ("withdraw",),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert run(["packages", *arguments, "--json"]) == 2
