"""Several owners charged in one transaction: packed to its size, and nobody judged by another's failure."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_sdk import Deal, Transaction
from deal_sdk.chain.transactions import MAX_TRANSACTION_BYTES
from deal_sdk.errors import AllowanceError, ChargeRefusedError, FeePayerError, TokenError
from deal_sdk.payments import AllowanceRequest, Charge
from deal_sdk.payments.allowances import sharing
from deal_sdk.payments.orders import Plan
from tests.integration.conftest import FAST_CHAIN, MakePerson, Person, assert_books_agree

pytestmark = pytest.mark.slow

REQUEST = AllowanceRequest("6", timedelta(days=1), "4", "9")


async def owners(deal: Deal, make_person: MakePerson, count: int) -> list[Person]:
    """Return users who have opened an allowance."""
    await deal.allowances.initialize()
    people = await asyncio.gather(*(make_person("10") for _ in range(count)))
    await asyncio.gather(*(deal.allowances.open(person.user.id, REQUEST) for person in people))
    return list(people)


def charges_of(people: Sequence[Person], amount: str = "1", key: str = "fee") -> list[Charge]:
    return [
        Charge(person.user.id, amount, idempotency_key=f"{key}-{place}")
        for place, person in enumerate(people)
    ]


def paid(results: Sequence[Transaction | TokenError]) -> list[Transaction]:
    payments = [result for result in results if isinstance(result, Transaction)]
    assert len(payments) == len(results), results
    return payments


async def attempts_of(deal: Deal, payment: Transaction) -> list[tuple[str, str]]:
    return [(found.status, found.signature) for found in await deal.transactions.attempts(payment.id)]


async def test_several_owners_are_charged_in_one_transaction(deal: Deal, make_person: MakePerson) -> None:
    people = await owners(deal, make_person, 4)
    payments = paid(await deal.allowances.charge_many(charges_of(people), wait_for="finalized"))
    (signature,) = {payment.signature for payment in payments}
    events = await deal.allowances.events(str(signature))
    assert {event.fields["reference"] for event in events} == {payment.id for payment in payments}
    assert {await deal.tokens.balance_of(person.user.id) for person in people} == {Decimal(9)}
    again = paid(await deal.allowances.charge_many(charges_of(people), wait_for="finalized"))
    assert [payment.id for payment in again] == [payment.id for payment in payments]


async def test_a_transaction_takes_as_many_as_it_holds(deal: Deal, make_person: MakePerson) -> None:
    people = await owners(deal, make_person, 8)
    payments = paid(await deal.allowances.charge_many(charges_of(people)))
    members = Counter(str(payment.signature) for payment in payments)
    assert sorted(members.values(), reverse=True)[0] >= 5
    assert len(members) == 2
    for signature in members:
        found = await deal._attempts.find_transaction(signature)
        assert found is not None
        assert len(found.raw_bytes) <= MAX_TRANSACTION_BYTES


async def test_of_one_owners_charges_the_first_shares_and_the_others_follow(
    deal: Deal, make_person: MakePerson
) -> None:
    people = await owners(deal, make_person, 2)
    charges = [*charges_of(people), *charges_of(people, key="second")]
    payments = paid(await deal.allowances.charge_many([*charges, charges[0]]))
    assert payments[4].id == payments[0].id
    assert len({payment.signature for payment in payments[:4]}) <= 3
    for person in people:
        state = await deal.allowances.fetch(person.user.id)
        assert state is not None
        assert (state.next_sequence, state.charged_total_base_units) == (2, 200_000_000)


async def test_a_refusal_before_anything_is_sent_holds_nobody_up(deal: Deal, make_person: MakePerson) -> None:
    people = await owners(deal, make_person, 3)
    charges = charges_of(people)
    charges[1] = Charge(people[1].user.id, "4.5")
    results = await deal.allowances.charge_many(charges)
    assert isinstance(results[1], AllowanceError)
    first, third = paid([results[0], results[2]])
    assert first.signature == third.signature
    assert await deal.allowances.charge_many([]) == []


async def test_a_shared_failure_judges_nobody_and_the_guilty_one_fails_alone(
    deal: Deal, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One owner lowers the terms after the charges were recorded, which only the program can see."""
    people = await owners(deal, make_person, 3)
    build = deal._program.charges.charge_now
    poisoned = deal.token_account_of(Pubkey.from_string(people[1].address))

    async def tighten(payment_id: UUID, plan: Plan, amount: int) -> Instruction | None:
        built = await build(payment_id, plan, amount)
        if plan.source == str(poisoned):
            await deal.allowances.change(
                people[1].user.id, AllowanceRequest("1", timedelta(days=1), "1", "9")
            )
        return built

    monkeypatch.setattr(deal._program.charges, "charge_now", tighten)
    monkeypatch.setattr(sharing, "MAX_BOARDING_SECONDS", 30.0)
    results = await deal.allowances.charge_many(charges_of(people, "2"), wait_for="finalized")
    guilty = results[1]
    assert isinstance(guilty, ChargeRefusedError)
    assert guilty.facts["refusal"] == "OverChargeLimit"
    innocent = paid([results[0], results[2]])
    histories = [await attempts_of(deal, payment) for payment in innocent]
    assert [[status for status, _ in history] for history in histories] == [["failed", "finalized"]] * 2
    assert histories[0][0][1] == histories[1][0][1], "the first attempt was shared"
    assert histories[0][1][1] != histories[1][1][1], "the second one was not"
    assert [await deal.tokens.balance_of(person.user.id) for person in people] == [8, 10, 8]


