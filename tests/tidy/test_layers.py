"""Imports only point down the picture, and what is kept in one place stays there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tidy import layer_rules as rules
from tests.tidy.modules import Module, read_modules

Rule = Callable[[Module], list[str]]

RULES: list[Rule] = [
    rules.broken_layers,
    rules.broken_independence,
    rules.broken_chain_boundary,
    rules.broken_translation,
    rules.broken_environment,
    rules.broken_clock,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: Rule) -> None:
    modules = read_modules()
    assert {module.package for module in modules} == {"deal_sdk", "deal_localnet", "pytest_deal_localnet"}
    assert [problem for module in modules for problem in rule(module)] == []


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (rules.broken_layers, "deal_sdk.records.tables", "from deal_sdk.chain import rpc"),
        (rules.broken_layers, "deal_sdk.records.tables", "import deal_sdk.payments.pipeline"),
        (rules.broken_layers, "deal_sdk.limits.gate", "from deal_sdk.chain.rpc import Rpc"),
        (rules.broken_layers, "deal_sdk.wallets.connect", "def f():\n    from deal_sdk import accounting"),
        (rules.broken_layers, "deal_sdk.payments.service", "from deal_sdk import Deal"),
        (rules.broken_layers, "deal_sdk.chain.rpc", "from ..payments import service"),
        (rules.broken_layers, "deal_sdk.chain.rpc", "from .. import cache"),
        (rules.broken_layers, "deal_sdk.errors", "from deal_sdk.amounts import BaseUnits"),
        (rules.broken_layers, "deal_sdk.chain.rpc", "from deal_sdk.gadgets import x"),
        (rules.broken_layers, "deal_sdk.gadgets", ""),
        (rules.broken_independence, "deal_localnet.bank", "import deal_sdk.amounts"),
        (rules.broken_independence, "pytest_deal_localnet", "from deal_sdk import Deal"),
        (rules.broken_independence, "deal_localnet.threaded", "import pytest_deal_localnet"),
        (rules.broken_independence, "deal_sdk.payments.service", "from deal_localnet import Localnet"),
        (rules.broken_independence, "deal_sdk.chain.rpc", "from deal_localnet import Localnet"),
        (rules.broken_chain_boundary, "deal_sdk.payments.service", "from solana.rpc import async_api"),
        (rules.broken_chain_boundary, "deal_localnet.bank", "import anchorpy"),
        (rules.broken_translation, "deal_sdk.records.history", "from sqlalchemy.exc import IntegrityError"),
        (rules.broken_translation, "deal_sdk.records.history", "from sqlalchemy import exc"),
        (rules.broken_translation, "deal_sdk.limits.gate", "from redis import RedisError"),
        (rules.broken_translation, "deal_sdk.limits.gate", "import redis.exceptions"),
        (rules.broken_translation, "deal_sdk.chain.rpc", "import aiohttp\nx = aiohttp.ClientError"),
        (rules.broken_translation, "deal_sdk.chain.rpc", "import sqlite3\nx = sqlite3.OperationalError"),
        (rules.broken_environment, "deal_sdk.cli.main", "import os\nx = os.environ['A']"),
        (rules.broken_environment, "deal_sdk.cli.main", "from os import environ"),
        (rules.broken_environment, "deal_localnet.config", "import os\nx = os.getenv('A')"),
        (rules.broken_clock, "deal_sdk.limits.gate", "import time\nx = time.time()"),
        (rules.broken_clock, "deal_sdk.limits.gate", "from datetime import datetime\nx = datetime.now()"),
        (rules.broken_clock, "deal_sdk.limits.gate", "from time import monotonic"),
    ],
)
def test_a_breach_is_noticed(rule: Rule, name: str, text: str) -> None:
    assert rule(Module(name, text)) != []


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (rules.broken_layers, "deal_sdk.payments.service", "from deal_sdk.wallets import WalletManager"),
        (rules.broken_layers, "deal_sdk.chain.rpc", "from . import sender\nfrom ..errors import ChainError"),
        (rules.broken_layers, "deal_sdk.amounts", "from deal_sdk.errors import InvalidAmountError"),
        (rules.broken_layers, "deal_sdk.cli.main", "from deal_sdk import Deal"),
        (rules.broken_independence, "deal_sdk.chain.transport", "from deal_localnet import Localnet"),
        (rules.broken_chain_boundary, "deal_sdk.chain.program", "import anchorpy"),
        (rules.broken_translation, "deal_sdk.records._errors", "from sqlalchemy.exc import DBAPIError"),
        (rules.broken_translation, "deal_sdk.records.tables", "from deal_sdk.errors import TokenError"),
        (rules.broken_environment, "deal_sdk.settings", "import os\nx = os.environ"),
        (rules.broken_clock, "deal_sdk.clock", "import time\nx = time.monotonic()"),
        (rules.broken_clock, "deal_sdk.limits.gate", "x = self._clock.now()"),
    ],
)
def test_what_is_allowed_passes(rule: Rule, name: str, text: str) -> None:
    assert rule(Module(name, text)) == []


def test_relative_imports_of_a_package_resolve_from_itself() -> None:
    package = Module("deal_sdk.chain", "from . import rpc\nfrom ..cache import x", is_package=True)
    assert rules.broken_layers(package) == ["deal_sdk.chain:2: chain must not import cache"]
