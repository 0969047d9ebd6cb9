"""Programs that a chain begins with run, also after it was kept; what is none is refused."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from solders.account import Account
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_localnet import (
    AccountFileError,
    LedgerError,
    Localnet,
    LocalnetConfig,
    ProgramFileError,
    read_program,
)
from deal_localnet.addresses import BPF_LOADER_2, BPF_LOADER_UPGRADEABLE, TOKEN_2022_PROGRAM
from deal_localnet.engine import UnloadableProgramError
from deal_sdk.chain import allowance
from tests.unit.localnet.support import Driver

ELF = Path(allowance.__file__).with_name("deal_allowance.so")
ADDRESS = Keypair().pubkey()
UNKNOWN_INSTRUCTION = {"InstructionError": [0, {"Custom": 6000}]}
"""The program's own verdict: it was loaded and ran."""
JUNK = Account(10**9, b"\x7fELF and no more", BPF_LOADER_2, True, 0)


def config(**more: Any) -> LocalnetConfig:
    return LocalnetConfig(auto_advance=False, **more)


def upgradeable() -> tuple[tuple[Pubkey, Account], ...]:
    """Return a program of the upgradeable loader as a cluster's two accounts, without an authority."""
    code = Pubkey.find_program_address([bytes(ADDRESS)], BPF_LOADER_UPGRADEABLE)[0]
    head = (3).to_bytes(4, "little") + bytes(8) + b"\0" + bytes(32)
    return (
        (ADDRESS, Account(10**9, (2).to_bytes(4, "little") + bytes(code), BPF_LOADER_UPGRADEABLE, True, 0)),
        (code, Account(10**10, head + ELF.read_bytes(), BPF_LOADER_UPGRADEABLE, False, 0)),
    )


async def outcome(localnet: Localnet, program: Pubkey = ADDRESS) -> Any:
    """Call a program with nothing that it knows, and return the transaction's error."""
    driver = Driver(localnet)
    await driver.fund()
    signature = await driver.run(Instruction(program, b"\xff", []), skipPreflight=True)
    return (await driver.status(signature))["err"]


@pytest.mark.parametrize("kind", ["file", "accounts"])
@pytest.mark.parametrize("kept_in", ["snapshot", "ledger"])
async def test_a_program_runs_and_is_kept(tmp_path: Path, kind: str, kept_in: str) -> None:
    given: dict[str, Any] = {"accounts": upgradeable()}
    if kind == "file":
        given = {"programs": (read_program(str(ADDRESS), ELF),)}
    snapshot, ledger = tmp_path / "chain.snapshot", tmp_path / "ledger"
    kept: dict[str, Any] = {"ledger_directory": ledger} if kept_in == "ledger" else {}
    async with Localnet(config(**given, **kept)) as localnet:
        assert await outcome(localnet) == UNKNOWN_INSTRUCTION
        localnet.save_snapshot(snapshot)
    async with Localnet(config(**(kept or {"snapshot_file": snapshot}))) as localnet:
        assert await outcome(localnet) == UNKNOWN_INSTRUCTION


async def test_another_build_of_a_program_that_every_chain_has_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "chain.snapshot"
    async with Localnet(config(programs=((TOKEN_2022_PROGRAM, ELF.read_bytes()),))) as localnet:
        localnet.save_snapshot(path)
    assert path.stat().st_size < 2 * len(ELF.read_bytes()), "the other programs are not in it"
    async with Localnet(config(snapshot_file=path)) as localnet:
        assert await outcome(localnet, TOKEN_2022_PROGRAM) == UNKNOWN_INSTRUCTION


async def test_a_snapshot_takes_a_program_away_and_gives_it_back() -> None:
    async with Localnet(config(programs=(read_program(str(ADDRESS), ELF),))) as localnet:
        snapshot = localnet.snapshot()
        localnet.set_account(ADDRESS, None)
        assert await outcome(localnet) != UNKNOWN_INSTRUCTION
        localnet.restore(snapshot)
        assert await outcome(localnet) == UNKNOWN_INSTRUCTION


async def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProgramFileError, match=str(ADDRESS)):
        await Localnet(config(programs=((ADDRESS, JUNK.data),))).start()
    for accounts in (((ADDRESS, JUNK),), upgradeable()[:1]):
        with pytest.raises(AccountFileError, match=str(ADDRESS)):
            await Localnet(config(accounts=accounts)).start()
    async with Localnet(config()) as localnet:
        before = localnet.bank.accounts.current(ADDRESS)
        with pytest.raises(UnloadableProgramError, match=str(ADDRESS)):
            localnet.set_account(ADDRESS, JUNK)
        assert localnet.bank.accounts.current(ADDRESS) == before
        assert await Driver(localnet).call("getHealth") == "ok"


async def test_a_kept_program_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    harmless = Account(10**9, JUNK.data, BPF_LOADER_2, False, 0)
    async with Localnet(config(accounts=((ADDRESS, harmless),))) as localnet:
        localnet.save_snapshot(tmp_path / "ledger.sqlite3")
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as connection:
        connection.execute("UPDATE accounts SET executable = 1 WHERE address = ?", (bytes(ADDRESS),))
    connection.close()
    for kept in ({"snapshot_file": tmp_path / "ledger.sqlite3"}, {"ledger_directory": tmp_path}):
        with pytest.raises(LedgerError, match=str(ADDRESS)):
            await Localnet(config(**kept)).start()
