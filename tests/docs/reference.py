"""Writes the reference pages that the code itself knows: settings, errors, tables, commands.

`./scripts/docs` writes them; a test compares them, so that a page can never tell of another version.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Annotated, Any, Final, get_args, get_origin

import sqlalchemy as sa
from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from sqlalchemy.dialects import registry
from typer.main import get_command

import deal_sdk
from deal_sdk.cli.application import build
from deal_sdk.errors import TokenError
from deal_sdk.records.tables import metadata
from deal_sdk.settings import Settings
from tests.docs.dashboard_reference import dashboard_page
from tests.docs.documents import DOCS, REPOSITORY
from tests.docs.localnet_differences import localnet_differences_page
from tests.docs.localnet_reference import localnet_methods_page

REFERENCE: Final = DOCS / "reference"
_POSTGRESQL: Final[sa.Dialect] = registry.load("postgresql")()
_SQLITE: Final[sa.Dialect] = registry.load("sqlite")()
_SECTION: Final = re.compile(r"^# --- (.+) ---$")
_ENTRY: Final = re.compile(r"^# ([A-Z][A-Z_]*)=")


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
        sys.stdout.write(f"docs/reference/{name}\n")


# Settings: names and defaults from the class, sections and meanings from .env.example.


@dataclass(frozen=True, slots=True)
class _Explained:
    section: str
    meaning: str


def settings_page() -> str:
    """Return the page of settings."""
    explained = _explanations(REPOSITORY / ".env.example")
    order = list(explained)
    variables_of = {name: _variables(name, field) for name, field in Settings.model_fields.items()}
    lines = [
        "# Settings",
        "",
        "Each setting is an argument of `Deal.open()`, or a variable of the environment. An argument wins;",
        "then `DEAL_*`, then the widely used name, then, for Redis, `REDIS_HOST`, `REDIS_PORT` and",
        "`REDIS_PASSWORD`. An empty variable counts as not set. Durations are in seconds. `.env.example` is",
        "the same list as a file to start from; the package itself reads no file.",
    ]
    section = ""
    for name, variables in sorted(variables_of.items(), key=lambda item: order.index(item[1][0])):
        field, known = Settings.model_fields[name], explained[variables[0]]
        if known.section != section:
            section = known.section
            lines += ["", f"## {section}", "", *_head("setting", "variable", "type", "default", "meaning")]
        shown = ", ".join(f"`{variable}`" for variable in variables)
        cells = (f"`{name}`", shown, _type_name(field), _default(field), known.meaning)
        lines.append(_row(*cells))
    return _page(lines)


def _explanations(path: Path) -> dict[str, _Explained]:
    """Read what `.env.example` says above each variable."""
    found: dict[str, _Explained] = {}
    section, said, is_said = "", list[str](), False
    for line in path.read_text(encoding="utf-8").splitlines():
        if heading := _SECTION.match(line):
            section = heading[1]
        elif entry := _ENTRY.match(line):
            # What is said once above several variables holds for all of them.
            found[entry[1]] = _Explained(section, " ".join(said))
            is_said = True
        elif line.startswith("# "):
            said = [*([] if is_said else said), line.removeprefix("# ")]
            is_said = False
        else:
            said = []
    return found


def _variables(name: str, field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [f"DEAL_{name.upper()}"]


def _type_name(field: FieldInfo) -> str:
    annotation, metadata = _without_none(field)
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = re.sub(r"\b(?:typing|pydantic\.types|deal_sdk\.settings)\.", "", text)
    if text.startswith("dict["):
        return "JSON"
    choices = re.fullmatch(r"Literal\[(.+)\]", text)
    if choices:
        return " or ".join(f"`{choice}`" for choice in re.findall(r"'([^']+)'", choices[1]))
    return f"{text.replace('SecretStr', 'secret').replace(' | None', '')}{_bounds(metadata)}"


def _without_none(field: FieldInfo) -> tuple[Any, Sequence[Any]]:
    """Return a setting's type and bounds, where it may be left out without that it may."""
    choices = [choice for choice in get_args(field.annotation) if choice is not NoneType]
    if len(choices) != 1 or get_origin(choices[0]) is not Annotated:
        return field.annotation, field.metadata
    bounded = FieldInfo.from_annotation(choices[0])
    return bounded.annotation, bounded.metadata


