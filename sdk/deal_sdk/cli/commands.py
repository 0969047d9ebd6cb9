"""How a function becomes a command: the options that all commands share, and what errors turn into."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Concatenate, Final, ParamSpec, TypeAlias

import typer

from deal_sdk.cli.output import EXIT_INTERRUPTED, INTERNAL_CODE, INTERRUPTED_CODE, Output, Reply
from deal_sdk.cli.session import DEFAULT_RPC_URL, Connection, Session
from deal_sdk.errors import RpcUnavailableError, TokenError
from deal_sdk.settings import load_settings

P = ParamSpec("P")
Body: TypeAlias = Callable[Concatenate[Session, P], Awaitable[Reply]]

logger = logging.getLogger(__name__)

_CONTEXT: Final = "context"
_PANEL: Final = "Common options"


def _option(name: str, flag: str, annotation: Any, help_text: str) -> inspect.Parameter:
    option = typer.Option(flag, help=help_text, show_default=False, rich_help_panel=_PANEL)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if annotation is bool else None,
        annotation=Annotated[annotation, option],
    )


_RPC_URL: Final = _option(
    "rpc_url",
    "--rpc-url",
    str | None,
    f"The chain's JSON-RPC URL, or localnet://; {DEFAULT_RPC_URL} by default",
)
_DATABASE_URL: Final = _option(
    "database_url", "--database-url", str | None, "SQLite or PostgreSQL; sqlite:///deal.db by default"
)
_REDIS_URL: Final = _option(
    "redis_url", "--redis-url", str | None, "Redis for limits and cache; memory:// by default"
)
_JSON: Final = _option("as_json", "--json", bool, "Print one JSON document on stdout and nothing else there")

EVERY_SERVER: Final = (_RPC_URL, _DATABASE_URL, _REDIS_URL, _JSON)
LIMITS_ALONE: Final = (_DATABASE_URL, _REDIS_URL, _JSON)
DATABASE_ALONE: Final = (_DATABASE_URL, _JSON)
NO_SERVER: Final = (_JSON,)


def command(
    group: typer.Typer,
    name: str,
    common: Sequence[inspect.Parameter] = EVERY_SERVER,
    *,
    takes_foreign_flags: bool = False,
) -> Callable[[Body[P]], Body[P]]:
    """Add an async function to a group of commands.

    The function takes a `Session` and then its own arguments and options, and returns a `Reply`; its
    docstring is the help text. The common options may stand before the command's name or after it.

    Args:
        group: where the command belongs.
        name: what the caller types.
        common: the shared options that mean something to the command.
        takes_foreign_flags: whether options that it does not know are arguments, for it to judge.
    """
    settings = {"ignore_unknown_options": takes_foreign_flags}

    def register(body: Body[P]) -> Body[P]:
        group.command(name, help=_help_of(body), context_settings=settings)(_callback(body, common))
        return body

    return register


def group_command(
    group: typer.Typer, common: Sequence[inspect.Parameter] = EVERY_SERVER
) -> Callable[[Body[P]], Body[P]]:
    """Add an async function as what a group does by itself, when no command of it is named.

    Args:
        group: the group.
        common: the shared options that mean something to it; its commands take them as well.
    """

    def register(body: Body[P]) -> Body[P]:
        own = _callback(body, common)

        def callback(**values: Any) -> int | None:
            context: typer.Context = values[_CONTEXT]
            if context.invoked_subcommand is None:
                return own(**values)
            given = {item.name: values[item.name] for item in common if values[item.name]}
            context.obj = {**(context.obj or {}), **given}
            return None

        parameters = list(inspect.signature(own).parameters.values())
        group.callback(invoke_without_command=True, help=_help_of(body))(_signed(callback, parameters))
        return body

    return register


def remember_common_options(application: typer.Typer) -> None:
    """Accept the common options before a command's name as well."""

    def callback(**values: Any) -> None:
        values.pop(_CONTEXT).obj = values

    callback.__doc__ = "Bill, pay and reward in an SPL token; every command takes --json."
    application.callback()(_signed(callback, [_context_parameter(), *EVERY_SERVER]))


def run(body: Callable[[Session], Awaitable[Reply]], output: Output, connection: Connection) -> int:
    """Run a command to its end and return the exit code; every error is shown, none escapes."""
    session = Session(output, connection)
    try:
        reply = asyncio.run(_awaited(body(session)))
    except TokenError as error:
        return output.refuse(error, _hint(error, session))
    except KeyboardInterrupt:
        return output.fail(INTERRUPTED_CODE, "stopped; payments go on", exit_code=EXIT_INTERRUPTED)
    except BrokenPipeError:
        raise
    except Exception as error:
        logger.exception("a defect in dealctl")
        return output.fail(INTERNAL_CODE, f"{type(error).__name__}: {error}")
    return output.reply(reply)


async def _awaited(awaitable: Awaitable[Reply]) -> Reply:
    return await awaitable


def _callback(
    body: Callable[..., Awaitable[Reply]], common: Sequence[inspect.Parameter]
) -> Callable[..., int]:
    own = list(inspect.signature(body, eval_str=True).parameters.values())[1:]

    def callback(**values: Any) -> int:
        context: typer.Context = values.pop(_CONTEXT)
        earlier: Mapping[str, Any] = context.obj or {}
        shared = {item.name: values.pop(item.name, None) or earlier.get(item.name) for item in EVERY_SERVER}
        output = Output(as_json=bool(shared.pop("as_json")))
        return run(lambda session: body(session, **values), output, Connection(**shared))

    return _signed(callback, [_context_parameter(), *own, *common])


def _signed(callback: Callable[..., Any], parameters: list[inspect.Parameter]) -> Callable[..., Any]:
    """Give a function the parameters that typer then reads."""
    named = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in parameters]
    callback.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
    callback.__annotations__ = {item.name: item.annotation for item in named}
    return callback


def _context_parameter() -> inspect.Parameter:
    return inspect.Parameter(_CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def _help_of(body: Callable[..., Any]) -> str:
    return inspect.cleandoc(body.__doc__ or "")


def _hint(error: TokenError, session: Session) -> str | None:
    if not isinstance(error, RpcUnavailableError):
        return None
    if load_settings(**session.overrides()).rpc_url != DEFAULT_RPC_URL:
        return None
    return "start a local chain with 'dealctl localnet', or name one with --rpc-url"
