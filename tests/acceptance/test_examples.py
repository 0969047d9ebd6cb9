"""The example scripts against solana-test-validator, run as a reader of the documentation runs them."""

from __future__ import annotations

import csv
import sqlite3
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.acceptance.command_line import REPOSITORY, dealctl_json, run

EXAMPLES = REPOSITORY / "scripts/examples"
PASSPHRASE = {"DEAL_KEYSTORE_PASSPHRASE": "an example's passphrase"}
PAYOUTS = EXAMPLES / "payouts.csv"


def example(
    name: str, *arguments: str, directory: Path, rpc_url: str, more: dict[str, str] = PASSPHRASE
) -> CompletedProcess[str]:
    command = [str(EXAMPLES / name), *arguments, "--rpc-url", rpc_url, "--database-url", "sqlite:///deal.db"]
    return run(command, directory, more)


def succeeded(done: CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_examples_create_a_token_and_pay_each_row_once(tmp_path: Path, validator_url: str) -> None:
    where = {"directory": tmp_path, "rpc_url": validator_url}
    created = succeeded(example("create_token.py", **where))
    assert "supply    1000000000.00000000" in created
    assert succeeded(example("create_token.py", **where)) == created, "a second run finds the same token"

    rows = list(csv.DictReader(PAYOUTS.read_text().splitlines()))
    one = ("treasury", rows[0]["to"], "2.5", "--reason", "order", "--key", "order-4711")
    paid = succeeded(example("pay.py", *one, **where))
    assert "status     confirmed" in paid or "status     finalized" in paid
    again = succeeded(example("pay.py", *one, "--final", **where))
    assert "status     finalized" in again
    assert again.splitlines()[::2] == paid.splitlines()[::2], "the same payment and signature"

    first = succeeded(example("pay_from_csv.py", str(PAYOUTS), "--batch", "november", "--final", **where))
    second = succeeded(example("pay_from_csv.py", str(PAYOUTS), "--batch", "november", **where))
    assert first == second, "a second run finds every row paid"
    assert [line.split(",")[:2] for line in first.splitlines()] == [[r["key"], "finalized"] for r in rows]
    held = {
        row["to"]: dealctl_json(
            "balance", row["to"], "--rpc-url", validator_url, directory=tmp_path, more=PASSPHRASE
        )["balance"]
        for row in rows
    }
    assert held == {row["to"]: row["amount"] for row in rows} | {rows[0]["to"]: "15"}
    verify = dealctl_json("verify", "--rpc-url", validator_url, directory=tmp_path, more=PASSPHRASE)
    assert verify["ok"] is True


def test_an_unfinished_run_is_carried_on(tmp_path: Path, validator_url: str) -> None:
    where = {"directory": tmp_path, "rpc_url": validator_url}
    succeeded(example("create_token.py", **where))
    lines = PAYOUTS.read_text().splitlines()
    (tmp_path / "part.csv").write_text("\n".join(lines[:3]) + "\n")
    part = succeeded(example("pay_from_csv.py", "part.csv", "--batch", "november", **where))
    whole = succeeded(example("pay_from_csv.py", str(PAYOUTS), "--batch", "november", **where))
    ids = [line.split(",")[2] for line in whole.splitlines()]
    assert ids[:2] == [line.split(",")[2] for line in part.splitlines()]
    with sqlite3.connect(tmp_path / "deal.db") as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM token_transactions WHERE idempotency_key LIKE 'november:%'"
        ).fetchone()
    connection.close()
    assert count == len(lines) - 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("key,to,amount\n1,x,1\n", "has no column reason"),
        ("key,to,amount,reason\n1,x,1,\n2,x,0.000000001,\n", "line 3: amount"),
        ("key,to,amount,reason\n1,x,1,\n1,x,2,\n", "lines 2 and 3 have the same key"),
        ("key,to,amount,reason\n,x,1,\n", "line 2 has no key"),
    ],
)
def test_a_malformed_file_is_refused_before_anything_is_opened(
    tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "bad.csv").write_text(text)
    unreachable = "http://127.0.0.1:9"
    done = example("pay_from_csv.py", "bad.csv", "--batch", "b", directory=tmp_path, rpc_url=unreachable)
    assert done.returncode == 1
    assert problem in done.stderr
    assert done.stderr.startswith("invalid_")
    assert not (tmp_path / "deal.db").exists()


def test_an_example_without_a_passphrase_says_so(tmp_path: Path, validator_url: str) -> None:
    done = example("create_token.py", directory=tmp_path, rpc_url=validator_url, more={})
    assert done.returncode == 1
    assert done.stderr.startswith("keystore: ")
