"""Every check that an auditor looks for is named in the reference, with tests that exist and refuse by it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import orjson

from deal_sdk.chain.allowance import idl_json

HERE: Final = Path(__file__).parent
REFERENCE: Final = HERE.parents[2] / "docs" / "reference" / "deal-allowance.md"
CHECKS: Final = frozenset(
    {
        "signer",
        "account owner",
        "addresses, seeds and bump",
        "mint and token program",
        "transfer-fee and hook mints",
        "destination",
        "arithmetic",
        "period roll-over",
        "expiry",
        "pause",
        "closed and reopened",
        "aliasing",
    }
)


def sources() -> list[str]:
    """Return the text of every test module of the program, this one left out."""
    return [path.read_text() for path in sorted(HERE.glob("test_*.py")) if path != Path(__file__)]


def sources_by_test() -> dict[str, str]:
    """Return by its name the source of every test function, with what it is parametrized by."""
    functions = {
        node.name: _source(text, node)
        for text in sources()
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef)
    }
    found = {name: text for name, text in functions.items() if name.startswith("test_")}
    # Cases that a function of its own lists belong to the test that takes them.
    lists = {name: text for name, text in functions.items() if name not in found}
    return {
        name: text + "".join(cases for function, cases in lists.items() if f"{function}(" in text)
        for name, text in found.items()
    }


def _source(text: str, node: ast.FunctionDef) -> str:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])


def table() -> dict[str, tuple[list[str], list[str]]]:
    """Return the reference's table: by check, its refusals and its tests."""
    section = REFERENCE.read_text().split("\n## Checks\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([^|`]+?) \| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    return {
        check: (re.findall(r"`(\w+)`", refusals), re.findall(r"`(\w+)`", tests))
        for check, refusals, tests in rows
        if "`" in tests
    }


def test_every_check_has_sources_by_test() -> None:
    found, known = table(), sources_by_test()
    assert found.keys() == CHECKS
    for check, (refusals, tests) in found.items():
        assert tests, check
        assert not set(tests) - known.keys(), check
        told = "".join(known[name] for name in tests)
        assert [refusal for refusal in refusals if f'"{refusal}"' not in told] == [], check


def test_every_refusal_is_produced_by_a_test() -> None:
    told = "".join(sources())
    names = [error["name"] for error in orjson.loads(idl_json())["errors"]]
    assert [name for name in names if f'"{name}"' not in told] == []
    listed = {refusal for refusals, _ in table().values() for refusal in refusals}
    assert listed <= set(names)
