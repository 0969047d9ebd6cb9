"""dealctl against a localnet of its own: separate commands share the chain through ./deal.db."""

from __future__ import annotations

import csv
import json
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from solders.keypair import Keypair

from tests.acceptance.command_line import dealctl, dealctl_json, environment_of
from tests.servers.processes import wait_until

STOP_SECONDS: Final = 20.0
FAST: Final = ("--slot-milliseconds", "40", "--finality-slots", "8")


def start_localnet(directory: Path, *arguments: str) -> tuple[subprocess.Popen[str], Any]:
    """Start a localnet and return it with the one document that it prints."""
    command = [
        sys.executable,
        "-m",
        "deal_sdk.cli",
        "localnet",
        "--rpc-port",
        "0",
        *FAST,
        "--json",
        *arguments,
    ]
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=environment_of(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line.rstrip() == "}":
            return process, json.loads(text)
    assert process.stderr is not None
    raise AssertionError(process.stderr.read())


def stop(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
    """Ask a process to end and return its exit code and what it wrote since."""
    process.send_signal(number)
    try:
        out, err = process.communicate(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, err


class CommandLine:
    """Runs commands in one folder against one chain."""

    def __init__(self, directory: Path, rpc_url: str) -> None:
        self.directory = directory
        self.rpc_url = rpc_url

    def __call__(self, *arguments: str) -> Any:
        return dealctl_json("--rpc-url", self.rpc_url, *arguments, directory=self.directory)

    def refused(self, *arguments: str) -> Any:
        done = dealctl("--rpc-url", self.rpc_url, *arguments, "--json", directory=self.directory)
        assert done.returncode == 1, done.stdout
        error = json.loads(done.stdout)["error"]
        assert error["code"] in done.stderr
        return error


@pytest.fixture
def ctl(tmp_path: Path) -> Iterator[CommandLine]:
    process, addresses = start_localnet(tmp_path)
    try:
        yield CommandLine(tmp_path, addresses["rpc_url"])
    finally:
        code, out, err = stop(process)
    assert (code, out, err) == (0, "", "")


def make_user(ctl: CommandLine, name: str, tier: str = "Professional") -> Any:
    user = ctl("user", "create", "--username", name, "--external-id", f"chat-{name}", "--tier", tier)
    return {**user, "address": ctl("wallet", "create", user["id"])["address"]}


def check_batches(ctl: CommandLine, address: str) -> None:
    """Pay two out of a file, however often it is run, and name the lines by which nobody can be paid."""
    file = ctl.directory / "payout.csv"
    file.write_text(f"recipient,amount\n{Keypair().pubkey()},0.5\ntreasury,0.25\n")
    cost = ctl("reward", "batch", str(file), "--type", "bonus", "--dry-run")
    assert (cost["tokens"], cost["transactions"], cost["batch_key"]) == ("0.75", 1, "payout")
    report = ctl.directory / "report.csv"
    for _ in range(2):
        paid = ctl("reward", "batch", str(file), "--type", "bonus", "--report", str(report))
        assert (paid["recorded"], paid["pending"], len(paid["recipients"])) == (2, 0, 2)
    assert len(report.read_text().splitlines()) == 3
    assert ctl("balance", "reward")["balance"] == "5.25"
    file.write_text(f"recipient,amount,type\n{address},1,bonus\nnobody,1,bonus\next:nobody,1,bonus\n")
    refused = ctl.refused("reward", "batch", str(file), "--key", "other")
    assert [problem["line"] for problem in refused["problems"]] == [3, 4]


def test_separate_commands_share_the_chain_and_the_records(ctl: CommandLine) -> None:
    token = ctl("token", "create")
    assert ctl("token", "create") == token, "a second time finds the same token"
    assert ctl("token", "show") == token
    assert (token["supply"], token["name_is_on_chain"]) == ("1000000000", False)
    assert "only in the settings" in token["note"]
    key_file = ctl.directory / "deal.db.key"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600

    alice, bob = make_user(ctl, "alice"), make_user(ctl, "bob")
    paid = ctl("transfer", "treasury", "ext:chat-alice", "25", "--reason", "welcome", "--key", "k1")
    assert (paid["type"], paid["amount"], paid["to_user_id"]) == ("transfer", "25", alice["id"])
    assert (
        ctl("transfer", "treasury", "ext:chat-alice", "25", "--reason", "welcome", "--key", "k1")["id"]
        == paid["id"]
    )
    assert (
        ctl.refused("transfer", "treasury", "ext:chat-alice", "26", "--key", "k1")["code"]
        == "idempotency_conflict"
    )

    assert ctl("charge", alice["id"], "goal")["amount"] == "1"
    ctl("price", "set", "goal", "1.5")
    assert ctl("price", "show", "goal")["price"] == "1.5"
    assert [p["service_type"] for p in ctl("price", "list")["prices"]] == ["goal"]
    assert ctl("charge", alice["address"], "goal")["amount"] == "1.5"

    assert (
        ctl("transfer", alice["id"], bob["address"], "2.5", "--max-purchases", "1")["to_user_id"] == bob["id"]
    )
    # Another process keeps no counters of the first one's; the record tells them.
    again = ctl.refused("transfer", alice["id"], bob["address"], "1", "--max-purchases", "1")
    assert again["code"] == "purchase_limit_exceeded"
    ctl("transfer", "treasury", "reward", "10")
    assert ctl("reward", "ext:chat-bob", "referral", "4")["type"] == "reward"
    check_batches(ctl, bob["address"])
    assert ctl("mint", "ext:chat-bob", "1")["type"] == "mint"
    burned = ctl("burn", "ext:chat-bob", "0.5", "--wait-for", "finalized")
    assert (burned["type"], burned["status"]) == ("burn", "finalized")

    assert ctl("balance", "ext:chat-alice")["balance"] == "20"
    assert ctl("balance", "ext:chat-bob")["balance"] == "7"
    assert ctl("balance", "treasury")["operator_wallet"] == "treasury"
    refusal = ctl.refused("transfer", alice["id"], bob["id"], "1000")
    assert (refusal["code"], refusal["deficit"]) == ("insufficient_balance", "980")
    assert ctl.refused("charge", alice["id"], "unheard-of")["code"] == "unknown_service_type"
    assert ctl.refused("transfer", alice["id"], "nobody", "1")["code"] == "invalid_wallet_address"
    assert ctl.refused("balance", "ext:nobody")["code"] == "user_not_found"

    rows = ctl("transactions", "--user", "ext:chat-alice")["transactions"]
    assert [row["amount"] for row in rows] == ["25", "1", "1.5", "2.5"]
    page = ctl("transactions", "--limit", "2")
    assert len(page["transactions"]) == 2
    assert ctl("transactions", "--limit", "1", "--cursor", page["next_cursor"])["transactions"]

    check_micro_fees(ctl, alice["id"])
    report = ctl("verify")
    assert report["ok"] is True
    ctl("reconcile")
    history = ctl("history", "--user", "ext:chat-bob")["history"]
    assert [row["change"] for row in history] == ["2.5", "4", "1", "-0.5"]
    assert [row["balance_after"] for row in history] == ["2.5", "6.5", "7.5", "7"]
    exported = ctl("history", "--user", "ext:chat-bob", "--export", "bob.csv")
    with (ctl.directory / "bob.csv").open() as file:
        assert [row["change"] for row in csv.DictReader(file)] == [row["change"] for row in history]
    assert exported == {"file": "bob.csv", "rows": 4}
    assert ctl.refused("history", "--export", "bob.xlsx")["code"] == "invalid_input"
    assert ctl.refused("history", "--export", "no/such/folder.csv")["code"] == "invalid_input"
    assert key_file.read_text().strip() not in json.dumps([token, alice, paid, report, history])


def check_micro_fees(ctl: CommandLine, user_id: str) -> None:
    """Accrue two fees in commands of their own, and settle them together in another."""
    for key in ("q1", "q2"):
        fee = ctl("fees", "accrue", user_id, "search", "--key", key)
        assert (fee["amount"], fee["payment_id"]) == ("0.1", None)
    [owed] = ctl("fees", "due")["owed"]
    assert (owed["fees"], owed["amount"]) == (2, "0.2")
    settled = ctl("fees", "settle", user_id)
    [payment] = settled["payments"]
    assert (payment["type"], payment["amount"], settled["unsettled"]) == ("service_fee", "0.2", [])


def check_personal_data(ctl: CommandLine, user_id: str) -> None:
    """Hand a user's data over in a file, and erase another's once the id is said twice."""
    exported = ctl("user", "export", user_id, "--output", "dora.json")
    assert exported["rows"]["users"] == 1
    assert ctl.refused("user", "export", user_id, "--output", "dora.json")["code"] == "invalid_input"
    erased = ctl("user", "create", "--external-id", "chat-gone")["id"]
    assert ctl("user", "export", erased)["tables"]["users"][0]["external_id"] == "chat-gone"
    assert ctl.refused("user", "erase", erased, "--confirm", user_id)["code"] == "invalid_input"
    assert ctl("user", "erase", "ext:chat-gone", "--confirm", erased)["erased"]["users"] == 1
    assert ctl.refused("user", "show", "ext:chat-gone")["code"] == "user_not_found"


def test_wallets_and_users_are_managed_from_the_command_line(ctl: CommandLine) -> None:
    treasury, own, users = Keypair(), Keypair(), Keypair()
    files = {"treasury.json": treasury, "user.json": users}
    for name, keypair in files.items():
        (ctl.directory / name).write_text(json.dumps(list(bytes(keypair))))
    assert ctl("wallet", "import", "treasury.json", "--name", "treasury")["address"] == str(treasury.pubkey())
    token = ctl("token", "create", "--token-program", "token-2022")
    assert token["mint_authority"] == str(treasury.pubkey())
    assert (token["token_program"], token["name_is_on_chain"]) == ("token-2022", True)
    assert set(ctl("wallet", "list")["operator_wallets"]) == {"mint", "reward", "treasury"}

    user = make_user(ctl, "dora", "Gift")
    assert ctl("wallet", "connect", user["id"], str(own.pubkey()))["verified_at"] is None
    assert (
        ctl.refused("wallet", "connect", user["id"], str(own.pubkey()))["code"] == "wallet_already_connected"
    )
    assert ctl.refused("transfer", str(own.pubkey()), "treasury", "1")["code"] == "signature_required"
    assert ctl("wallet", "disconnect", user["id"], str(own.pubkey()))["status"] == "inactive"
    imported = ctl("wallet", "import", "user.json", "--user", "ext:chat-dora")
    assert imported["verified_at"] is not None
    assert [w["status"] for w in ctl("wallet", "list", user["id"])["wallets"]].count("active") == 2

    assert ctl("user", "set-tier", str(users.pubkey()), "Business")["tier"] == "Business"
    shown = ctl("user", "show", "ext:chat-dora")
    assert (shown["tier"], len(shown["wallets"])) == ("Business", 3)
    assert [u["id"] for u in ctl("user", "list")["users"]] == [user["id"]]
    assert ctl.refused("user", "set-tier", user["id"], "Emperor")["code"] == "invalid_input"
    check_personal_data(ctl, user["id"])
    assert ctl.refused("user", "create", "--external-id", "chat-dora")["code"] == "user_already_exists"
    assert ctl.refused("wallet", "import", "missing.json", "--name", "x")["code"] == "keystore"
    assert ctl.refused("wallet", "import", "user.json")["code"] == "invalid_input"


def test_a_localnets_ledger_is_carried_on(tmp_path: Path) -> None:
    process, first = start_localnet(tmp_path, "--ledger", "ledger")
    try:
        ctl = CommandLine(tmp_path, first["rpc_url"])
        token = ctl("token", "create")
    finally:
        assert stop(process, signal.SIGINT)[0] == 0
    process, second = start_localnet(tmp_path, "--ledger", "ledger")
    try:
        assert second["genesis_hash"] == first["genesis_hash"]
        assert CommandLine(tmp_path, second["rpc_url"])("token", "show") == token
        taken = dealctl(
            "localnet", "--rpc-port", second["rpc_url"].rsplit(":", 1)[1], "--json", directory=tmp_path
        )
        assert taken.returncode == 1
        assert json.loads(taken.stdout)["error"]["code"] == "configuration"
    finally:
        stop(process)


def test_an_interrupted_command_ends_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deal_sdk.cli", "demo", "--json", "--database-url", "sqlite:///cut.db"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment_of(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_until((tmp_path / "cut.db").exists, "the demo has begun", STOP_SECONDS)
    code, out, err = stop(process, signal.SIGINT)
    assert code == 130
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert err == "dealctl: interrupted: stopped; payments go on\n"


def test_verify_exits_1_when_a_rule_is_broken(ctl: CommandLine) -> None:
    ctl("token", "create")
    make_user(ctl, "eve")
    ctl("transfer", "treasury", "ext:chat-eve", "3", "--wait-for", "finalized")
    with sqlite3.connect(ctl.directory / "deal.db") as connection:
        connection.execute("UPDATE balance_reservations SET amount = amount + 1")
    connection.close()
    done = dealctl("--rpc-url", ctl.rpc_url, "verify", "--json", directory=ctl.directory)
    assert done.returncode == 1
    assert "not_verified" in done.stderr
    report = json.loads(done.stdout)
    assert [check["name"] for check in report["checks"] if not check["ok"]] == [
        "reservations_hold_the_amount"
    ]
