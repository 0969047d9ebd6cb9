"""The demo as its user sees it: embedded, and on a real validator with real Redis and PostgreSQL."""

from __future__ import annotations

import json
import re
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command_line import dealctl, dealctl_json

TIP, TIPS = Decimal("0.5"), 3
TYPES = {"transfer", "service_fee", "reward", "mint", "burn"}
REFUSALS = [
    ("InsufficientBalanceError", "insufficient_balance"),
    ("InvalidWalletAddressError", "invalid_wallet_address"),
    ("PurchaseLimitExceededError", "purchase_limit_exceeded"),
    ("RateLimitExceededError", "rate_limit_exceeded"),
]


def check_document(document: Any, token_program: str) -> None:
    """Assert all that the demo promises."""
    assert document["ok"] is True
    assert document["problems"] == []
    mint = document["mint"]
    assert mint["decimals"] == 8
    assert mint["token_program"] == token_program
    assert mint["name_is_on_chain"] == (token_program == "token-2022")
    assert mint["name"] == "Deals Token"
    payments = document["payments"]
    assert len([p for p in payments if p["status"] == "finalized" and p["signature"]]) == len(payments) >= 12
    assert len({p["id"] for p in payments}) == len({p["signature"] for p in payments}) == len(payments)
    assert {p["type"] for p in payments} == TYPES
    assert {p["reason"] for p in payments} >= {"search", "goal", "analysis", "notification"}
    refused = document["refused"]
    assert [(r["error"], r["code"]) for r in refused] == REFUSALS
    assert [r["recorded"] for r in refused] == [0, 0, 0, 0]
    balances = document["balances"]
    # Where the machine stalls in the burst, the demo makes it again, with further tips.
    more = TIP * (len([p for p in payments if p["reason"] == "tip"]) - TIPS)
    assert {name: Decimal(balances[name]) for name in document["users"]} == {
        "alice": Decimal("93.15"),
        "bob": Decimal(63) - more,
        "carol": Decimal("71.2") + more,
    }
    assert set(balances) == {"alice", "bob", "carol", "treasury", "reward"}
    two_sided = [p for p in payments if p["type"] not in ("mint", "burn")]
    assert document["history_rows"] == 2 * len(two_sided) + (len(payments) - len(two_sided))
    assert document["limits"]["carol"]["purchases_per_day"] == {"limit": 2, "used": 2}
    verify = document["verify"]
    assert verify["ok"] is True
    assert all(check["ok"] for check in verify["checks"])
    assert {check["name"] for check in verify["checks"]} >= {"supply", "history_ends_at_chain"}


@pytest.mark.parametrize("token_program", ["classic", "token-2022"])
def test_the_embedded_demo_pays_refuses_and_proves_it(tmp_path: Path, token_program: str) -> None:
    document = dealctl_json("demo", "--token-program", token_program, directory=tmp_path)
    check_document(document, token_program)
    assert document["mint"]["supply"] == "1000000008.5"
    assert list(tmp_path.iterdir()) == [], "an ephemeral demo leaves nothing behind"


def test_the_demo_reads_well_in_a_hundred_columns(tmp_path: Path) -> None:
    done = dealctl("demo", directory=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert max(len(line) for line in done.stdout.splitlines()) <= 100
    for title in ("Mint", "Payments", "Refused", "Balances", "Balance history", "Limits used", "Verify"):
        assert f"\n{title}" in f"\n{done.stdout}"
    assert re.search(r"^All \d+ payments are finalized, 4 attempts were refused", done.stdout, re.MULTILINE)


def test_records_of_an_earlier_embedded_chain_are_not_continued(tmp_path: Path) -> None:
    more = ("demo", "--database-url", "sqlite:///kept.db")
    check_document(dealctl_json(*more, directory=tmp_path), "classic")
    assert stat.S_IMODE((tmp_path / "kept.db.key").stat().st_mode) == 0o600
    # The first run's embedded chain went with it.
    second = dealctl(*more, "--json", directory=tmp_path)
    assert second.returncode == 1
    assert "chain_mismatch" in second.stderr
    assert json.loads(second.stdout)["error"]["code"] == "chain_mismatch"


def test_the_demo_on_real_servers(
    tmp_path: Path, validator_url: str, redis_url: str, postgres_url: str
) -> None:
    servers = ("--rpc-url", validator_url, "--redis-url", redis_url, "--database-url", postgres_url)
    first = dealctl_json("demo", *servers, directory=tmp_path)
    check_document(first, "classic")
    assert stat.S_IMODE((tmp_path / "deal-demo.key").stat().st_mode) == 0o600
    again = dealctl_json("demo", *servers, directory=tmp_path)
    check_document(again, "classic")
    assert again["mint"]["address"] == first["mint"]["address"]
    assert again["users"]["alice"]["id"] != first["users"]["alice"]["id"]


def test_the_demo_on_a_real_validator_with_token_2022(tmp_path: Path, validator_url: str) -> None:
    more = ("--rpc-url", validator_url, "--token-program", "token-2022")
    check_document(dealctl_json("demo", *more, directory=tmp_path), "token-2022")
