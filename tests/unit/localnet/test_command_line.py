import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair

from deal_localnet import (
    FaultKind,
    Localnet,
    LocalnetConfig,
    LocalnetServer,
    OptionError,
    SetupError,
    methods_testing,
)
from deal_localnet.__main__ import main
from deal_localnet.command_line import Invocation, RaisingParser, parser, read_invocation, unheeded
from deal_sdk.cli.application import run
from tests.docs.documents import DOCS
from tests.unit.localnet.test_account_files import DUMP, MINT, written

OTHER = str(Keypair().pubkey())
# What `anchor test` and the Makefiles of programs pass to solana-test-validator.
FOREIGN = "--gossip-port 8001 --faucet-port 9900 --limit-ledger-size 50 --dynamic-port-range 8000-8020 --log"


def invoked(*flags: str) -> Invocation:
    return read_invocation(parser(RaisingParser).parse_args(flags))


def test_without_flags_it_is_what_it_was() -> None:
    plain = invoked()
    assert plain.config == LocalnetConfig()
    assert (plain.host, plain.rpc_port, plain.warp_slot, plain.is_quiet) == ("127.0.0.1", 8899, None, False)
    assert (plain.notes, plain.genesis_flags) == ((), ())


def test_flags_of_the_real_validator_mean_what_they_mean_there(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    found = invoked(
        *("--bind-address", "0.0.0.0", "--rpc-port", "9000", "-q", "-r", "-l", str(ledger)),
        *("--slots-per-epoch", "64", "--ticks-per-slot", "8", "--faucet-sol", "1.5", "-w", "100"),
    )
    assert (found.host, found.rpc_port, found.warp_slot, found.is_quiet) == ("0.0.0.0", 9000, 100, True)
    config = found.config
    assert (config.ledger_directory, config.reset_ledger, config.slots_per_epoch) == (ledger, True, 64)
    assert (config.slot_seconds, config.faucet_lamports) == (0.05, 1_500_000_000)
    assert invoked("--slot-milliseconds", "20").config.slot_seconds == 0.02


def test_accounts_and_programs_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "tests" / "fixtures"
    folder.mkdir(parents=True)
    written(folder / "mint.json", DUMP)
    (tmp_path / "program.so").write_bytes(b"\x7fELF")
    key = Keypair()
    written(tmp_path / "key.json", list(bytes(key)))
    found = invoked(
        *("--account", OTHER, "mint.json", "--account", "-", str(folder / "mint.json")),
        *("--account-dir", str(folder), "--mint", "key.json", "--bpf-program", "key.json", "program.so"),
    )
    assert [str(address) for address, _ in found.config.accounts] == [OTHER, MINT, MINT, str(key.pubkey())]
    assert found.config.accounts[3][1].lamports == 500_000_000 * 10**9
    assert found.config.programs == ((key.pubkey(), b"\x7fELF"),)
    assert found.genesis_flags == ("--account", "--account-dir", "--bpf-program", "--mint")


def test_flags_without_a_meaning_are_named() -> None:
    notes = invoked(*FOREIGN.split()).notes
    assert len(notes) == 5
    assert all("has no meaning" in note for note in notes)


@pytest.mark.parametrize("flags", [["--clone", MINT], ["-c", MINT], ["-u", "m"], ["--url=devnet"]])
def test_another_cluster_is_never_asked(flags: list[str]) -> None:
    with pytest.raises(OptionError, match="solana account"):
        invoked(*flags)


@pytest.mark.parametrize(
    "flags",
    [
        ["--slots-per-epoch", "31"],
        ["--slot-milliseconds", "0"],
        ["--slot-milliseconds", "nan"],
        ["--ticks-per-slot", "0"],
        ["--ticks-per-slot", "8", "--slot-milliseconds", "20"],
        ["--finality-slots", "-1"],
        ["--faucet-sol", "-1"],
        ["--faucet-sol", "1e12"],
        ["--faucet-sol", "nan"],
        ["--max-lag-slots", "-1"],
        ["--rpc-port", "65535"],
        ["--rpc-port", "-2"],
        ["--rpc-port", "http"],
        ["--mint", "nobody"],
        ["--account", MINT],
        ["--account", MINT, "none.json"],
        ["--account-dir", "none"],
        ["--bpf-program", MINT, "none.so"],
        ["--ledger", "a", "--snapshot", "b"],
        ["--no-such-flag"],
        ["--led", "a"],
        ["stray"],
    ],
)
def test_a_flag_that_no_chain_could_run_with_is_refused(flags: list[str]) -> None:
    with pytest.raises(SetupError):
        invoked(*flags)


def test_the_reference_names_every_flag_method_and_fault() -> None:
    page = (DOCS / "reference" / "localnet.md").read_text()
    flags = [
        option
        for action in parser()._actions
        if action.help != argparse.SUPPRESS and action.dest != "help"
        for option in action.option_strings
    ]
    assert len(flags) > 20
    wanted = [*flags, *methods_testing.table.methods, *(kind.value for kind in FaultKind)]
    assert [name for name in wanted if f"`{name}" not in page] == []


def test_flags_for_a_beginning_are_not_heeded_later() -> None:
    flags = invoked("--mint", MINT)
    assert unheeded(flags, is_resumed=False) is None
    assert unheeded(invoked("--quiet"), is_resumed=True) is None
    said = unheeded(flags, is_resumed=True)
    assert said is not None
    assert said.startswith("--mint: not heeded")


async def test_accounts_and_programs_of_a_beginning_are_there_after_a_restart(tmp_path: Path) -> None:
    named = invoked("--account", "-", str(written(tmp_path / "mint.json", DUMP))).config.accounts
    config: dict[str, Any] = {"auto_advance": False, "ledger_directory": tmp_path / "ledger"}
    for accounts in (named, ()):
        async with Localnet(LocalnetConfig(**config, accounts=accounts)) as localnet:
            found = localnet.bank.accounts.current(named[0][0])
            assert found is not None
            assert found.lamports == named[0][1].lamports
            assert localnet.is_resumed is (accounts == ())
            localnet.advance_slots()


def refusal(*flags: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(flags) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_the_command_names_what_it_cannot_run_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "error: localnet_account_file: " in refusal("--account", "-", "none.json", capsys=capsys)
    assert "error: localnet_program_file: " in refusal("--bpf-program", MINT, "none.so", capsys=capsys)
    assert "error: localnet_option: " in refusal("--slots-per-epoch", "1", capsys=capsys)
    (tmp_path / "ledger.sqlite3").write_bytes(b"no database" * 100)
    assert "error: localnet_ledger: " in refusal("--ledger", str(tmp_path), capsys=capsys)
    snapshot = ("--snapshot", str(tmp_path / "none"))
    assert "error: localnet_ledger: " in refusal(*snapshot, capsys=capsys)
    with pytest.raises(SystemExit, match="2"):
        main(["--no-such-flag"])


async def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    async with (
        Localnet(LocalnetConfig(auto_advance=False)) as localnet,
        LocalnetServer(localnet, rpc_port=0) as server,
    ):
        port = server.rpc_url.rpartition(":")[2]
        command = [sys.executable, "-m", "deal_localnet", "--rpc-port", port]
        environment = {"PYTHONPATH": ":".join(sys.path)}
        ended = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, env=environment, check=False
        )
    assert ended.returncode == 1
    assert "error: localnet_serving: " in ended.stderr


def test_dealctl_takes_the_same_flags(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["localnet", "--account", "-", str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err
    assert run(["localnet", "--clone", MINT, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"