def _bounds(metadata: Sequence[Any]) -> str:
    limits = {
        name: getattr(item, name) for item in metadata for name in ("gt", "ge", "le") if hasattr(item, name)
    }
    if not limits:
        return ""
    low = f"above {limits['gt']:g}" if "gt" in limits else f"{limits['ge']:,}"
    return f", {low} to {limits['le']:,}"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, dict):
        return ", ".join(
            f"{tier} {limits.per_minute} a minute, {limits.burst_per_second} at once"
            for tier, limits in value.items()
        )
    return "none" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


# Errors: the tree of classes.


def errors_page() -> str:
    """Return the page of errors."""
    lines = [
        "# Errors",
        "",
        "Every error is a `TokenError`. `code` is stable and is what `dealctl` prints; `to_dict()` gives",
        "code, message, `retryable`, `outcome` and the facts behind the error as plain data.",
        "",
        "`retryable` says that the same call may succeed later. `outcome` says what is known of the money:",
        "",
        "- `not_sent`: no signed transaction left, so nothing can land.",
        "- `unknown`: it may have landed or may still land. Repeat it only with the same idempotency key.",
        "- `failed_on_chain`: proven; it landed as failed, or it can never land.",
        "",
        "An error is caught by its own class or by any class above it, which the indentation shows. Classes",
        "marked * are exported by `deal_sdk` itself; all of them are in `deal_sdk.errors`.",
        "",
        *_head("class", "code", "retryable", "outcome", "meaning"),
    ]
    for depth, error in _tree(TokenError, 0):
        name = "&nbsp;" * (4 * depth) + f"`{error.__name__}`"
        exported = " *" if error.__name__ in deal_sdk.__all__ else ""
        retryable = "yes" if error.retryable else "no"
        meaning = inspect.cleandoc(error.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        lines.append(_row(name + exported, f"`{error.code}`", retryable, f"`{error.outcome}`", meaning))
    return _page(lines)


def _tree(error: type[TokenError], depth: int) -> Iterator[tuple[int, type[TokenError]]]:
    yield depth, error
    for child in sorted(error.__subclasses__(), key=lambda found: found.__name__):
        # A test may have made classes of its own.
        if child.__module__.startswith("deal_sdk."):
            yield from _tree(child, depth + 1)


# Tables: the schema as SQLAlchemy knows it.


def tables_page() -> str:
    """Return the page of SQL tables."""
    lines = [
        "# Tables",
        "",
        "The SQL schema, the same on SQLite and PostgreSQL; where a type differs, PostgreSQL's stands first.",
        "Amounts are whole numbers of base units (1 DEAL is 100,000,000). Times are UTC. Reading these",
        "tables is fine; only the package writes them.",
    ]
    for table in metadata.tables.values():
        lines += ["", f"## {table.name}", ""]
        if table.comment:
            lines += [table.comment, ""]
        lines += _head("column", "type", "null", "notes")
        lines += [
            _row(f"`{column.name}`", _column_type(column), "yes" if column.nullable else "no", _notes(column))
            for column in table.columns
        ]
        rules = [*_constraints(table), *_indexes(table)]
        if rules:
            lines += ["", *(f"- {rule}" for rule in rules)]
    return _page(lines)


def _column_type(column: sa.Column[Any]) -> str:
    on_postgresql, on_sqlite = (column.type.compile(dialect=dialect) for dialect in (_POSTGRESQL, _SQLITE))
    return on_postgresql if on_postgresql == on_sqlite else f"{on_postgresql} / {on_sqlite}"


def _notes(column: sa.Column[Any]) -> str:
    notes = ["primary key"] if column.primary_key else []
    notes += [f"references `{key.target_fullname}`" for key in column.foreign_keys]
    default = column.server_default
    if isinstance(default, sa.DefaultClause):
        notes.append(f"default `{default.arg}`")
    if column.comment:
        notes.append(column.comment)
    return "; ".join(notes)


def _constraints(table: sa.Table) -> list[str]:
    found = []
    for constraint in table.constraints:
        if isinstance(constraint, sa.CheckConstraint):
            found.append(f"check `{constraint.sqltext}`".replace(f"{table.name}.", ""))
        elif isinstance(constraint, sa.UniqueConstraint):
            found.append(f"unique {_names(constraint.columns)}")
    return sorted(found)


def _indexes(table: sa.Table) -> list[str]:
    found = []
    for index in table.indexes:
        condition = index.dialect_options["postgresql"]["where"]
        kind = "unique" if index.unique else "index"
        where = ""
        if condition is not None:
            text = condition.compile(dialect=_POSTGRESQL, compile_kwargs={"literal_binds": True})
            where = f" where `{str(text).replace(f'{table.name}.', '')}`"
        found.append(f"{kind} {_names(index.columns)}{where}")
    return sorted(found)


def _names(columns: Any) -> str:
    return ", ".join(f"`{column.name}`" for column in columns)


# Commands: what `dealctl --help` says.


def cli_page() -> str:
    """Return the page of the command line."""
    commands = list(_commands(get_command(build()), "dealctl"))
    common = _parameters(commands[0][1])
    lines = [
        "# dealctl",
        "",
        "Every command takes the common options, before its name or after it. With `--json` it prints one",
        "JSON document on stdout and nothing else there. Exit code 0 means done, 1 refused or failed with",
        "the error's `code` on stderr, 2 wrong usage, 130 interrupted.",
        "",
        "## Common options",
        "",
        *_head("option", "meaning"),
        *(_row(*row) for row in common),
    ]
    for name, command in commands[1:]:
        lines += ["", f"## {name}", "", inspect.cleandoc(command.help or "")]
        if getattr(command, "commands", None):
            continue
        rows = [row for row in _parameters(command) if row not in common]
        lines += ["", "```text", _usage(name, command), "```"]
        if rows:
            lines += ["", *_head("argument or option", "meaning"), *(_row(*row) for row in rows)]
    return _page(lines)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for child_name, child in getattr(command, "commands", {}).items():
        yield from _commands(child, f"{name} {child_name}")


def _usage(name: str, command: Any) -> str:
    context = command.context_class(command, info_name=name)
    return " ".join([name, *(piece.strip("{}") for piece in command.collect_usage_pieces(context))])


def _parameters(command: Any) -> list[tuple[str, str]]:
    context = command.context_class(command, info_name="")
    records = [
        parameter.get_help_record(context)
        for parameter in command.get_params(context)
        if "--help" not in parameter.opts
    ]
    return [(f"`{name}`", meaning.replace("  [", " [")) for name, meaning in records]


# Markdown.


def _head(*cells: str) -> list[str]:
    return [_row(*cells), _row(*("---" for _ in cells))]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _page(lines: Sequence[str]) -> str:
    note = "<!-- Written by ./scripts/docs from the code; changes made here are lost. -->"
    return "\n".join([lines[0], "", note, *lines[1:]]) + "\n"


PAGES: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {
        "cli.md": cli_page,
        "dashboard-api.md": dashboard_page,
        "errors.md": errors_page,
        "localnet-differences.md": localnet_differences_page,
        "localnet-methods.md": localnet_methods_page,
        "settings.md": settings_page,
        "tables.md": tables_page,
    }
)

if __name__ == "__main__":
    main()
