"""Documents, tables and progress."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from deal_sdk.cli.output import Output, Reply, amount_text, short, shown, table


def test_a_document_knows_uuids_times_and_amounts(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"id": UUID(int=1), "at": datetime(2026, 1, 1, tzinfo=UTC), "amount": Decimal("1.50")}
    assert Output(as_json=True).reply(Reply(values, ["not shown"])) == 0
    assert json.loads(capsys.readouterr().out) == {
        "id": "00000000-0000-0000-0000-000000000001",
        "at": "2026-01-01T00:00:00+00:00",
        "amount": "1.50",
    }


def test_what_is_written_in_a_table_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).reply(Reply({}, [table("T", ["reason", "amount>"], [["[red]rent[/red]", "1"]])]))
    assert "[red]rent[/red]" in capsys.readouterr().out


def test_a_table_keeps_to_a_hundred_columns(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).reply(Reply({}, [table("T", ["a", "b"], [["x" * 90, "y" * 90]])]))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert sum(line.count("y") for line in lines) == 90, "nothing is cut off"


def test_what_was_shown_already_is_not_shown_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert Output(as_json=True).reply(Reply({"a": 1}, is_shown=True)) == 0
    assert capsys.readouterr().out == ""


def test_progress_is_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with Output(as_json=True).progress(2) as steps:
        steps.step("one")
        steps.step("two")
    assert capsys.readouterr() == ("", "")


def test_progress_is_on_stderr_of_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with Output(as_json=True).progress(2) as steps:
        steps.step("counting")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "counting" in captured.err


@pytest.mark.parametrize(
    ("amount", "text"), [("100", "100"), ("24.90000000", "24.9"), ("0E-8", "0"), ("0.00000001", "0.00000001")]
)
def test_amounts_lose_no_digit_that_says_something(amount: str, text: str) -> None:
    assert amount_text(Decimal(amount)) == text


def test_values_for_people() -> None:
    assert [shown(value) for value in (None, True, False, 3)] == ["-", "yes", "no", "3"]
    assert short(None) == "-"
    assert short("abcdefghijkl") == "abcdefghijkl"
    assert short("abcdefghijklm") == "abcdefghijkl…"
