"""`dealctl user`: the users that wallets and payments belong to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from deal_sdk.cli.commands import command
from deal_sdk.cli.output import Reply, fields, shown, table
from deal_sdk.cli.session import Session, find_user
from deal_sdk.client import Deal
from deal_sdk.errors import InvalidInputError
from deal_sdk.records import User

WHO_HELP = "A UUID, ext:EXTERNAL_ID, or the address of one of the user's wallets"
WhoArgument = Annotated[str, typer.Argument(help=WHO_HELP, show_default=False)]
RecordedUser = Annotated[str, typer.Argument(help="A UUID, or ext:EXTERNAL_ID", show_default=False)]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many at most")]
CursorOption = Annotated[
    str | None, typer.Option("--cursor", help="Where the page before ended", show_default=False)
]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Users.")
    application.add_typer(group, name="user")
    command(group, "create")(create)
    command(group, "show")(show)
    command(group, "list")(list_users)
    command(group, "set-tier")(set_tier)
    command(group, "export")(export)
    command(group, "erase")(erase)


async def create(
    session: Session,
    username: Annotated[str | None, typer.Option(help="For people", show_default=False)] = None,
    external_id: Annotated[
        str | None, typer.Option(help="The user's id elsewhere, a chat's say; unique", show_default=False)
    ] = None,
    tier: Annotated[str, typer.Option(help="Gift, Professional, Business, or one of the settings")] = "Gift",
    user_id: Annotated[
        str | None, typer.Option("--id", help="The backend's own UUID; random by default", show_default=False)
    ] = None,
) -> Reply:
    """Add a user."""
    async with session.deal() as deal:
        user = await deal.users.create(user_id=user_id, external_id=external_id, username=username, tier=tier)
        return _reply(user_document(user))


async def show(session: Session, who: WhoArgument) -> Reply:
    """Show a user and the user's wallets."""
    async with session.deal() as deal:
        return await _with_wallets(deal, await find_user(deal, who))


async def list_users(session: Session, limit: LimitOption = 100, cursor: CursorOption = None) -> Reply:
    """List users in the order of their creation."""
    async with session.deal() as deal:
        page = await deal.users.list(limit, cursor)
    documents = [user_document(user) for user in page.items]
    columns = ["id", "external_id", "username", "tier"]
    rows = [[shown(document[name]) for name in columns] for document in documents]
    return Reply(
        {"users": documents, "next_cursor": page.next_cursor},
        [table("Users", columns, rows), *more_below(page.next_cursor)],
    )


async def set_tier(
    session: Session,
    who: WhoArgument,
    tier: Annotated[str, typer.Argument(help="The new tier", show_default=False)],
) -> Reply:
    """Move a user to another tier."""
    async with session.deal() as deal:
        user = await find_user(deal, who)
        return _reply(user_document(await deal.users.set_tier(user.id, tier)))


async def export(
    session: Session,
    who: WhoArgument,
    output: Annotated[
        Path | None, typer.Option("--output", help="The file to write, which must be new", show_default=False)
    ] = None,
) -> Reply:
    """Hand over all that is kept about a user, as one JSON document."""
    async with session.deal() as deal:
        document = await deal.personal_data.export_user_data((await find_user(deal, who)).id)
    counts = {name: len(rows) for name, rows in document["tables"].items() if rows}
    if output is None:
        return Reply(document, [fields("Rows", counts)])
    try:
        with output.open("xb") as file:
            file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    except OSError as error:
        raise InvalidInputError(f"{output} cannot be written: {error.strerror}", field="output") from None
    return Reply({"user_id": document["user_id"], "rows": counts}, [fields("Rows", counts)])


async def erase(
    session: Session,
    who: WhoArgument,
    confirm: Annotated[
        str, typer.Option("--confirm", help="The user's UUID once more, because this is for good")
    ],
) -> Reply:
    """Erase what is personal about a user, and keep the books."""
    async with session.deal() as deal:
        user = await find_user(deal, who)
        if confirm != str(user.id):
            raise InvalidInputError(f"--confirm must be {user.id}", field="confirm")
        report = await deal.personal_data.erase_user(user.id)
    document = report.to_dict()
    return Reply(document, [fields("Erased", {**document, **report.erased})])


def user_document(user: User) -> dict[str, Any]:
    """Return a user as JSON-serialisable data."""
    return {name: None if value is None else _plain(value) for name, value in asdict(user).items()}


def more_below(next_cursor: str | None) -> list[str]:
    """Say how to go on, where there is more."""
    return [] if next_cursor is None else [f"More: --cursor {next_cursor}"]


async def _with_wallets(deal: Deal, user: User) -> Reply:
    wallets = await deal.wallets.list_wallets(user.id)
    document = {**user_document(user), "wallets": [wallet.to_dict() for wallet in wallets]}
    lines = [[item.address, item.status, shown(item.is_primary)] for item in wallets]
    return Reply(
        document,
        [fields("User", user_document(user)), table("Wallets", ["address", "status", "primary"], lines)],
    )


def _reply(document: dict[str, Any]) -> Reply:
    return Reply(document, [fields("User", document)])


def _plain(value: Any) -> Any:
    return (
        value if isinstance(value, int) else value.isoformat() if hasattr(value, "isoformat") else str(value)
    )
