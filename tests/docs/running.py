"""Runs a document's code blocks as a reader would: in order, each on what the ones before it made.

A `text` block shows what the Python block before it printed; `...` in it stands for anything. A block
that calls `asyncio.run` is a program and runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import shlex
import sys
import types
from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from doctest import ELLIPSIS, OutputChecker
from typing import Any, Final

from deal_sdk import Deal
from deal_sdk.cli.application import run as run_dealctl
from tests.docs.documents import REPOSITORY, Block, Document, shell_commands

PROGRAM_TIMEOUT_SECONDS: Final = 120.0
FOREGROUND_COMMANDS: Final = frozenset({"localnet", "demo", "worker"})
"""Commands that run until they are told to stop, or have tests of their own."""


async def run_document(document: Document, *, with_dealctl: bool = False) -> None:
    """Run every Python block and compare what it prints with what the document shows.

    Args:
        document: what to run.
        with_dealctl: also run the `dealctl` lines of bash blocks.

    Raises:
        AssertionError: when something else was printed, or a command failed.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed: str | None = None
    try:
        for block in document.blocks():
            if block.language == "python":
                printed = await _run_python(document, block, namespace)
            elif block.language == "text" and printed is not None:
                _compare(document, block, printed)
            elif block.language == "bash" and with_dealctl:
                await asyncio.to_thread(_run_commands, Document(document.path, f"```bash\n{block.text}```"))
    finally:
        # A block that failed left open what a later one would have closed.
        for value in namespace.values():
            if isinstance(value, Deal):
                await value.close()


async def _run_python(document: Document, block: Block, namespace: dict[str, Any]) -> str:
    if "asyncio.run(" in block.text:
        return await run_program(["-c", block.text])
    # Blank lines before it, so that a traceback points into the document.
    source = "\n" * (block.line - 1) + block.text
    code = compile(source, str(document.path), "exec", flags=PyCF_ALLOW_TOP_LEVEL_AWAIT)
    output = io.StringIO()
    with redirect_stdout(output):
        result = types.FunctionType(code, namespace)()
        if inspect.iscoroutine(result):
            await result
    return output.getvalue()


async def run_program(arguments: Sequence[str]) -> str:
    """Run this Python in a process of its own and return what it wrote to stdout.

    Raises:
        AssertionError: when it failed.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=program_environment(),
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), PROGRAM_TIMEOUT_SECONDS)
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    assert process.returncode == 0, errors.decode()
    return output.decode()


def program_environment() -> Mapping[str, str]:
    """Return the environment in which a program of its own finds the packages."""
    packages = os.pathsep.join(str(REPOSITORY / folder) for folder in ("sdk", "localnet"))
    return {**os.environ, "PYTHONPATH": packages}


def _compare(document: Document, block: Block, printed: str) -> None:
    checker = OutputChecker()
    assert checker.check_output(block.text, printed, ELLIPSIS), (
        f"{document.name}:{block.line} shows\n{block.text}\nbut this was printed:\n{printed}"
    )


def _run_commands(document: Document) -> None:
    for command in shell_commands(document, "dealctl"):
        arguments = shlex.split(command)
        if arguments[0] in FOREGROUND_COMMANDS:
            continue
        output = io.StringIO()
        with redirect_stdout(output), redirect_stderr(output):
            exit_code = run_dealctl(arguments)
        assert exit_code == 0, f"{document.name}: dealctl {command}\n{output.getvalue()}"
