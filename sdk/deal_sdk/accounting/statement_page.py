"""A statement as one HTML page: nothing to load, everything escaped, made for paper as for the screen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Final

from deal_sdk.amounts import format_amount
from deal_sdk.records import Transaction

if TYPE_CHECKING:
    from deal_sdk.accounting.commands import LedgerEntry
    from deal_sdk.accounting.statements import Statement

_STYLE: Final = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1c1c1c; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .4rem; }
p { margin: .2rem 0; color: #555; }
table { border-collapse: collapse; width: 100%; }
caption { position: absolute; left: -999rem; }
th, td { text-align: left; padding: .3rem .5rem; border-bottom: 1px solid #ddd; vertical-align: top;
  overflow-wrap: anywhere; }
th { color: #555; font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tfoot td { font-weight: 600; border-bottom: 0; }
@media print {
  @page { margin: 15mm; }
  body { margin: 0; max-width: none; font-size: 10pt; }
  thead { display: table-header-group; } tr { break-inside: avoid; } h2 { break-after: avoid; }
}
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_NUMBER: Final = ">"
"""Ends the name of a column of numbers."""
_NUMBER_CLASS: Final = ' class="number"'

Cells = Sequence[str]


def page_of(statement: Statement, *, heading: str, symbol: str) -> str:
    """Return the whole page.

    Args:
        statement: what is shown.
        heading: above the page.
        symbol: of the token that was paid in.
    """
    month = f"{statement.period.start:%B %Y}"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(heading)}, {month}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            f"<h1>{escape(heading)}</h1>",
            *_introduction(statement, month),
            *_credits(statement),
            *_holds(statement),
            *_payments(statement, symbol),
            "</body>\n</html>\n",
        ]
    )


def _introduction(statement: Statement, month: str) -> list[str]:
    user, period = statement.user, statement.period
    names = " · ".join(name for name in (user.username, user.external_id, str(user.id)) if name)
    made = f"Made {_time(statement.made_at, statement)}"
    if not statement.is_complete:
        made += "; the month is not over, and shown as far as it has come"
    return [
        f"<p>{month}, {_time(period.start, statement)} to {_time(period.end, statement)}</p>",
        f"<p>{escape(names)}</p>",
        f"<p>{made}.</p>",
    ]


def _credits(statement: Statement) -> list[str]:
    entries = [
        (
            _time(entry.created_at, statement),
            entry.operation_type,
            _reason(entry),
            f"{entry.amount:+,}",
            f"{entry.balance_after:,}",
        )
        for entry in statement.entries
    ]
    opening, closing = f"{statement.opening_balance:,}", f"{statement.closing_balance:,}"
    rows = [("", "Opening balance", "", "", opening), *entries]
    totals = [
        (
            total.operation_type,
            *(f"{value:,}" for value in (total.count, total.earned, total.spent, total.refunded)),
            f"{total.net:+,}",
        )
        for total in statement.totals
    ]
    net = f"{statement.closing_balance - statement.opening_balance:+,}"
    return [
        *_table(
            "Credits",
            ("Time", "Operation", "Note", "Amount>", "Balance>"),
            rows,
            ("", "Closing balance", "", net, closing),
        ),
        *_table(
            "Credits by operation",
            ("Operation", "Count>", "Earned>", "Spent>", "Given back>", "Net>"),
            totals,
            ("Total", "", "", "", "", net),
        ),
    ]


def _holds(statement: Statement) -> list[str]:
    rows = [
        (_time(hold.created_at, statement), hold.operation_type, f"{hold.amount:,}")
        for hold in statement.holds
    ]
    total = f"{sum(hold.amount for hold in statement.holds):,}"
    columns = ("Since", "Operation", "Credits>")
    return _table("Put aside and not taken yet", columns, rows, ("", "Total", total)) if rows else []


def _payments(statement: Statement, symbol: str) -> list[str]:
    if not statement.payments:
        return []

    def amount(base_units: int) -> str:
        return format_amount(base_units, decimals=statement.decimals)

    rows = [
        (
            _time(payment.finalized_at or payment.created_at, statement),
            payment.type,
            _other_side(payment, statement),
            payment.reason or "",
            _signed(payment, statement, amount(payment.amount)),
        )
        for payment in statement.payments
    ]
    net = sum(total.net for total in statement.payment_totals)
    totals = [
        (total.type, str(total.count), amount(total.received), amount(total.paid), amount(total.refunded))
        for total in statement.payment_totals
    ]
    return [
        *_table(
            f"Payments in {symbol}",
            ("Final", "Type", "With", "Reason", f"{symbol}>"),
            rows,
            ("", "Net", "", "", amount(net)),
        ),
        *_table("Payments by type", ("Type", "Count>", "Received>", "Paid>", "Given back>"), totals, ()),
    ]


def _other_side(payment: Transaction, statement: Statement) -> str:
    is_payer = payment.from_user_id == statement.user.id
    return (payment.to_address if is_payer else payment.from_address) or ""


def _signed(payment: Transaction, statement: Statement, amount: str) -> str:
    if payment.from_user_id == payment.to_user_id:
        return amount
    return f"-{amount}" if payment.from_user_id == statement.user.id else f"+{amount}"


def _reason(entry: LedgerEntry) -> str:
    """Return what an entry's metadata gives as its reason; the rest of it is for programs."""
    said = (entry.metadata or {}).get("reason")
    return said if isinstance(said, str) else ""


def _time(time: datetime, statement: Statement) -> str:
    return f"{time.astimezone(statement.period.start.tzinfo):%Y-%m-%d %H:%M %Z}"


def _table(title: str, columns: Cells, rows: Iterable[Cells], foot: Cells) -> list[str]:
    heads = [column.removesuffix(_NUMBER) for column in columns]
    lines = [f"<h2>{escape(title)}</h2>\n<table>\n<caption>{escape(title)}</caption>"]
    lines += [f"<thead>{_row('th', columns, heads)}</thead>\n<tbody>"]
    lines += [_row("td", columns, row) for row in rows]
    lines += ["</tbody>"]
    lines += [f"<tfoot>{_row('td', columns, foot)}</tfoot>"] if foot else []
    return [*lines, "</table>"]


def _row(tag: str, columns: Cells, cells: Cells) -> str:
    row = "".join(
        f"<{tag}{_NUMBER_CLASS if column.endswith(_NUMBER) else ''}>{escape(cell)}</{tag}>"
        for column, cell in zip(columns, cells, strict=True)
    )
    return f"<tr>{row}</tr>"
