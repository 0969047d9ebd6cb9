"""Unmodified JavaScript clients, @solana/kit and @solana/web3.js 1.x, walk a story and all their methods."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.served_localnet import Addresses, served_localnet

KIT: Final = Path(__file__).parent / "kit"
WEB3JS: Final = Path(__file__).parent / "web3js"
CLIENT_SECONDS: Final = 90
NPM_SECONDS: Final = 240
SOL: Final = 1_000_000_000
MOVED: Final = 150_000_000
MINTED: Final = 500_000_000
EPOCH_SLOTS: Final = 432_000
SLOT_UPDATES: Final = {"createdBank", "frozen", "completed", "optimisticConfirmation", "root"}

REMOVED_FROM_AGAVE: Final = {
    "getConfirmedSignaturesForAddress",
    "getConfirmedSignaturesForAddress2",
    "getFeeCalculatorForBlockhash",
    "getStakeActivation",
}
"""What web3.js still offers and Agave no longer answers."""

BLOCK_NOT_AVAILABLE: Final = -32_004
NO_SNAPSHOT: Final = -32_008
METHOD_NOT_FOUND: Final = -32_601


@pytest.fixture
def server() -> Iterator[Addresses]:
    with served_localnet() as addresses:
        yield addresses


def installed(project: Path, package: str) -> Path:
    """Install a project's pinned packages unless they are there."""
    npm = shutil.which("npm")
    assert npm is not None, "npm is needed"
    lock, kept = project / "package-lock.json", project / "node_modules" / ".installed-lock.json"
    is_there = (project / "node_modules" / package).is_dir()
    if not is_there or not kept.exists() or kept.read_bytes() != lock.read_bytes():
        install = [npm, "ci", "--no-audit", "--no-fund"]
        subprocess.run(install, cwd=project, check=True, timeout=NPM_SECONDS, capture_output=True)
        shutil.copy(lock, kept)
    return project / "drive.mjs"


def driven(program: str, script: Path, *arguments: str) -> dict[str, Any]:
    """Run a script that prints one JSON document."""
    done = subprocess.run(
        [program, str(script), *arguments], capture_output=True, text=True, timeout=CLIENT_SECONDS
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_solana_kit_walks_a_story_and_all_of_its_methods(server: Addresses, node_program: str) -> None:
    script = installed(KIT, "@solana/kit")
    told = driven(node_program, script, server.rpc, server.pubsub)
    assert told["friendLamports"] == told["accountLamports"] == "1000000"
    assert told["friendTokens"] == str(MOVED)
    assert told["logsSignature"] == told["paid"]
    assert told["blockSignatures"] == [told["paid"]]
    assert told["memoLogs"] == ['Program log: Memo (len 9): "thank you"']
    assert told["instructions"] == ["createIdempotent", "transferChecked", "approveChecked", "thank you"]
    assert told["blockHasIt"] is True
    assert told["holders"] == [str(MOVED), str(MINTED - MOVED)]
    assert (told["tableAddresses"], told["loaded"]) == (3, 3)
    assert told["nonceMoved"] is True
    check_kit_sweep(told["sweep"])


def check_kit_sweep(sweep: dict[str, Any]) -> None:
    """Every method of the client was called, and what it told is true."""
    assert sweep["notCalled"] == sweep["notHeard"] == []
    # Agave has no method of two of these names yet, and no epoch has ended that could have paid a reward.
    assert sweep["refused"] == {
        "getAgGenesisCert": METHOD_NOT_FOUND,
        "getHighestSnapshotSlot": NO_SNAPSHOT,
        "getInflationReward": BLOCK_NOT_AVAILABLE,
        "getTransactionsForAddress": METHOD_NOT_FOUND,
    }
    replies = sweep["replies"]
    identity = replies["getIdentity"]["identity"]
    assert replies["getHealth"] == "ok"
    assert replies["getTokenSupply"]["value"]["amount"] == str(MINTED)
    assert replies["getSlotLeaders"] == [identity] * 3
    assert replies["getSlotLeader"] == identity
    assert list(replies["getBlockProduction"]["value"]["byIdentity"]) == [identity]
    assert replies["getLeaderSchedule"] == {}
    assert [entry["amount"] for entry in replies["getTokenLargestAccounts"]["value"]] == [
        str(MINTED - MOVED),
        str(MOVED),
    ]
    assert len(replies["getTokenAccountsByDelegate"]["value"]) == 1
    assert len(replies["getProgramAccounts"]["value"]) == 2
    supply = int(replies["getSupply"]["value"]["total"])
    largest = sum(int(entry["lamports"]) for entry in replies["getLargestAccounts"]["value"])
    # Beside the faucet there are programs, whose code is rent-exempt.
    assert largest <= supply < 500_000_100 * SOL
    assert replies["simulateTransaction"]["value"]["err"] is None
    assert replies["getEpochSchedule"]["slotsPerEpoch"] == str(EPOCH_SLOTS)
    news = sweep["news"]
    assert news["slotsUpdatesNotifications"]["type"] in SLOT_UPDATES
    assert news["blockNotifications"]["value"]["err"] is None
    assert sweep["votes"] is True


def test_web3js_walks_a_story_and_all_of_its_methods(server: Addresses, node_program: str) -> None:
    script = installed(WEB3JS, "@solana/web3.js")
    told = driven(node_program, script, server.rpc)
    assert told["accountLamports"] == SOL
    assert told["logs"]["signature"] == told["paid"]
    assert told["friendTokens"] == str(MOVED)
    assert told["memo"] == ["transferChecked", "thank you"]
    assert told["versionedSources"].count("lookupTable") == told["loaded"] == told["tableAddresses"] == 3
    assert told["blockHasIt"] is True
    assert told["holders"] == told["accounts"]
    assert told["slotUpdate"] in SLOT_UPDATES
    assert told["root"] < told["slot"]["slot"]
    check_web3js_sweep(told["sweep"])


def check_web3js_sweep(sweep: dict[str, Any]) -> None:
    """Every public method was called, and what it told is true."""
    assert sweep["notCalled"] == []
    assert set(sweep["refused"]) == {"getInflationReward", *REMOVED_FROM_AGAVE}
    assert sweep["refused"]["getInflationReward"].endswith(f"Block not available for slot {EPOCH_SLOTS}")
    assert all(sweep["refused"][name].endswith("Method not found") for name in REMOVED_FROM_AGAVE)
    replies = sweep["replies"]
    assert replies["getBalance"] == SOL
    assert replies["getTokenSupply"]["value"]["amount"] == str(MINTED)
    assert replies["getTotalSupply"] == replies["getSupply"]["value"]["total"]
    assert replies["getNonce"]["feeCalculator"] == {"lamportsPerSignature": 5_000}
    nodes = {node["pubkey"] for node in replies["getClusterNodes"]}
    assert nodes == {replies["getSlotLeader"]} == set(replies["getLeaderSchedule"])
    assert replies["getConfirmedTransaction"]["meta"]["fee"] == 5_000
    kinds = [account["data"]["program"] for account in replies["getMultipleParsedAccounts"]["value"]]
    assert kinds == ["spl-token", "address-lookup-table", "nonce"]
    assert replies["simulateTransaction"]["value"]["err"] is None


@pytest.mark.parametrize("project", [KIT, WEB3JS], ids=lambda project: project.name)
def test_the_lockfile_names_no_registry(project: Path) -> None:
    lock = json.loads((project / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
