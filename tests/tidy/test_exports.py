"""Each package's door shows all of its public names, in order, and says what the area is for."""

from __future__ import annotations

import importlib

import pytest

from tests.tidy.export_rules import broken_exports, exported, unsaid_ownership
from tests.tidy.modules import Module, read_modules

DOORS = [
    module
    for module in read_modules()
    if module.is_package and module.name.count(".") <= 1 and "migrations" not in module.name
]
AREAS = [module for module in DOORS if module.area]


def test_every_package_and_every_area_have_a_door() -> None:
    folders = {m.name.rpartition(".")[0] for m in read_modules() if m.name.count(".") == 2}
    assert {"deal_sdk", "deal_localnet", "pytest_deal_localnet"} | folders <= {door.name for door in DOORS}


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_all_is_sorted_and_complete(door: Module) -> None:
    assert broken_exports(door) == []


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_every_name_can_be_imported(door: Module) -> None:
    package = importlib.import_module(door.name)
    assert [name for name in exported(door) or [] if not hasattr(package, name)] == []


@pytest.mark.parametrize("door", [*AREAS], ids=lambda door: door.name)
def test_an_area_says_what_it_owns_and_never_does(door: Module) -> None:
    assert unsaid_ownership(door) == []


def test_the_package_shows_a_quick_start_at_its_door() -> None:
    (door,) = (door for door in DOORS if door.name == "deal_sdk")
    assert "Deal.open()" in door.text


def sample(text: str) -> Module:
    return Module("deal_sdk.chain", text, is_package=True)


@pytest.mark.parametrize(
    "text",
    [
        "from deal_sdk.chain.rpc import Rpc",
        "from deal_sdk.chain.rpc import Rpc, Reply\n__all__ = ['Rpc', 'Reply']",
        "from deal_sdk.chain.rpc import Rpc, Reply\n__all__ = ['Reply']",
        "from deal_sdk.chain.rpc import Rpc\n__all__ = ['Rpc', 'Rpc']",
        "def f(): pass\n__all__ = []",
    ],
)
def test_a_broken_all_is_noticed(text: str) -> None:
    assert broken_exports(sample(text)) != []


def test_a_sound_all_passes() -> None:
    text = "from deal_sdk.chain.rpc import LIMIT, Rpc, call, _own\n__all__ = ['LIMIT', 'Rpc', 'call']"
    assert broken_exports(sample(text)) == []


@pytest.mark.parametrize("text", ['"""Owns all."""', '"""Never sends."""', ""])
def test_an_unsaid_purpose_is_noticed(text: str) -> None:
    assert unsaid_ownership(sample(text)) != []


def test_a_said_purpose_passes() -> None:
    assert unsaid_ownership(sample('"""Owns the wire. Never signs."""')) == []
