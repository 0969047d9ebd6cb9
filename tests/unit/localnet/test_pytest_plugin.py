"""The plugin in suites of their own, with no other plugin and with pytest-asyncio."""

import json
import os
import subprocess
import sys
from pathlib import Path

import deal_localnet
import deal_sdk
from tests.docs.documents import DOCS, Document
from tests.unit.localnet.test_account_files import DUMP

SOURCES = os.pathsep.join(str(Path(package.__file__).parents[1]) for package in (deal_localnet, deal_sdk))
SUITE_SECONDS = 60
SUITE = """
import json
import urllib.request

import pytest
from solders.keypair import Keypair

FRIEND = Keypair().pubkey()
GENESIS = set()


def called(chain, method, *params):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(chain.rpc_url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.loads(reply.read())["result"]


@pytest.mark.parametrize("turn", range(3))
def test_each_test_has_a_chain_of_its_own(deal_localnet, turn):
    assert called(deal_localnet, "getTransactionCount", {"commitment": "processed"}) == 0
    deal_localnet.airdrop(FRIEND, 10**9)
    GENESIS.add(deal_localnet.genesis_hash)
    assert len(GENESIS) == turn + 1


@pytest.mark.deal_localnet(auto_advance=False, slots_per_epoch=64)
def test_a_marker_changes_the_settings(deal_localnet):
    assert called(deal_localnet, "getEpochSchedule")["slotsPerEpoch"] == 64
    assert called(deal_localnet, "localnet_advanceSlots", 3) == 4


def test_accounts_of_the_configuration_are_there(deal_localnet):
    mint = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
    assert called(deal_localnet, "getTokenSupply", mint)["value"]["decimals"] == 6


class TestOverridden:
    @pytest.fixture
    def deal_localnet_settings(self, deal_localnet_settings):
        return {**deal_localnet_settings, "faucet_lamports": 5, "auto_advance": False}

    def test_a_project_may_override_the_settings(self, deal_localnet):
        assert deal_localnet.call(lambda chain: chain.config.faucet_lamports) == 5
"""
PAGE = DOCS / "how-to" / "test-with-localnet.md"
CONFIGURATION = """
[pytest]
addopts = --strict-markers --strict-config
filterwarnings =
    error
    ignore::DeprecationWarning:anchorpy
    ignore::DeprecationWarning:pyheck
    ignore::DeprecationWarning:websockets.legacy
    ignore:websockets.*deprecated:DeprecationWarning
    ignore:pkg_resources is deprecated:UserWarning
deal_localnet_account_dir = accounts
deal_localnet_slot_milliseconds = 400
"""


def suite(folder: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    (folder / "accounts").mkdir()
    (folder / "accounts" / "mint.json").write_text(json.dumps(DUMP))
    (folder / "pytest.ini").write_text(CONFIGURATION)
    environment = {**os.environ, "PYTHONPATH": SOURCES, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pytest_deal_localnet", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *flags], cwd=folder, env=environment, capture_output=True, text=True, timeout=SUITE_SECONDS
    )


def test_a_synchronous_suite_gets_a_fresh_chain_for_each_test(tmp_path: Path) -> None:
    (tmp_path / "test_chain.py").write_text(SUITE)
    ended = suite(tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "6 passed" in ended.stdout


def test_the_suite_that_the_guide_shows_passes(tmp_path: Path) -> None:
    """One of its tests is asynchronous and pays with deal_sdk, the other is not."""
    shown = next(block for block in Document(PAGE, PAGE.read_text()).blocks() if "def test_" in block.text)
    (tmp_path / "test_chain.py").write_text(shown.text)
    scope = "asyncio_default_fixture_loop_scope=function"
    ended = suite(tmp_path, "-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto", "-o", scope)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout


def test_a_wrong_setting_ends_in_a_word_about_it(tmp_path: Path) -> None:
    (tmp_path / "test_chain.py").write_text("def test_it(deal_localnet): ...")
    ended = suite(tmp_path, "-o", "deal_localnet_bpf_program=nobody none.so")
    assert ended.returncode != 0
    assert "deal_localnet: " in ended.stdout
    assert "none.so" in ended.stdout


def test_who_does_not_use_it_does_not_pay_for_it() -> None:
    heavy = {"deal_localnet", "solders", "aiohttp"}
    code = f"import sys, pytest_deal_localnet; sys.exit(bool({heavy!r} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": SOURCES}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
