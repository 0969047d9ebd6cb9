"""The size and form of modules and functions: each rule returns what it finds broken, in words."""

from __future__ import annotations

import ast
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from tests.tidy.modules import Module

MAX_MODULE_LINES: Final = 400
MAX_FUNCTION_LINES: Final = 70
MAX_MEDIAN_FUNCTION_LINES: Final = 10
EMPTY_NAMES: Final = {"utils", "util", "helpers", "helper", "common", "misc", "shared", "tools", "stuff"}
MONEY_AREAS: Final = {"amounts", "accounting", "payments", "records"}
_TIME_SUFFIX: Final = "_seconds"

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Scope: TypeAlias = ast.Module | ast.ClassDef | Function


def too_long_module(module: Module) -> list[str]:
    """Find a module that is too long to be read in one go."""
    lines = len(module.text.splitlines())
    return [f"{module.name}: {lines} lines"] if lines > MAX_MODULE_LINES else []


def too_long_functions(module: Module) -> list[str]:
    """Find functions that do not fit a screen, their docstring included."""
    return [
        f"{module.name}:{function.lineno}: {function.name} has {lines} lines"
        for function in _functions(module)
        if (lines := _lines(function)) > MAX_FUNCTION_LINES
    ]


def too_long_medians(modules: Iterable[Module]) -> list[str]:
    """Find packages and areas whose functions are long by habit; docstrings are not counted.

    Migrations are left out: each function lists a table's columns, and is never edited again.
    """
    lengths: dict[str, list[int]] = defaultdict(list)
    for module in modules:
        if ".migrations." in module.name:
            continue
        for function in _functions(module):
            lines = _lines(function) - _docstring_lines(function)
            for part in {module.package, _door_of(module)}:
                lengths[part].append(lines)
    return [
        f"{part}: median of {len(found)} functions is {statistics.median(found):g} lines"
        for part, found in sorted(lengths.items())
        if statistics.median(found) > MAX_MEDIAN_FUNCTION_LINES
    ]


def empty_name(module: Module) -> list[str]:
    """Find a module whose name says nothing of what it owns."""
    parts = {part.strip("_") for part in module.name.split(".")}
    return [f"{module.name}: the name says nothing"] if parts & EMPTY_NAMES else []


def missing_docstrings(module: Module) -> list[str]:
    """Find public modules, classes and functions without a docstring."""
    found = [] if ast.get_docstring(module.tree) else [f"{module.name}: no docstring"]
    return found + [
        f"{module.name}:{node.lineno}: {node.name} has no docstring"
        for node in _public(module.tree)
        if not ast.get_docstring(node)
    ]


def floats_in_money(module: Module) -> list[str]:
    """Find binary fractions where money is handled: literals, annotations, `float()` and `/`.

    Only durations may be fractions, and they say so: their names are `seconds` or end with `_seconds`.
    """
    if module.package != "deal_sdk" or module.area not in MONEY_AREAS:
        return []
    return [
        f"{module.name}:{line}: {what}"
        for line, what in sorted(set(_float_uses(module.tree, in_seconds=False)))
    ]


def _door_of(module: Module) -> str:
    return module.name if module.is_package else module.name.rpartition(".")[0]


def _functions(module: Module) -> Iterator[Function]:
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _lines(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _docstring_lines(function: Function) -> int:
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is None:
        return 0
    return (first.end_lineno or first.lineno) - first.lineno + 1


def _public(scope: Scope) -> Iterator[ast.ClassDef | Function]:
    for node in scope.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") or _is_overload_or_setter(node):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            yield from _public(node)


def _is_overload_or_setter(node: ast.ClassDef | Function) -> bool:
    return any(ast.unparse(item).endswith(("overload", ".setter")) for item in node.decorator_list)


def _float_uses(node: ast.AST, *, in_seconds: bool) -> Iterator[tuple[int, str]]:
    in_seconds = in_seconds or _speaks_of_seconds(node)
    if not in_seconds:
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield line, f"the float {node.value}"
        elif isinstance(node, ast.Name) and node.id == "float":
            yield line, "float"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and _divides_numbers(node):
            yield line, "true division"
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and in_seconds:
        # The name speaks for what the function returns, not for everything inside it.
        yield from _in_function_of_seconds(node)
        return
    if isinstance(node, ast.arguments):
        yield from _in_parameters(node)
        return
    for child in ast.iter_child_nodes(node):
        yield from _float_uses(child, in_seconds=in_seconds and not isinstance(node, ast.ClassDef))


def _in_function_of_seconds(function: Function) -> Iterator[tuple[int, str]]:
    for child in (function.args, *function.body):
        returns = isinstance(child, ast.Return)
        yield from _float_uses(child, in_seconds=returns)


def _in_parameters(parameters: ast.arguments) -> Iterator[tuple[int, str]]:
    positional = [*parameters.posonlyargs, *parameters.args]
    paired = zip(reversed(positional), reversed(parameters.defaults), strict=False)
    for parameter, default in [*paired, *zip(parameters.kwonlyargs, parameters.kw_defaults, strict=True)]:
        if default is not None:
            yield from _float_uses(default, in_seconds=_speaks_of_seconds(parameter))
    for parameter in [*positional, *parameters.kwonlyargs]:
        yield from _float_uses(parameter, in_seconds=False)


def _speaks_of_seconds(node: ast.AST) -> bool:
    """Say whether the names around a number make it a duration."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            names = [node.name]
        case ast.Assign():
            names = [ast.unparse(target) for target in node.targets]
        case ast.AnnAssign() | ast.AugAssign():
            names = [ast.unparse(node.target)]
        case ast.keyword() | ast.arg():
            names = [node.arg or ""]
        case ast.BinOp():
            names = [ast.unparse(node.left), ast.unparse(node.right)]
        case ast.Compare():
            names = [ast.unparse(item) for item in (node.left, *node.comparators)]
        case _:
            return False
    return any(f"_{name.lower()}".endswith(_TIME_SUFFIX) for name in names)


def _divides_numbers(node: ast.BinOp | ast.AugAssign) -> bool:
    if not isinstance(node.op, ast.Div):
        return False
    # A path and a text: pathlib's slash.
    right = node.right if isinstance(node, ast.BinOp) else node.value
    return not (isinstance(right, ast.Constant) and isinstance(right.value, str))
