"""`dealctl webhooks` on a database of its own, without any chain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deal_sdk.cli.application import run

URL = "https://hooks.example.com/deal"


class Shell:
    """Runs commands on one database and reads their documents."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._database = f"sqlite+aiosqlite:///{directory / 'deal.db'}"
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        assert run(["webhooks", *arguments, "--database-url", self._database, "--json"]) == code
        return json.loads(self._capsys.readouterr().out)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


def test_an_endpoint_from_its_first_day_to_its_last(shell: Shell) -> None:
    added = shell("add", URL, "--event", "payment.*", "--event", "wallet:*", "--description", "the shop")
    assert added["patterns"] == ["payment.*", "wallet:*"]
    assert added["secret"].startswith("whsec_")
    (listed,) = shell("list")["endpoints"]
    assert (listed["url"], listed["description"], listed["state"]) == (URL, "the shop", "enabled")
    assert "secret" not in listed
    assert shell("disable", added["id"], "--reason", "moving")["state_reason"] == "moving"
    assert shell("enable", added["id"])["state"] == "enabled"
    rotated = shell("rotate-secret", added["id"], "--overlap-seconds", "60")
    assert rotated["secret"] != added["secret"]
    assert shell("deliveries") == {"deliveries": [], "next_cursor": None}
    assert shell("replay", "--all") == {"replayed": 0}
    assert shell("remove", added["id"])["state"] == "removed"
    assert shell("list") == {"endpoints": []}
    assert shell("enable", added["id"], code=1)["error"]["code"] == "webhook_not_found"


def test_a_secret_of_the_receivers_comes_from_a_file_and_is_not_shown(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("the receiver's own secret\n", encoding="ascii")
    added = shell("add", URL, "--secret-file", str(file))
    assert added["secret"] is None
    missing = shell("rotate-secret", added["id"], "--secret-file", str(tmp_path / "none"), code=1)
    assert missing["error"]["code"] == "invalid_input"


@pytest.mark.parametrize(
    "arguments",
    [("add", "http://example.com"), ("replay",), ("replay", "1", "--all"), ("deliveries", "--state", "odd")],
)
def test_what_cannot_be_meant_is_refused(shell: Shell, arguments: tuple[str, ...]) -> None:
    assert shell(*arguments, code=1)["error"]["code"] == "invalid_input"


def test_people_are_shown_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}"
    assert run(["webhooks", "add", URL, "--database-url", database]) == 0
    assert "whsec_" in capsys.readouterr().out
    assert run(["webhooks", "list", "--database-url", database]) == 0
    assert URL in capsys.readouterr().out
    assert run(["webhooks", "deliveries", "--database-url", database]) == 0
