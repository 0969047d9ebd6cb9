"""Modules and functions stay short, named, documented, and money stays whole."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent

import pytest

from tests.tidy import shape_rules as rules
from tests.tidy.modules import Module, read_modules

Rule = Callable[[Module], list[str]]

RULES: list[Rule] = [
    rules.too_long_module,
    rules.too_long_functions,
    rules.empty_name,
    rules.missing_docstrings,
    rules.floats_in_money,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: Rule) -> None:
    assert [problem for module in read_modules() for problem in rule(module)] == []


def test_functions_are_short_by_habit() -> None:
    assert rules.too_long_medians(read_modules()) == []


def function_of(lines: int, name: str = "f") -> str:
    """Write a function of so many lines, its first one included."""
    return f"def {name}():\n" + "    x = 1\n" * (lines - 1)


def sample(text: str, name: str = "deal_sdk.payments.sample") -> Module:
    return Module(name, text)


DOCUMENTED = '"""Sample."""\n'


@pytest.mark.parametrize(
    ("rule", "module"),
    [
        (rules.too_long_module, sample("x = 1\n" * 401)),
        (rules.too_long_functions, sample(function_of(71))),
        (rules.too_long_functions, sample("class A:\n" + indent(function_of(71), "    "))),
        (rules.empty_name, sample("", "deal_sdk.chain.utils")),
        (rules.empty_name, sample("", "deal_sdk.common.rpc")),
        (rules.empty_name, sample("", "deal_sdk.chain._helpers")),
        (rules.missing_docstrings, sample("x = 1")),
        (rules.missing_docstrings, sample(DOCUMENTED + "def f(): pass")),
        (rules.missing_docstrings, sample(DOCUMENTED + "async def f(): pass")),
        (rules.missing_docstrings, sample(DOCUMENTED + "class A:\n    x = 1")),
        (rules.missing_docstrings, sample(DOCUMENTED + 'class A:\n    """A."""\n    def f(self): pass')),
        (rules.floats_in_money, sample("x = float(y)")),
        (rules.floats_in_money, sample("x = 0.5")),
        (rules.floats_in_money, sample("def f(amount: float): pass")),
        (rules.floats_in_money, sample("def f() -> float | None: pass")),
        (rules.floats_in_money, sample("half = amount / 2")),
        (rules.floats_in_money, sample("amount /= 2")),
        (rules.floats_in_money, sample("class A:\n    fee: float")),
        (rules.floats_in_money, sample("def age_seconds():\n    fee = amount / 2\n    return 1.0")),
        (rules.floats_in_money, sample("def f(wait_seconds: float, fee=0.5): pass")),
        (rules.floats_in_money, sample("x = 0.5", "deal_sdk.amounts")),
    ],
)
def test_a_breach_is_noticed(rule: Rule, module: Module) -> None:
    assert rule(module) != []


@pytest.mark.parametrize(
    ("rule", "module"),
    [
        (rules.too_long_module, sample("x = 1\n" * 400)),
        (rules.too_long_functions, sample(function_of(70))),
        (rules.empty_name, sample("", "deal_sdk.chain.commonwealth")),
        (rules.missing_docstrings, sample(DOCUMENTED + "def _f(): pass\nclass _A:\n    def f(self): pass")),
        (rules.missing_docstrings, sample(DOCUMENTED + 'def f():\n    """F."""\n    def g(): pass')),
        (rules.floats_in_money, sample("wait_seconds = 0.5\nWAIT_SECONDS: Final = 0.5")),
        (rules.floats_in_money, sample("def f(wait_seconds: float = 0.5): pass")),
        (rules.floats_in_money, sample("def f(seconds: float): pass")),
        (rules.floats_in_money, sample("def f(a, b=1, *, wait_seconds=0.5): pass")),
        (rules.floats_in_money, sample("wait(timeout_seconds=elapsed / 2)")),
        (rules.floats_in_money, sample("if age_seconds > 0.5: pass")),
        (rules.floats_in_money, sample("def age_seconds() -> float:\n    return 0.5")),
        (rules.floats_in_money, sample("here = Path(__file__).parent / 'lua'")),
        (rules.floats_in_money, sample("half = amount // 2")),
        (rules.floats_in_money, sample("x = 0.5", "deal_sdk.chain.rpc")),
    ],
)
def test_what_is_allowed_passes(rule: Rule, module: Module) -> None:
    assert rule(module) == []


def test_long_functions_of_one_area_are_not_hidden_by_another() -> None:
    short = [sample(function_of(3, f"f{i}"), f"deal_sdk.chain.m{i}") for i in range(9)]
    long = sample(function_of(11), "deal_sdk.wallets.connect")
    assert rules.too_long_medians(short) == []
    assert rules.too_long_medians([*short, long]) == ["deal_sdk.wallets: median of 1 functions is 11 lines"]


def test_a_docstring_does_not_make_a_function_long_by_habit() -> None:
    text = 'def f():\n    """Do.\n\n' + "    More.\n" * 12 + '    """\n    return 1\n'
    assert rules.too_long_medians([sample(text)]) == []
