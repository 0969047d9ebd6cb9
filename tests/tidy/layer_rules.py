"""Who may import what: each rule takes a module and returns what it breaks, in words."""

from __future__ import annotations

from typing import Final

from tests.tidy.modules import Import, Module

# From the bottom up; an area imports only from lines below its own, never from beside it.
LINES: Final = (
    ("_version", "errors"),
    ("amounts", "settings", "clock", "tls"),
    ("metrics", "events", "batching", "flights", "garbage", "threads"),
    ("records",),
    ("limits", "chain"),
    ("cache", "webhooks"),
    ("accounting", "wallets"),
    ("payments",),
    ("monitor",),
    ("client",),
    ("",),
    ("dashboard", "testing"),
    ("cli",),
    ("__main__",),
)
LEVEL: Final = {area: level for level, areas in enumerate(LINES) for area in areas}

CHAIN_ONLY: Final = {"solana", "anchorpy"}
TRANSLATED: Final = {
    *("sqlalchemy", "redis", "aiohttp", "solana", "anchorpy"),
    *("asyncpg", "aiosqlite", "sqlite3", "fakeredis", "psycopg"),
}
"""Packages whose exceptions a caller never sees."""
_LOCALNET_TRANSPORT: Final = "deal_sdk.chain.transport"
_ABOVE: Final = {
    "deal_localnet": {"deal_sdk", "pytest_deal_localnet"},
    "pytest_deal_localnet": {"deal_sdk"},
    "deal_sdk": {"pytest_deal_localnet"},
}
"""What a package never imports."""
_EXCEPTION_MODULES: Final = {"exc", "exceptions", "client_exceptions", "http_exceptions"}
_WALL_CLOCK: Final = {
    *("time.time", "time.monotonic", "time.perf_counter", "time.sleep"),
    *("datetime.now", "datetime.utcnow", "datetime.datetime.now", "date.today"),
}


def broken_layers(module: Module) -> list[str]:
    """Find imports inside deal_sdk that point up or sideways."""
    if module.package != "deal_sdk":
        return []
    if module.area not in LEVEL:
        return [f"{module.name}: the area {module.area} is not in the picture"]
    found = []
    for item in module.imports:
        for area in _imported_areas(item):
            if area == module.area or LEVEL.get(area, len(LINES)) < LEVEL[module.area]:
                continue
            found.append(f"{module.name}:{item.line}: {module.area or 'deal_sdk'} must not import {area}")
    return found


def _imported_areas(item: Import) -> list[str]:
    if item.root != "deal_sdk":
        return []
    parts = item.module.split(".")
    if len(parts) > 1:
        return [parts[1]]
    # `from deal_sdk import chain` takes an area, `from deal_sdk import Deal` the package itself.
    return [item.name if item.name in LEVEL else ""]


def broken_independence(module: Module) -> list[str]:
    """Find imports across the border between the package and the embedded validator."""
    found = []
    for item in module.imports:
        if item.root in _ABOVE.get(module.package, ()):
            found.append(f"{module.name}:{item.line}: {module.package} must not import {item.root}")
        if module.package == "deal_sdk" and item.root == "deal_localnet" and not _may_use_localnet(module):
            found.append(
                f"{module.name}:{item.line}: only chain's localnet transport and the command line"
                " import deal_localnet"
            )
    return found


def _may_use_localnet(module: Module) -> bool:
    return module.area == "cli" or module.name == _LOCALNET_TRANSPORT


def broken_chain_boundary(module: Module) -> list[str]:
    """Find solana and anchorpy outside the one area that keeps them."""
    if module.package == "deal_sdk" and module.area == "chain":
        return []
    return [
        f"{module.name}:{item.line}: only chain imports {item.root}"
        for item in module.imports
        if item.root in CHAIN_ONLY
    ]


def broken_translation(module: Module) -> list[str]:
    """Find foreign exceptions outside the `_errors` modules, where they are translated."""
    if module.package != "deal_sdk" or module.stem == "_errors":
        return []
    found = [
        f"{module.name}:{item.line}: {item.module}.{item.name} belongs in _errors"
        for item in module.imports
        if item.root in TRANSLATED and _names_an_exception(f"{item.module}.{item.name}")
    ]
    found += [
        f"{module.name}:{line}: {dotted} belongs in _errors"
        for dotted, line in module.dotted_names
        if dotted.split(".")[0] in TRANSLATED and _names_an_exception(dotted)
    ]
    return found


def _names_an_exception(dotted: str) -> bool:
    parts = dotted.rstrip(".").split(".")
    return bool(_EXCEPTION_MODULES & set(parts)) or parts[-1].endswith(("Error", "Exception", "Errors"))


def broken_environment(module: Module) -> list[str]:
    """Find readings of the environment outside settings."""
    if module.name == "deal_sdk.settings":
        return []
    return [
        f"{module.name}:{line}: {dotted} belongs in settings"
        for dotted, line in _dotted_uses(module)
        if dotted in {"os.environ", "os.getenv", "os.environb"}
    ]


def broken_clock(module: Module) -> list[str]:
    """Find deal_sdk reading the machine's time anywhere but in clock."""
    if module.package != "deal_sdk" or module.area == "clock":
        return []
    return [
        f"{module.name}:{line}: {dotted} belongs in clock"
        for dotted, line in _dotted_uses(module)
        if dotted in _WALL_CLOCK
    ]


def _dotted_uses(module: Module) -> list[tuple[str, int]]:
    imported = [(f"{item.module}.{item.name}", item.line) for item in module.imports]
    return [*module.dotted_names, *imported]
