"""`dealctl dashboard token` on a database of its own, and what `dealctl dashboard` refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deal_sdk.cli.application import run


class Shell:
    """Runs commands on one database and reads their documents."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.database = f"sqlite+aiosqlite:///{directory / 'deal.db'}"
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        assert run(["dashboard", *arguments, "--json"]) == code
        return json.loads(self._capsys.readouterr().out)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


def test_a_token_from_its_first_day_to_its_last(shell: Shell) -> None:
    # The database may be named before the command as well as after it.
    made = shell("--database-url", shell.database, "token", "new", "ann")
    assert (made["name"], made["role"], made["revoked_at"]) == ("ann", "viewer", None)
    assert made["token"].startswith("deal_dash_")
    there = ("--database-url", shell.database)
    assert shell("token", "new", "bob", "--operator", *there)["role"] == "operator"
    listed = shell("token", "list", *there)["tokens"]
    assert {one["name"]: one["role"] for one in listed} == {"ann": "viewer", "bob": "operator"}
    assert "deal_dash_" not in json.dumps(listed)
    assert shell("token", "revoke", "ann", *there)["revoked_at"]
    assert shell("token", "revoke", "ann", *there, code=1)["error"]["code"] == "access_token_not_found"
    assert shell("token", "new", "ann", *there, code=1)["error"]["code"] == "invalid_input"


def test_tls_needs_both_files(shell: Shell, tmp_path: Path) -> None:
    refused = shell("--tls-key", str(tmp_path / "key.pem"), code=1)
    assert refused["error"]["code"] == "configuration"
