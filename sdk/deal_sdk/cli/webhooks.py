"""`dealctl webhooks`: endpoints that are told what happens, and what became of each delivery."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deal_sdk.cli.commands import DATABASE_ALONE, command
from deal_sdk.cli.output import Reply, fields, short, shown, table
from deal_sdk.cli.session import Session
from deal_sdk.errors import InvalidInputError
from deal_sdk.webhooks import WebhookEndpoint
from deal_sdk.webhooks.service import DEFAULT_OVERLAP_SECONDS

MAX_SECRET_FILE_BYTES = 1_024

EndpointArgument = Annotated[str, typer.Argument(help="An endpoint's id", show_default=False)]
SecretFileOption = Annotated[
    Path | None,
    typer.Option(
        help="A file with the receiver's secret; without it one is made and shown once", show_default=False
    ),
]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Tell other systems what happens, over HTTP.")
    application.add_typer(group, name="webhooks")
    command(group, "add", DATABASE_ALONE)(add)
    command(group, "list", DATABASE_ALONE)(list_endpoints)
    command(group, "remove", DATABASE_ALONE)(remove)
    command(group, "disable", DATABASE_ALONE)(disable)
    command(group, "enable", DATABASE_ALONE)(enable)
    command(group, "rotate-secret", DATABASE_ALONE)(rotate_secret)
    command(group, "deliveries", DATABASE_ALONE)(deliveries)
    command(group, "replay", DATABASE_ALONE)(replay)


async def add(
    session: Session,
    url: Annotated[str, typer.Argument(help="Where to, https://", show_default=False)],
    event: Annotated[
        list[str] | None,
        typer.Option(help="A pattern such as payment.*; may be repeated; all by default"),
    ] = None,
    description: Annotated[str | None, typer.Option(help="What it is for", show_default=False)] = None,
    secret_file: SecretFileOption = None,
) -> Reply:
    """Tell a URL of what happens from now on; prints the secret that signs, this once."""
    async with session.webhooks() as webhooks:
        added = await webhooks.add(
            url, event or ("*",), secret=_read_secret(secret_file), description=description
        )
    document = {**added.endpoint.to_dict(), "secret": None if secret_file else added.secret}
    return Reply(document, [fields("Webhook", document)])


async def list_endpoints(session: Session) -> Reply:
    """List the endpoints and what they are told."""
    async with session.webhooks() as webhooks:
        endpoints = await webhooks.list()
    rows = [[str(item.id), item.url, " ".join(item.patterns), item.state] for item in endpoints]
    return Reply(
        {"endpoints": [item.to_dict() for item in endpoints]},
        [table("Webhooks", ["id", "url", "events", "state"], rows)],
    )


async def remove(session: Session, endpoint: EndpointArgument) -> Reply:
    """End an endpoint for good; what it was not told becomes dead letters."""
    async with session.webhooks() as webhooks:
        return _reply(await webhooks.remove(endpoint))


async def disable(
    session: Session,
    endpoint: EndpointArgument,
    reason: Annotated[str | None, typer.Option(help="Why", show_default=False)] = None,
) -> Reply:
    """Stop telling an endpoint until it is enabled again."""
    async with session.webhooks() as webhooks:
        return _reply(await webhooks.disable(endpoint, reason))


async def enable(session: Session, endpoint: EndpointArgument) -> Reply:
    """Tell an endpoint again."""
    async with session.webhooks() as webhooks:
        return _reply(await webhooks.enable(endpoint))


async def rotate_secret(
    session: Session,
    endpoint: EndpointArgument,
    overlap_seconds: Annotated[
        float, typer.Option(help="How long the old secret still signs, in seconds")
    ] = DEFAULT_OVERLAP_SECONDS,
    secret_file: SecretFileOption = None,
) -> Reply:
    """Give an endpoint another secret; for a while requests are signed with both."""
    given = _read_secret(secret_file)
    async with session.webhooks() as webhooks:
        secret = await webhooks.rotate_secret(endpoint, secret=given, overlap_seconds=overlap_seconds)
    document = {"id": endpoint, "secret": None if given else secret, "overlap_seconds": overlap_seconds}
    return Reply(document, [fields("Webhook", document)])


async def deliveries(
    session: Session,
    endpoint: Annotated[str | None, typer.Option(help="To one endpoint", show_default=False)] = None,
    state: Annotated[str | None, typer.Option(help="pending, delivered or dead", show_default=False)] = None,
    subject: Annotated[str | None, typer.Option(help="About one payment", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="How many, 1 to 1000")] = 50,
    cursor: Annotated[str | None, typer.Option(help="From the page before", show_default=False)] = None,
) -> Reply:
    """List deliveries, newest first; dead letters with --state dead."""
    async with session.webhooks() as webhooks:
        page = await webhooks.deliveries(
            endpoint_id=endpoint, state=state, subject=subject, limit=limit, cursor=cursor
        )
    columns = ["id", "event", "about", "state", "tries>", "last", "next or ended"]
    rows = [
        [
            str(item.id),
            item.event_type,
            short(item.subject),
            item.state,
            str(item.attempts),
            item.last_error or shown(item.last_status),
            shown(item.ended_at or item.next_attempt_at),
        ]
        for item in page.items
    ]
    return Reply(
        {"deliveries": [item.to_dict() for item in page.items], "next_cursor": page.next_cursor},
        [table("Deliveries", columns, rows)],
    )


async def replay(
    session: Session,
    delivery: Annotated[
        int | None, typer.Argument(help="A delivery's id; without it --all", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters")] = False,
    endpoint: Annotated[
        str | None, typer.Option(help="With --all: this endpoint's alone", show_default=False)
    ] = None,
) -> Reply:
    """Deliver again: one delivery, or all dead letters; events keep their ids."""
    if (delivery is None) != everything:
        raise InvalidInputError("say what to deliver again: a delivery's id, or --all")
    async with session.webhooks() as webhooks:
        count = await webhooks.replay(delivery, endpoint_id=endpoint)
    document = {"replayed": count}
    return Reply(document, [fields("Deliveries", document)])


def _reply(endpoint: WebhookEndpoint) -> Reply:
    return Reply(endpoint.to_dict(), [fields("Webhook", endpoint.to_dict())])


def _read_secret(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_SECRET_FILE_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise InvalidInputError(f"the secret's file {file} cannot be read") from None
