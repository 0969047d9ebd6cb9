"""What the demo shows at its end, and whether everything that it promised holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from deal_sdk.amounts import format_amount, to_decimal
from deal_sdk.cli.demo_story import Person, Refused
from deal_sdk.cli.output import EXIT_DONE, EXIT_FAILED, Reply, amount_text, fields, short, table
from deal_sdk.limits import PurchaseCheck, RateDecision
from deal_sdk.payments import VerifyReport
from deal_sdk.records import HistoryRow, Transaction

MIN_PAYMENTS: Final = 12
REQUIRED_TYPES: Final = frozenset({"transfer", "service_fee", "reward", "mint", "burn"})
FAILED_CODE: Final = "demo_failed"


@dataclass(frozen=True, slots=True)
class LimitUse:
    """How much of their limits a person has used."""

    person: Person
    rates: RateDecision
    purchases: PurchaseCheck


@dataclass(frozen=True, slots=True)
class DemoReport:
    """Everything that the demo found at its end."""

    mint: Mapping[str, Any]
    decimals: int
    people: Mapping[str, Person]
    names: Mapping[str, str]
    """A name for each address of the story."""
    payments: Sequence[Transaction]
    refused: Sequence[Refused]
    balances: Mapping[str, Decimal]
    history: Sequence[HistoryRow]
    missing_history: int
    limits: Sequence[LimitUse]
    verify: VerifyReport
    problems: Sequence[str] = field(default=())
    """What went wrong on the way; `all_problems` adds what the figures themselves show."""

    def all_problems(self) -> list[str]:
        """Name everything that should be otherwise; nothing when the demo holds."""
        found = list(self.problems)
        unfinished = [payment for payment in self.payments if payment.status != "finalized"]
        if unfinished:
            found.append(f"{len(unfinished)} payments are not finalized")
        if len(self.payments) - len(unfinished) < MIN_PAYMENTS:
            found.append(f"fewer than {MIN_PAYMENTS} payments are finalized")
        if missing := REQUIRED_TYPES - {payment.type for payment in self.payments}:
            found.append(f"no payment of type {', '.join(sorted(missing))}")
        found += [refusal.problem for refusal in self.refused if refusal.problem is not None]
        if self.missing_history:
            found.append(f"{self.missing_history} balance changes are missing in the history")
        found += self._wrong_balances()
        found += [f"verify: {check.name}" for check in self.verify.checks if not check.ok]
        return found

    def reply(self) -> Reply:
        """Return the report as the command's result."""
        problems = self.all_problems()
        failure = (FAILED_CODE, "; ".join(problems)) if problems else None
        exit_code = EXIT_FAILED if problems else EXIT_DONE
        return Reply(self._document(problems), self._tables(problems), exit_code, failure)

    def picture(self) -> list[RenderableType]:
        """Return the part of the report that tells the story in one look."""
        shown = [self._payment_table(), self._refusal_table()]
        return _spaced(shown, self._ending(self.all_problems()))

    def _wrong_balances(self) -> list[str]:
        """Compare what the chain says of each person with the sum of their payments."""
        wrong = []
        for name, person in self.people.items():
            total = sum(
                payment.amount
                * ((payment.to_address == person.address) - (payment.from_address == person.address))
                for payment in self.payments
                if payment.status == "finalized"
            )
            expected = to_decimal(total, decimals=self.decimals)
            if self.balances[name] != expected:
                wrong.append(f"{name} holds {self.balances[name]}, the payments add up to {expected}")
        return wrong

    def _document(self, problems: Sequence[str]) -> dict[str, Any]:
        return {
            "ok": not problems,
            "problems": list(problems),
            "mint": dict(self.mint),
            "users": {
                name: {"id": str(person.user_id), "tier": person.tier, "address": person.address}
                for name, person in self.people.items()
            },
            "payments": [self._payment(payment) for payment in self.payments],
            "refused": [
                {
                    "what": refusal.what,
                    "error": refusal.error,
                    "code": refusal.code,
                    "message": refusal.message,
                    "recorded": refusal.recorded,
                }
                for refusal in self.refused
            ],
            "balances": {name: amount_text(balance) for name, balance in self.balances.items()},
            "history_rows": len(self.history),
            "limits": {use.person.name: _limit_document(use) for use in self.limits},
            "verify": self.verify.to_dict(),
        }

    def _payment(self, payment: Transaction) -> dict[str, Any]:
        return {
            "id": str(payment.id),
            "type": payment.type,
            "status": payment.status,
            "signature": payment.signature,
            "slot": payment.slot,
            "from": self._name(payment.from_address),
            "to": self._name(payment.to_address),
            "amount": self._amount(payment.amount),
            "reason": payment.reason,
        }

    def _tables(self, problems: Sequence[str]) -> list[RenderableType]:
        shown = [
            fields("Mint", self.mint),
            self._payment_table(),
            self._refusal_table(),
            self._balance_table(),
            self._history_table(),
            self._limit_table(),
            check_table(self.verify),
        ]
        return _spaced(shown, self._ending(problems))

    def _ending(self, problems: Sequence[str]) -> Text:
        if problems:
            return Text(f"Failed: {'; '.join(problems)}", style="bold red")
        return Text(
            f"All {len(self.payments)} payments are finalized, {len(self.refused)} attempts were refused "
            f"without a trace, and all {len(self.verify.checks)} checks hold.",
            style="bold green",
        )

    def _payment_table(self) -> RenderableType:
        rows = [
            [
                str(number),
                payment.type,
                self._name(payment.from_address),
                self._name(payment.to_address),
                self._amount(payment.amount),
                payment.reason or "-",
                payment.status,
                short(payment.signature),
            ]
            for number, payment in enumerate(self.payments, start=1)
        ]
        columns = ["#>", "type", "from", "to", "amount>", "reason", "status", "signature"]
        return table("Payments", columns, rows)

    def _refusal_table(self) -> RenderableType:
        rows = [
            [refusal.what, refusal.error or "-", refusal.message, str(refusal.recorded)]
            for refusal in self.refused
        ]
        return table("Refused", ["attempt", "error", "message", "recorded>"], rows)

    def _balance_table(self) -> RenderableType:
        rows = [
            [name, self.people[name].tier if name in self.people else "operator", amount_text(balance)]
            for name, balance in self.balances.items()
        ]
        return table("Balances", ["who", "tier", "balance>"], rows)

    def _history_table(self) -> RenderableType:
        place = {person.address: number for number, person in enumerate(self.people.values())}
        changes = [row for row in self.history if row.owner_address in place]
        rows = [
            [
                self._name(row.owner_address),
                row.type,
                row.reason or "-",
                self._amount(row.balance_before),
                f"{'+' if row.change > 0 else ''}{self._amount(row.change)}",
                self._amount(row.balance_after),
                str(row.slot),
            ]
            for row in sorted(changes, key=lambda row: (place[row.owner_address], row.sequence))
        ]
        columns = ["who", "type", "reason", "before>", "change>", "after>", "slot>"]
        return table("Balance history of the users, from the finalized chain", columns, rows)

    def _limit_table(self) -> RenderableType:
        rows = [
            [
                use.person.name,
                use.person.tier,
                f"{use.rates.limit - use.rates.remaining} of {use.rates.limit} a minute",
                f"{use.purchases.current_count} of {use.purchases.max_count} a day",
            ]
            for use in self.limits
        ]
        return table("Limits used", ["who", "tier", "transfers", "purchases"], rows)

    def _name(self, address: str | None) -> str:
        return "-" if address is None else self.names.get(address, short(address))

    def _amount(self, amount_base_units: int) -> str:
        return format_amount(amount_base_units, decimals=self.decimals)


def _spaced(shown: Sequence[RenderableType], ending: Text) -> list[RenderableType]:
    return [item for part in shown for item in (part, Text())] + [ending]


def check_table(report: VerifyReport) -> RenderableType:
    """Lay out the checks of `verify`."""
    rows: list[list[str | Text]] = []
    for check in report.checks:
        verdict = Text("holds", style="green") if check.ok else Text("broken", style="bold red")
        rows.append([check.name, verdict, check.checked])
        rows += [["", "", row] for row in check.rows]
    return table("Verify", ["check", "result", "looked at"], rows)


def _limit_document(use: LimitUse) -> dict[str, Any]:
    return {
        "tier": use.person.tier,
        "transfers_per_minute": {"limit": use.rates.limit, "remaining": use.rates.remaining},
        "purchases_per_day": {"limit": use.purchases.max_count, "used": use.purchases.current_count},
    }
