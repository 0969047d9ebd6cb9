"""The repository as a whole: no machine's details, no secrets, nothing unfinished, papers in order."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from deal_sdk._version import __version__
from deal_sdk.records.schema import HEAD_REVISION
from tests.tidy import repository_rules as rules
from tests.tidy.modules import REPOSITORY, Module, read_modules, repository_files, text_of

TextRule = Callable[[str], list[str]]

TEXTS = {path: text for path in repository_files() if (text := text_of(path)) is not None}
# Another package's lock names the registries that it was resolved from.
LOCKS = {"Cargo.lock", "package-lock.json"}


@pytest.mark.parametrize("rule", [rules.secrets, rules.unfinished_marks], ids=lambda rule: rule.__name__)
def test_no_file_holds_what_none_may(rule: TextRule) -> None:
    assert len(TEXTS) > 20
    assert {str(path): found for path, text in TEXTS.items() if (found := rule(text))} == {}


def test_no_file_knows_one_machine_or_registry() -> None:
    texts = {path: text for path, text in TEXTS.items() if path.name not in LOCKS}
    found = {str(path): details for path, text in texts.items() if (details := rules.machine_details(text))}
    assert found == {}


def test_only_the_continuous_integration_looks_outside_the_repository() -> None:
    outside = re.compile(r"\.\./shared|/shared/bin")
    holders = {str(path) for path, text in TEXTS.items() if outside.search(text)}
    assert holders - {"tests/tidy/test_repository.py"} == {".ci/run"}


def test_no_library_prints() -> None:
    assert [problem for module in read_modules() for problem in rules.prints(module)] == []


def test_the_changelogs_top_version_is_the_packages() -> None:
    assert rules.top_version((REPOSITORY / "CHANGELOG.md").read_text()) == __version__


def test_the_readmes_commands_exist() -> None:
    named = rules.named_scripts((REPOSITORY / "README.md").read_text())
    assert {"scripts/demo", "scripts/test"} <= named
    assert [name for name in sorted(named) if not os.access(REPOSITORY / name, os.X_OK)] == []


def test_every_folder_of_tests_is_a_suite() -> None:
    script = (REPOSITORY / "scripts/test").read_text()
    suites = set(re.findall(r"(\w+):\d+", re.findall(r'^SUITES="(.*)"', script, flags=re.MULTILINE)[0]))
    folders = {
        path.parts[1]
        for path in repository_files()
        if path.parts[0] == "tests" and len(path.parts) > 2 and path.name.startswith("test_")
    }
    assert folders <= suites, "a folder whose tests ./scripts/test never runs"
    loose = [p for p in repository_files() if p.parent == Path("tests") and p.name.startswith("test_")]
    assert loose == [], "a test outside every suite"


# Each is put together here, so that this file does not hold it.
BAD_TEXTS: list[tuple[TextRule, str]] = [
    (rules.machine_details, "cd /" + "work/main"),
    (rules.machine_details, "PATH=/" + "root/bin"),
    (rules.machine_details, "'/" + "home/ann/x'"),
    (rules.machine_details, "https://pypi" + ".org/simple"),
    (rules.machine_details, "https://files.python" + "hosted.org"),
    (rules.secrets, "-----BEGIN RSA PRIVATE" + " KEY-----"),
    (rules.secrets, "gh" + "p_" + "a" * 36),
    (rules.secrets, "[" + ",".join(["7"] * 64) + "]"),
    (rules.unfinished_marks, "# TO" + "DO: later"),
    (rules.unfinished_marks, "# FIX" + "ME"),
]


@pytest.mark.parametrize(("rule", "text"), BAD_TEXTS)
def test_a_breach_is_noticed(rule: TextRule, text: str) -> None:
    assert rule(text) != []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (rules.machine_details, "the frame" + "work/ and docs/root/index, https://host/network/x"),
        (rules.secrets, "[1, 2, 3] and -----BEGIN PUBLIC KEY-----"),
        (rules.unfinished_marks, "mastodons, fixmeter"),
    ],
)
def test_what_is_allowed_passes(rule: TextRule, text: str) -> None:
    assert rule(text) == []


def test_a_printing_library_is_noticed() -> None:
    assert rules.prints(Module("deal_sdk.chain.rpc", "def f():\n    print('x')")) != []
    assert rules.prints(Module("deal_sdk.cli.main", "print('x')")) == []
    assert rules.prints(Module("deal_sdk.chain.rpc", "'''print(x)'''\nconsole.print('x')")) == []


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("# Changelog\n\n## [1.2.3] - 2026-01-01\n\n## [1.2.2]\n", "1.2.3"),
        ("## 0.1.0\n", "0.1.0"),
        ("## [Unreleased]\n", None),
        ("nothing", None),
    ],
)
def test_the_top_version_is_read(text: str, version: str | None) -> None:
    assert rules.top_version(text) == version


def test_named_scripts_are_read() -> None:
    text = "Run `./scripts/demo`, then ./scripts/bench/pay.py."
    assert rules.named_scripts(text) == {"scripts/demo", "scripts/bench/pay.py"}


def test_migrations_are_numbered_in_one_line() -> None:
    folder = REPOSITORY / "sdk/deal_sdk/records/migrations/versions"
    found = {}
    for path in sorted(folder.glob("[0-9]*.py")):
        text = path.read_text()
        own, before = (
            re.search(rf'^{name}(?:: .+)? = "?(\w+)"?$', text, re.M) for name in ("revision", "down_revision")
        )
        assert own is not None
        assert before is not None
        found[path.name] = (own[1], before[1])
    numbers = [f"{number:04}" for number in range(1, len(found) + 1)]
    assert list(found.values()) == list(zip(numbers, ["None", *numbers], strict=False))
    assert [name[:4] for name in found] == numbers
    assert numbers[-1] == HEAD_REVISION
