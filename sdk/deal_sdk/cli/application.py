"""The program: all commands together, and the exit code."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Final

import typer
from typer.main import get_command

from deal_sdk.cli import (
    credits,
    dashboard,
    demo,
    fees,
    keys,
    limits,
    localnet,
    monitor,
    operations,
    own_wallet,
    packages,
    payments,
    program,
    records,
    renewals,
    rewards,
    subscriptions,
    token,
    usage,
    users,
    webhooks,
    worker,
)
from deal_sdk.cli.commands import remember_common_options
from deal_sdk.cli.output import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, USAGE_CODE, Output

PROGRAM: Final = "dealctl"
_JSON: Final = "--json"


_PARTS: Final = (
    demo,
    localnet,
    token,
    program,
    users,
    keys,
    payments,
    own_wallet,
    fees,
    rewards,
    records,
    credits,
    packages,
    renewals,
    usage,
    limits,
    operations,
    webhooks,
    subscriptions,
    monitor,
    dashboard,
    worker,
)


def build() -> typer.Typer:
    """Put the program together."""
    application = typer.Typer(
        name=PROGRAM, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )
    remember_common_options(application)
    for part in _PARTS:
        part.register(application)
    return application


def run(arguments: Sequence[str]) -> int:
    """Run the program and return its exit code."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    try:
        result = get_command(build()).main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except typer.TyperException as error:
        return _wrong_usage(error, as_json=_JSON in arguments)
    except typer.Abort:
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else EXIT_DONE


def main() -> None:
    """Run the command line of this process and exit."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read stdout went away, as `head` does; nothing is left to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILED
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    sys.exit(code)


def _wrong_usage(error: typer.TyperException, *, as_json: bool) -> int:
    message = error.format_message()
    if context := getattr(error, "ctx", None):
        sys.stderr.write(f"{context.get_usage()}\n")
    # Without arguments the help was shown, and there is no more to say.
    if not message:
        return EXIT_USAGE
    return Output(as_json=as_json).fail(USAGE_CODE, message, exit_code=EXIT_USAGE)
