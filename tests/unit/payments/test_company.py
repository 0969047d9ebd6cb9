"""A company of charges is complete when nobody is missing, however each of them came or stayed away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from deal_sdk.payments.allowances.company import Company, Passenger
from deal_sdk.payments.attempts import LiveAttempt
from tests.contract.payment_orders import attempt

AUTHORITY = Pubkey.new_unique()


def passenger() -> Passenger:
    metas = [AccountMeta(Pubkey.new_unique(), False, True), AccountMeta(AUTHORITY, True, False)]
    return Passenger(uuid4(), Instruction(Pubkey.new_unique(), b"", metas))


def payment(group_id: str | None = None) -> Any:
    return SimpleNamespace(id=uuid4(), instruction={"kind": "charge", "group_id": group_id})


async def test_it_is_complete_when_each_has_boarded_or_stays_away() -> None:
    company = Company("ours", 3)
    company.board(passenger())
    company.stay_away()
    assert not company.complete.done()
    company.board(passenger())
    assert company.complete.done()
    company.stay_away()
    assert len(company.aboard) == 2


async def test_what_is_no_new_payment_of_it_is_not_waited_for() -> None:
    company = Company("ours", 5)
    mine = payment("ours")
    company.expect(mine)
    for found in (mine, payment("another's"), payment(), None):
        assert not company.complete.done()
        company.expect(found)
    # The one that is coming is still missing.
    assert not company.complete.done()
    company.board(passenger())
    assert company.complete.done()


async def test_a_passenger_is_told_once_and_may_be_gone() -> None:
    one, gone = passenger(), passenger()
    shared: LiveAttempt = attempt(one.payment_id)
    one.tell(shared)
    one.tell(None)
    assert await one.told == shared
    gone.told.cancel()
    gone.tell(shared)
    assert gone.told.cancelled()
    assert one.authority == AUTHORITY


async def test_who_leaves_twice_leaves_once() -> None:
    company = Company("ours", 2)
    first, second = passenger(), passenger()
    company.board(first)
    company.board(second)
    company.leave(first)
    company.leave(first)
    assert company.aboard == [second]
