"""What no file of the repository may hold: each rule takes text and returns what it finds."""

from __future__ import annotations

import ast
import re
from typing import Final

from tests.tidy.modules import Module

# Each pattern is written so that it does not match this file.
_MACHINE: Final = re.compile(
    "|".join(
        [
            r"(?<![\w.}])/(?:work|root)/",
            r"(?<![\w.}])/(?:home|Users)/[a-z]+/",
            r"pypi[.]org",
            r"files[.]pythonhosted[.]org",
            r"(?:index|static)[.]crates[.]io",
            r"proxy[.]golang[.]org",
        ]
    )
)
_SECRETS: Final = re.compile(
    "|".join(
        [
            r"-----BEGIN [A-Z ]*PRIVATE[ ]KEY-----",
            r"\bgh[pousr]_[A-Za-z0-9]{36}",
            r"\bAKIA[0-9A-Z]{16}\b",
            r"\bxox[abps]-[0-9A-Za-z-]{20,}",
            r"\[\s*(?:\d{1,3}\s*,\s*){63}\d{1,3}\s*\]",
        ]
    )
)
_UNFINISHED: Final = re.compile(r"\b(?:TO[D]O|FIX[M]E)\b")
_CHANGELOG_VERSION: Final = re.compile(r"^## \[?(\d+\.\d+\.\d+[^\]\s]*)", flags=re.MULTILINE)
_SCRIPT: Final = re.compile(r"\./(scripts/[\w/.-]*\w)")


def machine_details(text: str) -> list[str]:
    """Find paths of one machine and the hosts of package registries."""
    return _MACHINE.findall(text)


def secrets(text: str) -> list[str]:
    """Find private keys and access tokens, a Solana keypair file among them."""
    return [match[:24] + "..." for match in _SECRETS.findall(text)]


def unfinished_marks(text: str) -> list[str]:
    """Find marks of work left undone."""
    return _UNFINISHED.findall(text)


def prints(module: Module) -> list[str]:
    """Find a library printing; only the command line speaks to a terminal."""
    if module.stem == "__main__" or (module.package == "deal_sdk" and module.area == "cli"):
        return []
    return [
        f"{module.name}:{node.lineno}: print"
        for node in module.nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def top_version(changelog: str) -> str | None:
    """Return the newest version that a changelog tells of."""
    match = _CHANGELOG_VERSION.search(changelog)
    return match[1] if match else None


def named_scripts(text: str) -> set[str]:
    """Return the scripts of the repository that a text tells the reader to run."""
    return set(_SCRIPT.findall(text))
