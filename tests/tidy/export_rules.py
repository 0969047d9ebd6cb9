"""What a package shows at its door: each rule returns what it finds broken, in words."""

from __future__ import annotations

import ast

from tests.tidy.modules import Module


def exported(module: Module) -> list[str] | None:
    """Return `__all__` as it is written; None where there is none."""
    for node in module.tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            assert isinstance(node, ast.Assign)
            value = ast.literal_eval(node.value)
            return [str(name) for name in value]
    return None


def broken_exports(module: Module) -> list[str]:
    """Find an `__all__` that is missing, unsorted, repeated or not all that the module takes in."""
    names = exported(module)
    if names is None:
        return [f"{module.name}: no __all__"]
    found = []
    if names != sorted(set(names), key=_sort_key):
        found.append(f"{module.name}: __all__ is not sorted")
    hidden = _public_names(module) - set(names)
    if hidden:
        found.append(f"{module.name}: __all__ lacks {', '.join(sorted(hidden))}")
    return found


def unsaid_ownership(module: Module) -> list[str]:
    """Find an area's door that does not say what the area owns and what it never does."""
    docstring = (ast.get_docstring(module.tree) or "").lower()
    return [
        f"{module.name}: the docstring does not say what it {word}"
        for word in ("owns", "never")
        if word not in docstring
    ]


def _sort_key(name: str) -> tuple[int, str]:
    # Constants, then classes, then the rest, as ruff sorts them.
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


def _public_names(module: Module) -> set[str]:
    names: set[str] = set()
    for node in module.tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == module.package:
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
    return {name for name in names if not name.startswith("_")}
