"""Options, exit codes, and what stands on stdout and stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from deal_sdk.cli import application, commands
from deal_sdk.cli.application import run
from deal_sdk.cli.output import Reply
from deal_sdk.cli.session import DEFAULT_DATABASE_URL, DEFAULT_RPC_URL, Connection, Session
from deal_sdk.errors import ConfigurationError, InsufficientBalanceError, RpcUnavailableError

EMBEDDED: Final = ("--rpc-url", "localnet://", "--database-url", "sqlite+aiosqlite://")
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run one command, "act", whose body the test gives."""

    def run_body(body: Callable[[Session], Any], *arguments: str) -> int:
        async def act(session: Session) -> Reply:
            """Act."""
            reply: Reply = body(session)
            return reply

        def build() -> typer.Typer:
            made = typer.Typer()
            commands.remember_common_options(made)
            commands.command(made, "act")(act)
            return made

        monkeypatch.setattr(application, "build", build)
        return run(arguments)

    return run_body


def raising(error: BaseException) -> Callable[[Session], Reply]:
    def body(session: Session) -> Reply:
        raise error

    return body


def test_a_result_is_exactly_one_document(capsys: Captured) -> None:
    assert run(["token", "show", *EMBEDDED, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["supply"] == "1000000000"
    assert captured.err == ""


def test_people_get_a_table(capsys: Captured) -> None:
    assert run(["token", "show", *EMBEDDED]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Token")
    assert "1000000000" in out
    assert "only in the settings" in out


def test_options_may_stand_before_the_command(capsys: Captured) -> None:
    assert run(["--json", *EMBEDDED, "price", "show", "search"]) == 0
    assert json.loads(capsys.readouterr().out) == {"service_type": "search", "price": "0.1"}


def test_an_option_after_the_command_wins(capsys: Captured) -> None:
    assert (
        run(["--database-url", "mysql://no", "db", "current", "--database-url", "sqlite+aiosqlite://"]) == 1
    )
    assert "schema: the database has no schema yet" in capsys.readouterr().err


def test_a_refusal_is_one_document_and_its_code_on_stderr(program: Any, capsys: Captured) -> None:
    error = InsufficientBalanceError(required="2", available="1", deficit="1")
    assert program(raising(error), "act", "--json") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"error": error.to_dict()}
    assert captured.err.startswith("dealctl: insufficient_balance: ")


def test_a_refusal_without_json_leaves_stdout_empty(program: Any, capsys: Captured) -> None:
    assert program(raising(ConfigurationError("no [bold]mint[/bold]")), "act") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "dealctl: configuration: no [bold]mint[/bold]\n"


def test_a_defect_is_an_internal_error_and_no_traceback_on_stdout(program: Any, capsys: Captured) -> None:
    assert program(raising(ZeroDivisionError("oops")), "act", "--json") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"] == {"code": "internal", "message": "ZeroDivisionError: oops"}


def test_an_interrupt_exits_130(program: Any, capsys: Captured) -> None:
    assert program(raising(KeyboardInterrupt()), "act", "--json") == 130
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["code"] == "interrupted"
    assert captured.err == "dealctl: interrupted: stopped; payments go on\n"


def test_a_chain_that_is_not_there_says_how_to_start_one(program: Any, capsys: Captured) -> None:
    assert program(raising(RpcUnavailableError("nobody answers")), "act") == 1
    assert "dealctl localnet" in capsys.readouterr().err
    elsewhere = ("--rpc-url", "https://elsewhere.example")
    assert program(raising(RpcUnavailableError("nobody answers")), "act", *elsewhere) == 1
    assert "dealctl localnet" not in capsys.readouterr().err


def test_a_result_that_is_bad_news_keeps_its_document(program: Any, capsys: Captured) -> None:
    reply = Reply({"ok": False}, ["not ok"], exit_code=1, failure=("not_verified", "broken: supply"))
    assert program(lambda session: reply, "act", "--json") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"ok": False}
    assert captured.err == "dealctl: not_verified: broken: supply\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["transfer", "treasury"],
        ["transfer", "a", "b", "1", "--wait-for", "tomorrow"],
        ["transfer", "a", "b", "1", "--max-purchases", "0"],
        ["history", "--limit", "0"],
        ["token", "create", "--token-program", "other"],
        ["localnet", "--rpc-url", "http://127.0.0.1:1"],
        ["price", "set", "goal", "1", "--valid-from", "yesterday"],
    ],
)
def test_wrong_usage_exits_2(arguments: list[str], capsys: Captured, tmp_path: Path) -> None:
    assert run([*arguments, "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["code"] == "usage"
    assert captured.err.startswith("Usage: dealctl")
    assert run(arguments) == 2
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == [], "nothing was opened"


@pytest.mark.parametrize("arguments", [["--help"], ["token", "--help"], ["demo", "--help"]])
def test_help_is_no_error(arguments: list[str], capsys: Captured) -> None:
    assert run(arguments) == 0
    assert "Usage: dealctl" in capsys.readouterr().out


def test_no_command_at_all_is_wrong_usage() -> None:
    assert run([]) == 2


@pytest.mark.parametrize("url", ["ftp://chain", "localhost:8899"])
def test_a_url_that_cannot_be_is_refused_without_being_repeated(url: str, capsys: Captured) -> None:
    assert run(["token", "show", "--rpc-url", url]) == 1
    err = capsys.readouterr().err
    assert err.startswith("dealctl: configuration: ")
    assert url not in err


def session(**named: str) -> Session:
    return Session(output=None, connection=Connection(**named))  # type: ignore[arg-type]


def test_separate_commands_default_to_a_local_chain_and_file() -> None:
    defaults = {"rpc_url": DEFAULT_RPC_URL, "database_url": DEFAULT_DATABASE_URL}
    assert session().overrides() == defaults
    assert session().embedded_overrides() == {}


def test_the_environment_wins_over_the_defaults_and_options_over_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOLANA_RPC_URL", "https://cluster.example")
    assert session().overrides() == {"database_url": DEFAULT_DATABASE_URL}
    named = session(rpc_url="localnet://").overrides()
    assert named == {"rpc_url": "localnet://", "database_url": DEFAULT_DATABASE_URL}


def test_the_schema_is_upgraded_and_shown(capsys: Captured) -> None:
    assert run(["db", "upgrade", "--json"]) == 0
    upgraded = json.loads(capsys.readouterr().out)
    assert upgraded["revision"] == upgraded["newest"]
    assert run(["db", "current", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == upgraded


def test_payments_are_paused_with_a_reason_and_let_go(capsys: Captured) -> None:
    assert run(["db", "upgrade", "--json"]) == 0
    capsys.readouterr()
    assert run(["pause", "rotating keys", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"paused": True, "reason": "rotating keys"}
    assert run(["unpause", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"paused": False}
    assert run(["pause", " ", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "invalid_input"
