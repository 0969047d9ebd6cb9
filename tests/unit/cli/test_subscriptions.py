"""`dealctl subscriptions` on a database of its own, without any chain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deal_sdk.cli.application import run

WALLET = "3cAMVo9zhnTcHiu4pRyT5NrDGQ9hQyWjFGHFPrbuWsUU"


class Shell:
    """Runs commands on one database and reads their documents."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._database = f"sqlite+aiosqlite:///{directory / 'deal.db'}"
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        assert run(["subscriptions", *arguments, "--database-url", self._database, "--json"]) == code
        return json.loads(self._capsys.readouterr().out)


def test_a_subscription_from_its_first_day_to_its_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(tmp_path, capsys)
    named = ("--buys", "3", "--take-profit", "50", "--more", '{"note": "mine"}')
    added = shell("add", "user-1", WALLET, *named)
    assert (added["token_buy_count"], added["type"]) == (3, "trade")
    assert added["watch_config"] == {"note": "mine", "take_profit_percentage": "50"}
    assert shell("list", "--user", "user-1", "--wallet", WALLET) == {"subscriptions": [added]}
    assert shell("list", "--user", "nobody") == {"subscriptions": []}
    assert shell("purchases", "--subscription", added["id"]) == {"purchases": []}
    assert shell("remove", added["id"])["state"] == "removed"
    assert shell("list") == {"subscriptions": []}
    assert shell("remove", added["id"], code=1)["error"]["code"] == "subscription_not_found"
    assert shell("cleanup") == {"deleted": 0}
    assert shell("cleanup", "--kept-days", "6", code=1)["error"]["code"] == "invalid_input"
    for wrong in (("add", "user-1", "nobody"), ("add", "user-1", WALLET, "--more", "[1]")):
        assert shell(*wrong, code=1)["error"]["code"] in ("invalid_wallet_address", "invalid_input")
