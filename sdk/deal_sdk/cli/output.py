"""What a command shows: one document or tables on stdout, errors and progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol, TypeAlias

import orjson
from rich import box
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from deal_sdk.errors import TokenError

PLAIN_WIDTH: Final = 100
"""Columns where stdout is no terminal, so that a file reads the same everywhere."""
EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
USAGE_CODE: Final = "usage"
INTERRUPTED_CODE: Final = "interrupted"
INTERNAL_CODE: Final = "internal"
_SHORT_CHARACTERS: Final = 12


@dataclass(frozen=True, slots=True)
class Reply:
    """A command's result: the document for programs, the same for people, and how it ended."""

    document: Mapping[str, Any]
    shown: Sequence[RenderableType] = field(default=())
    exit_code: int = EXIT_DONE
    failure: tuple[str, str] | None = None
    """Code and message for stderr where the result itself is bad news."""
    is_shown: bool = False
    """Whether the command showed it while it ran."""


class Steps(Protocol):
    """Hears how far a long command is."""

    def step(self, description: str) -> None:
        """Say what is being done now; what was said before is done."""
        ...


Counter: TypeAlias = Callable[[int, int, str], None]
"""Hears how many of how many are done, and what that is."""


class Output:
    """Writes results and errors the way that the caller asked for."""

    def __init__(self, *, as_json: bool) -> None:
        """Write JSON documents, or tables for people."""
        self._as_json = as_json

    def reply(self, reply: Reply) -> int:
        """Show a result and return the exit code."""
        if reply.is_shown:
            return reply.exit_code
        if self._as_json:
            self.document(reply.document)
        else:
            console = _console()
            for renderable in reply.shown:
                console.print(renderable)
        if reply.failure is not None:
            self.message(*reply.failure)
        return reply.exit_code

    def refuse(self, error: TokenError, hint: str | None = None) -> int:
        """Show an error of the package: its code on stderr, all of it in the document."""
        return self.fail(error.code, error.message, error.to_dict(), hint=hint)

    def fail(
        self,
        code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        *,
        exit_code: int = EXIT_FAILED,
        hint: str | None = None,
    ) -> int:
        """Show a failure by its code and message, and return the exit code."""
        self.message(code, message)
        if hint is not None:
            sys.stderr.write(f"dealctl: {hint}\n")
        if self._as_json:
            self.document({"error": details or {"code": code, "message": message}})
        return exit_code

    @staticmethod
    def message(code: str, message: str) -> None:
        """Write a failure's code and message to stderr."""
        sys.stderr.write(f"dealctl: {code}: {message}\n")

    @staticmethod
    def document(document: Mapping[str, Any]) -> None:
        """Write one JSON document to stdout."""
        sys.stdout.write(orjson.dumps(document, default=str, option=orjson.OPT_INDENT_2).decode() + "\n")
        sys.stdout.flush()

    def live_console(self) -> Console:
        """Return where a table may be drawn again and again: a terminal, and never beside a document."""
        return Console(highlight=False, quiet=self._as_json or not sys.stdout.isatty())

    @contextmanager
    def progress(self, total: int | None = None) -> Iterator[Steps]:
        """Show a bar on stderr while the block runs, when stderr is a terminal.

        Args:
            total: how many steps there will be; None shows that time passes and no more.
        """
        console = Console(stderr=True)
        if not console.is_terminal:
            yield _SilentSteps()
            return
        columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
        if total is not None:
            columns.insert(3, MofNCompleteColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            yield _BarSteps(bar, total)

    @contextmanager
    def counter(self, description: str) -> Iterator[Counter]:
        """Show how many of how many are done on stderr while the block runs, when stderr is a terminal.

        Args:
            description: what is being done before the first count.
        """
        console = Console(stderr=True)
        if not console.is_terminal:
            yield lambda done, total, text: None
            return
        columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
        with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
            task = bar.add_task(description, total=None)

            def show(done: int, total: int, text: str) -> None:
                bar.update(task, completed=done, total=total, description=text)

            yield show


class _SilentSteps:
    def step(self, description: str) -> None:
        return None


class _BarSteps:
    def __init__(self, bar: Progress, total: int | None) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total)
        self._begun = False

    def step(self, description: str) -> None:
        self._bar.update(self._task, description=description, advance=1 if self._begun else 0)
        self._begun = True


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Table:
    """Lay out rows under a title; columns whose name ends with ">" are set to the right."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        right = column.endswith(">")
        made.add_column(column.rstrip(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        # A reason or a name may hold brackets, which are no markup.
        made.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return made


def fields(title: str, values: Mapping[str, Any]) -> Table:
    """Lay out one thing as names and values."""
    made = Table(
        title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False
    )
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    for name, value in values.items():
        made.add_row(name.replace("_", " "), Text(shown(value)))
    return made


def shown(value: Any) -> str:
    """Write a value for people: a dash for nothing, times to the second."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def amount_text(amount: Decimal) -> str:
    """Write an amount of whole tokens without the zeros that say nothing."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def short(text: str | None) -> str:
    """Cut a signature or an address to what a table has room for."""
    if text is None:
        return "-"
    return text if len(text) <= _SHORT_CHARACTERS else f"{text[:_SHORT_CHARACTERS]}…"


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)
