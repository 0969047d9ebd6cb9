"""The demo's promises: each one that does not hold is named, and then the demo fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from deal_sdk.amounts import BaseUnits
from deal_sdk.cli.demo_report import DemoReport
from deal_sdk.cli.demo_story import Person, Refused
from deal_sdk.payments import VerifyReport
from deal_sdk.payments.verify import CheckResult
from deal_sdk.records import Transaction

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALICE = Person("alice", "Gift", UUID(int=1), "alice's address")
REFUSED = Refused("too much", "InsufficientBalanceError", "InsufficientBalanceError", "c", "m", 0)


def payment(type_: str, amount: int = 100_000_000) -> Transaction:
    return Transaction(
        id=uuid4(),
        idempotency_key=None,
        fingerprint=None,
        refund_of=None,
        type=type_,
        status="finalized",
        from_user_id=None,
        to_user_id=ALICE.user_id,
        from_address=ALICE.address if type_ == "burn" else None,
        to_address=None if type_ == "burn" else ALICE.address,
        amount=BaseUnits(amount),
        reason=None,
        instruction=None,
        signature="signature",
        slot=1,
        evidence=None,
        created_at=NOW,
        updated_at=NOW,
        confirmed_at=NOW,
        finalized_at=NOW,
    )


def sound() -> DemoReport:
    types = ["transfer"] * 8 + ["service_fee", "reward", "mint", "burn"]
    return DemoReport(
        mint={"address": "mint"},
        decimals=8,
        people={"alice": ALICE},
        names={ALICE.address: "alice"},
        payments=[payment(type_) for type_ in types],
        refused=[REFUSED],
        balances={"alice": Decimal("10"), "treasury": Decimal("5")},
        history=[],
        missing_history=0,
        limits=[],
        verify=VerifyReport((CheckResult("supply", True, "1 token accounts"),)),
    )


def test_a_sound_demo_exits_0() -> None:
    reply = sound().reply()
    assert reply.exit_code == 0
    assert reply.failure is None
    assert reply.document["ok"] is True
    assert reply.document["balances"] == {"alice": "10", "treasury": "5"}


def faults() -> dict[str, DemoReport]:
    report = sound()
    pending = [replace(report.payments[0], status="confirmed"), *report.payments[1:]]
    without_burn = [*report.payments[:-1], payment("transfer")]
    broken = VerifyReport((CheckResult("supply", False, "1 token accounts", ("row",)),))
    accepted = replace(REFUSED, error=None)
    return {
        "1 payments are not finalized": replace(report, payments=pending),
        "fewer than 12 payments are finalized": replace(report, payments=report.payments[1:]),
        "no payment of type burn": replace(report, payments=without_burn),
        "got no error": replace(report, refused=[accepted]),
        "got RpcTimeoutError": replace(report, refused=[replace(REFUSED, error="RpcTimeoutError")]),
        "left 1 payments recorded": replace(report, refused=[replace(REFUSED, recorded=1)]),
        "3 balance changes are missing": replace(report, missing_history=3),
        "alice holds 11, the payments add up to": replace(report, balances={"alice": Decimal("11")}),
        "verify: supply": replace(report, verify=broken),
        "did not settle": replace(report, problems=["payments did not settle in time"]),
    }


@pytest.mark.parametrize(("text", "report"), faults().items(), ids=list(faults()))
def test_a_broken_promise_is_named_and_fails_the_demo(text: str, report: DemoReport) -> None:
    reply = report.reply()
    assert reply.exit_code == 1
    assert reply.failure is not None
    assert reply.failure[0] == "demo_failed"
    assert text in reply.failure[1]
    assert reply.document["ok"] is False
    assert any(text in problem for problem in reply.document["problems"])
