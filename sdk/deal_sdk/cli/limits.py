"""`dealctl limits`: how much of their limits users have used, totals, resets and cleaning up."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

import typer

from deal_sdk.cli.commands import LIMITS_ALONE, command
from deal_sdk.cli.operations import TIME_FORMATS, aware
from deal_sdk.cli.output import Reply, fields, shown, table
from deal_sdk.cli.session import EXTERNAL_PREFIX, LimitsSession, Session
from deal_sdk.errors import InvalidInputError, UserNotFoundError
from deal_sdk.limits import LimitKind
from deal_sdk.limits.ids import USER_SUBJECT
from deal_sdk.limits.purchase_reports import PURCHASE_DIMENSIONS

FALLBACK_TIER: Final = "Gift"
_PURCHASE_COLUMNS: Final = (
    "token_mint",
    "category",
    "window",
    "time_zone",
    "ends_at",
    "used",
    "maximum",
    "remaining",
)
_RATE_COLUMNS: Final = ("operation", "limit", "used", "maximum", "reset_after_seconds")

KeyArgument = Annotated[
    str,
    typer.Argument(help="A user's id, ext: and the external id, or with --subject another key"),
]
SubjectOption = Annotated[str, typer.Option(help="What the key is of: user, ip, api_key, ...")]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Limits of purchases and requests.")
    application.add_typer(group, name="limits")
    command(group, "show", LIMITS_ALONE)(show)
    command(group, "stats", LIMITS_ALONE)(stats)
    command(group, "reset", LIMITS_ALONE)(reset)
    command(group, "cleanup", LIMITS_ALONE)(cleanup)


async def show(
    session: Session,
    key: KeyArgument,
    tier: Annotated[
        str | None, typer.Option(help="Whose rate limits to hold it to; the user's own by default")
    ] = None,
    subject: SubjectOption = USER_SUBJECT,
) -> Reply:
    """Show what a user, an address or another key has used of its limits; nothing is counted."""
    async with session.limits() as limits:
        name, own_tier = await _resolve(limits, key, subject)
        purchases: list[dict[str, Any]] = []
        amounts: list[dict[str, Any]] = []
        if subject == USER_SUBJECT:
            for limit in await limits.purchases.current_limits(name):
                found = amounts if limit.kind is LimitKind.AMOUNT else purchases
                found.append(limit.to_dict())
        held_to = tier or own_tier
        rates = []
        for operation in await limits.rates.operations(name, subject=subject):
            decision = await limits.rates.peek(name, held_to, operation, subject=subject)
            for state in decision.states:
                rates.append(
                    {
                        "operation": operation,
                        "limit": state.name,
                        "used": state.limit - state.remaining,
                        "maximum": state.limit,
                        "reset_after_seconds": state.reset_after,
                    }
                )
    document: dict[str, Any] = {
        "key": name,
        "subject": subject,
        "tier": held_to,
        "purchases": purchases,
        "amounts": amounts,
        "rates": rates,
    }
    return Reply(
        document,
        [
            _rows("Purchases", _PURCHASE_COLUMNS, purchases),
            _rows("Amounts in base units", _PURCHASE_COLUMNS, amounts),
            _rows("Requests", _RATE_COLUMNS, rates),
        ],
    )


async def stats(
    session: Session,
    by: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(PURCHASE_DIMENSIONS)}; may be repeated; token_mint by default"),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=TIME_FORMATS, help="UTC unless it says otherwise")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=TIME_FORMATS, help="UTC unless it says otherwise")
    ] = None,
) -> Reply:
    """Sum up recorded purchases."""
    async with session.limits() as limits:
        totals = await limits.purchases.get_token_purchase_stats()
        report = await limits.purchases.analyze_purchases(
            by or ["token_mint"],  # type: ignore[arg-type]
            since=aware(since),
            until=aware(until),
        )
    summary = {
        "total_tokens": totals.total_tokens,
        "total_users": totals.total_users,
        "total_purchases": totals.total_purchases,
    }
    rows = report.to_dicts()
    return Reply(
        {**summary, "by": list(report.by), "rows": rows},
        [fields("Purchases", summary), _rows("By " + ", ".join(report.by), report.columns, rows)],
    )


async def reset(
    session: Session,
    key: KeyArgument,
    mint: Annotated[
        str | None, typer.Option(help="Begin a new purchase period of this token", show_default=False)
    ] = None,
    rates: Annotated[bool, typer.Option("--rates", help="Forget counted requests")] = False,
    operation: Annotated[
        str | None, typer.Option(help="With --rates: of this operation alone", show_default=False)
    ] = None,
    subject: SubjectOption = USER_SUBJECT,
) -> Reply:
    """Let a user, an address or another key begin anew; purchases stay recorded."""
    if mint is None and not rates:
        raise InvalidInputError("name what to reset: --mint MINT, --rates, or both")
    if (mint is not None and subject != USER_SUBJECT) or (operation is not None and not rates):
        raise InvalidInputError("--mint is for users, and --operation goes with --rates")
    async with session.limits() as limits:
        name, _ = await _resolve(limits, key, subject)
        if mint is not None:
            await limits.purchases.reset_purchase_count(name, mint)
        if rates:
            await limits.rates.reset(name, operation, subject=subject)
    document = {"key": name, "subject": subject, "mint": mint, "rates": rates, "operation": operation}
    return Reply(document, [fields("Reset", document)])


async def cleanup(session: Session) -> Reply:
    """Delete recorded purchases that no running period can need."""
    async with session.limits() as limits:
        document = {"deleted": await limits.purchases.cleanup_expired_records()}
    return Reply(document, [fields("Purchases", document)])


async def _resolve(limits: LimitsSession, key: str, subject: str) -> tuple[str, str]:
    """Return the key that was meant and the tier that it is held to."""
    if subject != USER_SUBJECT:
        return key, FALLBACK_TIER
    if key.startswith(EXTERNAL_PREFIX):
        user = await limits.users.get_by_external_id(key.removeprefix(EXTERNAL_PREFIX))
        return str(user.id), user.tier
    try:
        user = await limits.users.get(key)
    except (UserNotFoundError, InvalidInputError):
        # Limits count any id of the caller's, known here or not.
        return key, FALLBACK_TIER
    return str(user.id), user.tier


def _rows(title: str, columns: tuple[str, ...], documents: list[dict[str, Any]]) -> Any:
    return table(title, list(columns), [[shown(one[name]) for name in columns] for one in documents])