async def test_what_cannot_be_signed_together_goes_alone(
    deal: Deal, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = await owners(deal, make_person, 2)
    sign = deal._program.sharing._signer.sign_instructions
    refused: list[int] = []

    async def refuse_once(built: Sequence[Instruction], *rest: Any, **options: Any) -> Any:
        if not refused:
            refused.append(len(built))
            raise FeePayerError("too few lamports for a moment")
        return await sign(built, *rest, **options)

    monkeypatch.setattr(deal._program.sharing._signer, "sign_instructions", refuse_once)
    payments = paid(await deal.allowances.charge_many(charges_of(people)))
    assert refused == [2]
    assert len({payment.signature for payment in payments}) == 2


async def test_who_is_late_goes_alone(
    deal: Deal, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = await owners(deal, make_person, 3)
    build = deal._program.charges.charge_now
    late = deal.token_account_of(Pubkey.from_string(people[2].address))
    others = asyncio.Event()

    async def dawdle(payment_id: UUID, plan: Plan, amount: int) -> Instruction | None:
        if plan.source == str(late):
            await others.wait()
        return await build(payment_id, plan, amount)

    monkeypatch.setattr(deal._program.charges, "charge_now", dawdle)
    monkeypatch.setattr(sharing, "MAX_BOARDING_SECONDS", 0.2)

    async def let_go(_: object) -> None:
        others.set()

    deal.events.subscribe("payment.confirmed", let_go)
    payments = paid(await deal.allowances.charge_many(charges_of(people)))
    assert payments[0].signature == payments[1].signature != payments[2].signature


async def test_the_last_attempt_may_be_a_shared_one() -> None:
    """A failure that was shared judges nobody, even when no more attempts are allowed than one."""
    async with Deal.open(**FAST_CHAIN, max_payment_attempts=1) as deal:
        await deal.allowances.initialize()
        users = [await deal.users.create(tier="Business") for _ in range(2)]
        for user in users:
            await deal.wallets.create_custodial(user.id)
            await deal.tokens.transfer("treasury", user.id, "10")
            await deal.allowances.open(user.id, REQUEST)
        build = deal._program.charges.charge_now

        async def empty_the_first(payment_id: UUID, plan: Plan, amount: int) -> Instruction | None:
            built = await build(payment_id, plan, amount)
            if not emptied:
                emptied.append(payment_id)
                await deal.allowances.change(users[0].id, AllowanceRequest("1", timedelta(days=1), "1", "9"))
            return built

        emptied: list[UUID] = []
        deal._program.charges.charge_now = empty_the_first  # type: ignore[method-assign]
        results = await deal.allowances.charge_many(
            [Charge(user.id, "2") for user in users], wait_for="finalized"
        )
        assert [type(result) for result in results] == [ChargeRefusedError, Transaction], results
        await assert_books_agree(deal)
