"""One user's data handed over whole, and erased for good, while the books go on to hold."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import orjson
import pytest

from deal_sdk import Deal
from deal_sdk.errors import UserBusyError, UserNotFoundError
from deal_sdk.events import Event
from deal_sdk.limits import CalendarWindow, PurchaseTerms
from deal_sdk.records.webhook_tables import webhook_events
from tests.integration.conftest import MakePerson, Person, assert_books_agree, localnet_of

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 10
EXTERNAL_ID = "chat-4711-of-alice"
WELCOME_KEY = f"welcome {EXTERNAL_ID}"
PROMPT = "a picture of my own house"
NAME = "Alice of Example Street"
REASON = "for a picture of my own house"


async def customer(deal: Deal, make_person: MakePerson) -> Person:
    """Return somebody of whom every part of the package has rows."""
    person = await make_person("10")
    user_id = person.user.id
    await deal.credits.credit(
        user_id, "purchase", 100, {"order": 7}, idempotency_key=f"welcome {EXTERNAL_ID}"
    )
    await deal.credits.credit(user_id, "purchase", 20, expires_in=timedelta(days=3))
    spent = await deal.credits.debit(user_id, "image_generation", 30, metadata={"prompt": PROMPT})
    assert spent.ledger_entry_id is not None
    await deal.credits.refund(user_id, 5, spent.ledger_entry_id, PROMPT)
    held = await deal.billing.hold(user_id, "image_generation", 10, {"prompt": PROMPT})
    assert held.hold_id is not None
    await deal.billing.post(held.hold_id, 4)
    await deal.renewals.subscribe(user_id, "Professional", "invoice-1")
    await deal.tokens.transfer(user_id, "treasury", "2", reason=REASON, wait_for="finalized")
    await deal.rates.check_limit(user_id, "Business", "image_generation")
    await deal.purchases.set_policy(user_id, str(deal.mint.address), 3)
    return person


async def test_all_that_is_kept_is_handed_over(deal: Deal, make_person: MakePerson) -> None:
    person, other = await customer(deal, make_person), await make_person("1")
    document = await deal.personal_data.export_user_data(str(person.user.id))
    text = orjson.dumps(document).decode()
    assert document["user_id"] == str(person.user.id)
    tables = document["tables"]
    counts = {name: len(rows) for name, rows in tables.items() if rows}
    assert {name: counts[name] for name in ("users", "token_wallets", "token_operations", "credit_lots")} == {
        "users": 1,
        "token_wallets": 1,
        "token_operations": 6,
        "credit_lots": 1,
    }
    for name in (
        *("token_transactions", "payment_attempts", "token_balance_history", "token_accounts"),
        *("credit_transfers", "credit_holds", "credit_lot_burns", "credit_renewals", "credit_schedules"),
        *("subscription_history", "purchase_policies", "credit_accounts"),
    ):
        assert counts[name] > 0, name
    assert document["limits"]["rates"] == ["image_generation", "transfer"]
    for said in (PROMPT, REASON, person.address):
        assert said in text
    assert str(other.user.id) not in text
    assert "ciphertext" not in text
    with pytest.raises(UserNotFoundError):
        await deal.personal_data.export_user_data(uuid4())


async def test_what_is_personal_is_erased_and_the_books_hold(deal: Deal, make_person: MakePerson) -> None:
    person, other = await customer(deal, make_person), await make_person("1")
    user_id = person.user.id
    by_day = PurchaseTerms(calendar=CalendarWindow("day", "Europe/Berlin"))
    await deal.purchases.increment_and_validate_purchase(user_id, "MINT", 1, terms=by_day)
    await deal.billing.get_balance(user_id)
    before = await deal.ledger.get_user_entries(user_id)
    told = {"id": uuid4(), "type": "order_shipped", "created_at": deal.clock.now()}
    told["body"] = orjson.dumps({"data": {"user": str(user_id), "name": NAME}})
    async with deal.database.transaction() as connection:
        await connection.execute(webhook_events.insert().values(told))
    was_told = asyncio.Event()

    async def note(event: Event) -> None:
        assert event.data == {"user": str(user_id)}
        was_told.set()

    deal.events.subscribe("user_erased", note)
    report = await deal.personal_data.erase_user(user_id)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await was_told.wait()
    assert not report.replayed
    assert report.erased["entries"] > 0
    assert report.erased["wallets"] == report.erased["policies"] == 1
    document = await deal.personal_data.export_user_data(user_id)
    [event] = document["tables"]["webhook_events"]
    emptied = {"data": {"erased": True, "user": str(user_id)}}
    assert orjson.loads(bytes.fromhex(event["body"])) == emptied
    text = orjson.dumps(document).decode()
    for said in (EXTERNAL_ID, PROMPT, REASON, NAME, "welcome"):
        assert said not in text
    assert document["limits"] == {"rates": [], "purchases": []}
    assert (await deal.purchases.can_user_purchase_token(user_id, "MINT", 1, terms=by_day)).can_purchase
    after = await deal.ledger.get_user_entries(user_id)
    written_off, *kept = after
    assert (written_off.operation_type, written_off.balance_after) == ("erasure", 0)
    facts = [(entry.id, entry.amount, entry.created_at, entry.entry_hash) for entry in kept]
    assert facts == [(entry.id, entry.amount, entry.created_at, entry.entry_hash) for entry in before]
    assert {entry.metadata for entry in kept} == {None}  # type: ignore[comparison-overlap]
    user = await deal.users.get(user_id)
    assert (user.external_id, user.username, user.tokens_balance) == (None, None, 0)
    assert user.erased_at is not None
    assert [wallet.status for wallet in await deal.wallets.list_wallets(user_id)] == ["inactive"]
    await assert_books_agree(deal)
    assert str(other.user.id) not in text
    assert (await deal.users.get(other.user.id)).erased_at is None


async def test_erasing_again_says_what_was_erased(deal: Deal, make_person: MakePerson) -> None:
    person = await customer(deal, make_person)
    first = await deal.personal_data.erase_user(person.user.id)
    again = await deal.personal_data.erase_user(person.user.id)
    assert (again.erased, again.erased_at, again.replayed) == (first.erased, first.erased_at, True)
    assert again.to_dict()["user_id"] == str(person.user.id)
    with pytest.raises(UserNotFoundError):
        await deal.personal_data.erase_user(uuid4())


async def test_an_erased_user_does_nothing_more(deal: Deal, make_person: MakePerson) -> None:
    person = await customer(deal, make_person)
    user_id = person.user.id
    await deal.personal_data.erase_user(user_id)
    key = WELCOME_KEY
    for result in (
        await deal.credits.credit(user_id, "purchase", 100, {"order": 7}, idempotency_key=key),
        await deal.credits.debit(user_id, "video", 1, allow_overdraft=True),
        await deal.billing.hold(user_id, "video", 1),
        await deal.renewals.subscribe(user_id, "Professional", "invoice-2"),
    ):
        assert (result.success, result.code) == (False, "user_not_found")
    report = await deal.renewals.renew_all_eligible()
    assert (report.processed, report.failed) == (0, 0)
    assert (await deal.renewals.renew_user(user_id)).code == "user_not_found"
    with pytest.raises(UserNotFoundError):
        await deal.wallets.connect_wallet(user_id, person.address)


async def test_what_is_under_way_ends_first(deal: Deal, make_person: MakePerson) -> None:
    person = await customer(deal, make_person)
    held = await deal.billing.hold(person.user.id, "image_generation", 10)
    assert held.hold_id is not None
    with pytest.raises(UserBusyError) as refusal:
        await deal.personal_data.erase_user(person.user.id)
    assert refusal.value.facts["credits_held"] == 10
    assert (await deal.credits.get_balance(person.user.id)).tokens_balance > 0
    await deal.billing.void(held.hold_id)
    localnet_of(deal).pause()
    await deal.tokens.transfer(person.user.id, "treasury", "1", wait_for="recorded")
    with pytest.raises(UserBusyError):
        await deal.personal_data.erase_user(person.user.id)
    localnet_of(deal).resume()
    assert await deal.settled(timeout_seconds=30)
    await deal.personal_data.erase_user(person.user.id)
