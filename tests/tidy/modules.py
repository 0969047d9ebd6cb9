"""The repository's Python modules as data, for rules that read source and never run it."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
PACKAGES: Final = {
    "deal_sdk": REPOSITORY / "sdk",
    "deal_localnet": REPOSITORY / "localnet",
    "pytest_deal_localnet": REPOSITORY / "localnet",
}
_IGNORED_WITHOUT_GIT: Final = {".git", ".venv", "node_modules", "target", "__pycache__", ".test-output"}


@dataclass(frozen=True)
class Module:
    """One module: its dotted name and its source."""

    name: str
    text: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        """Return the parsed source."""
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Return every node of the tree; a dozen rules walk it."""
        return tuple(ast.walk(self.tree))

    @cached_property
    def imports(self) -> list[Import]:
        """Return every import, those inside functions included, relative ones resolved."""
        return list(_imports_of(self))

    @cached_property
    def dotted_names(self) -> list[tuple[str, int]]:
        """Return every `a.b.c` that names stand for alone, with its line."""
        attributes = [node for node in self.nodes if isinstance(node, ast.Attribute)]
        return [(dotted, node.lineno) for node in attributes if (dotted := _dotted(node)) is not None]

    @property
    def package(self) -> str:
        """Return the top-level package, for example "deal_sdk"."""
        return self.name.split(".")[0]

    @property
    def area(self) -> str:
        """Return the part below the top-level package, for example "chain"; "" for the package itself."""
        return ".".join(self.name.split(".")[1:2])

    @property
    def stem(self) -> str:
        """Return the last part of the name."""
        return self.name.split(".")[-1]


@dataclass(frozen=True)
class Import:
    """One imported name: the module, the name taken from it ("" for the module itself), the line."""

    module: str
    name: str
    line: int

    @property
    def root(self) -> str:
        """Return the top-level package that is imported."""
        return self.module.split(".")[0]


@cache
def read_modules() -> tuple[Module, ...]:
    """Return every module of the packages, read and parsed once."""
    return tuple(
        module for package, source in PACKAGES.items() for module in _read_package(source / package, source)
    )


def _read_package(directory: Path, source: Path) -> Iterator[Module]:
    for path in sorted(directory.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        yield Module(name, path.read_text(), is_package)


def _imports_of(module: Module) -> Iterator[Import]:
    for node in module.nodes:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, "", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = _resolve(module, node)
            yield from (Import(source, alias.name, node.lineno) for alias in node.names)


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if not isinstance(node, ast.Attribute):
        return None
    before = _dotted(node.value)
    return None if before is None else f"{before}.{node.attr}"


def _resolve(module: Module, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + (1 if module.is_package else 0)]
    return ".".join([*parts, *([node.module] if node.module else [])])


@cache
def repository_files() -> tuple[Path, ...]:
    """Return the files that are or would be committed, as paths relative to the repository."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode == 0:
        paths = [Path(name) for name in listing.stdout.split("\0") if name]
    else:
        paths = [path.relative_to(REPOSITORY) for path in REPOSITORY.rglob("*") if path.is_file()]
        paths = [path for path in paths if not _IGNORED_WITHOUT_GIT & set(path.parts)]
    return tuple(sorted(path for path in paths if (REPOSITORY / path).is_file()))


def text_of(path: Path) -> str | None:
    """Return a file's text; None for one that is not text."""
    try:
        return (REPOSITORY / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
