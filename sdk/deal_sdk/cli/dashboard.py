"""`dealctl dashboard`: serves the page, and keeps the tokens that open it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deal_sdk.cli.commands import DATABASE_ALONE, command, group_command
from deal_sdk.cli.output import Reply, fields, shown, table
from deal_sdk.cli.session import Session
from deal_sdk.cli.stopping import stop_signal
from deal_sdk.errors import ConfigurationError
from deal_sdk.garbage import collect_rarely
from deal_sdk.threads import switch_threads_sooner

if TYPE_CHECKING:
    from deal_sdk.dashboard import Dashboard, DashboardAccess, TlsFiles
    from deal_sdk.records import Database

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8799

NameArgument = Annotated[str, typer.Argument(help="Tells who did what", show_default=False)]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer()
    application.add_typer(group, name="dashboard")
    group_command(group)(serve)
    tokens = typer.Typer(no_args_is_help=True, help="Tokens that open the dashboard.")
    group.add_typer(tokens, name="token")
    command(tokens, "new", DATABASE_ALONE)(new)
    command(tokens, "list", DATABASE_ALONE)(list_tokens)
    command(tokens, "revoke", DATABASE_ALONE)(revoke)


async def serve(
    session: Session,
    host: Annotated[str, typer.Option(help="Address that it listens on")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(help="0 picks a free one", min=0, max=65535)] = DEFAULT_PORT,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="A name that it is reached by, beside localhost and addresses; may be repeated"),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Serve over TLS, with this file", show_default=False)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's key", show_default=False)] = None,
) -> Reply:
    """Serve the dashboard until told to stop; the first start prints a token once, on stderr."""
    open_dashboard, server_of, is_loopback = _dashboard_parts()
    tls = _tls_files(tls_certificate, tls_key)
    with stop_signal() as stopped:
        async with session.deal() as deal, AsyncExitStack() as stack:
            dashboard = open_dashboard(deal, allowed_hosts=allowed_host or (), is_secure=tls is not None)
            server = await stack.enter_async_context(server_of(dashboard, host=host, port=port, tls=tls))
            await _tell_first_token(dashboard)
            if tls is None and not is_loopback(host):
                session.output.message(
                    "warning", f"{host} is reached by others without TLS: tokens can be read on the way"
                )
            collect_rarely()
            switch_threads_sooner()
            document = {"url": server.url, "openapi_url": f"{server.url}/api/v1/openapi.json"}
            session.output.reply(Reply(document, [fields("Dashboard", document)]))
            await stopped.wait()
    return Reply(document, is_shown=True)


async def new(
    session: Session,
    name: NameArgument,
    operator: Annotated[
        bool, typer.Option("--operator", help="It may change what is watched; without it, it only reads")
    ] = False,
) -> Reply:
    """Make a token, and print it this once."""
    async with session.database() as database:
        made, secret = await _access(database).create(name, "operator" if operator else "viewer")
    document = {**made.to_dict(), "token": secret}
    return Reply(document, [fields("Token", document)])


async def list_tokens(session: Session) -> Reply:
    """List the tokens, revoked ones too."""
    async with session.database() as database:
        tokens = [token.to_dict() for token in await _access(database).list()]
    columns = ["name", "role", "created_at", "revoked_at"]
    rows = [[shown(token[name]) for name in columns] for token in tokens]
    return Reply({"tokens": tokens}, [table("Tokens", columns, rows)])


async def revoke(session: Session, name: NameArgument) -> Reply:
    """End a token and every session begun with it."""
    async with session.database() as database:
        document = (await _access(database).revoke(name)).to_dict()
    return Reply(document, [fields("Token", document)])


async def _tell_first_token(dashboard: Dashboard) -> None:
    secret = await dashboard.access.ensure_first()
    if secret is not None:
        sys.stderr.write(
            f"The dashboard's first token, an operator's; it is not shown again:\n\n    {secret}\n\n"
        )
        sys.stderr.flush()


def _tls_files(certificate: Path | None, key: Path | None) -> TlsFiles | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigurationError("TLS needs both --tls-certificate and --tls-key")
    from deal_sdk.dashboard import TlsFiles

    return TlsFiles(certificate, key)


def _dashboard_parts() -> tuple[Callable[..., Dashboard], Callable[..., Any], Callable[[str], bool]]:
    try:
        from deal_sdk.dashboard import Dashboard, DashboardServer
        from deal_sdk.dashboard.server import is_loopback
    except ImportError:
        raise ConfigurationError(
            "the dashboard needs Starlette and uvicorn, which are an extra: install deal-sdk[dashboard]"
        ) from None
    return Dashboard, DashboardServer, is_loopback


def _access(database: Database) -> DashboardAccess:
    from deal_sdk.dashboard.access import DashboardAccess

    return DashboardAccess(database)
