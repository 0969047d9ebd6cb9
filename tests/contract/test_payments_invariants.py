"""The SQL rules run on every database, hold on good records and find what breaks them."""

from __future__ import annotations

from uuid import UUID

import pytest
import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.payments.attempts import AttemptStore
from deal_sdk.payments.changes import AttemptEnd
from deal_sdk.payments.intents import IntentStore
from deal_sdk.records import BalanceChange, BalanceHistoryRecorder, Database, UserDirectory
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.tables import (
    balance_reservations,
    payment_attempts,
    prepared_transactions,
    token_balance_history,
    token_rewards,
    token_transactions,
    token_wallets,
)
from tests.contract.payment_orders import (
    ALICE,
    STARTED,
    attempt,
    broken_rules,
    change,
    intent,
    party,
    purchase,
)

NAMES: tuple[AttemptEnd, ...] = ("finalized", "failed", "expired", "confirmed", "attempt_expired")


@pytest.fixture
def database_url(lasting_database_url: str) -> str:
    """SQLite and PostgreSQL; an ephemeral database is SQLite in a temporary file."""
    return lasting_database_url


@pytest.fixture
async def payments(database: Database, manual_clock: ManualClock) -> dict[str, UUID]:
    """Good records with a payment of every status, a reward, a purchase, history and wallets."""
    intents, attempts = IntentStore(database, manual_clock), AttemptStore(database, manual_clock)
    user = await UserDirectory(database).create()
    ids: dict[str, UUID] = {}
    for name in ("unsigned", "signed", *NAMES):
        order = intent(7, key=f"key-{name}", purchase=purchase(), sender=party("alice", user.id))
        ids[name] = (await intents.create(order)).payment.id
        if name != "unsigned":
            assert await attempts.add(attempt(ids[name], signature=f"of-{name}"))
    for end in NAMES:
        await attempts.settle(change(ids[end], 1, end))
    reward = intent(5, type="reward", reward_type="referral", recipient=party("alice", user.id))
    ids["reward"] = (await intents.create(reward)).payment.id
    await record_history(database)
    await record_wallets(database, user.id)
    await intents.close()
    await attempts.close()
    return ids


async def record_history(database: Database) -> None:
    row = BalanceChange(
        token_account=ALICE.token_account,
        owner_address=ALICE.address,
        signature="of-finalized",
        slot=200,
        block_index=0,
        balance_before=2**64 - 1,
        balance_after=2**64 - 8,
        type="transfer",
    )
    await BalanceHistoryRecorder(database).append([row])


async def record_wallets(database: Database, user_id: UUID) -> None:
    common = {"user_id": user_id, "connected_at": STARTED}
    rows = [
        {
            "id": UUID(int=1),
            "address": "one",
            "status": "active",
            "is_primary": True,
            "disconnected_at": None,
        },
        {
            "id": UUID(int=2),
            "address": "two",
            "status": "inactive",
            "is_primary": False,
            "disconnected_at": STARTED,
        },
    ]
    async with database.transaction() as connection:
        await connection.execute(token_wallets.insert(), [{**common, **row} for row in rows])


async def test_good_records_break_no_rule(database: Database, payments: dict[str, UUID]) -> None:
    assert await broken_rules(database) == {}


def of_payment(table: sa.Table, payment_id: UUID) -> sa.ColumnElement[bool]:
    condition: sa.ColumnElement[bool] = table.c.payment_id == payment_id
    return condition


async def test_each_rule_names_its_row(database: Database, payments: dict[str, UUID]) -> None:
    """One database is broken rule by rule, so that the same queries are proven on every dialect."""
    transactions = token_transactions.update().where(token_transactions.c.id == payments["finalized"])
    failed = token_transactions.update().where(token_transactions.c.id == payments["failed"])
    live = payment_attempts.update().where(of_payment(payment_attempts, payments["signed"]))
    reservations = balance_reservations.update()
    finalized_hold = of_payment(balance_reservations, payments["finalized"])
    breaches: dict[str, tuple[sa.Executable, object]] = {
        "history_is_what_payments_moved": (token_balance_history.update().values(change=-8), 1),
        "reservations_follow_their_payments": (
            reservations.where(finalized_hold).values(state="live"),
            payments["finalized"],
        ),
        "reservations_hold_the_amount": (
            reservations.where(finalized_hold).values(amount=8),
            payments["finalized"],
        ),
        "prepared_transactions_follow_their_payments": (
            prepared_transactions.insert().values(
                id=payments["finalized"],
                payment_id=payments["finalized"],
                number=1,
                status="open",
                message=b"message",
                last_valid_block_height=250,
                context_slot=100,
                created_at=STARTED,
                updated_at=STARTED,
            ),
            payments["finalized"],
        ),
        "reservations_name_their_delegates": (
            reservations.where(finalized_hold).values(delegate="somebody"),
            payments["finalized"],
        ),
        "debits_are_reserved": (
            balance_reservations.delete().where(of_payment(balance_reservations, payments["unsigned"])),
            payments["unsigned"],
        ),
        "finalized_payments_have_proof": (transactions.values(slot=None), payments["finalized"]),
        "keys_have_fingerprints": (transactions.values(fingerprint=None), payments["finalized"]),
        "failed_payments_have_evidence": (failed.values(evidence=None), payments["failed"]),
        "ended_attempts_have_evidence": (
            payment_attempts.update()
            .where(of_payment(payment_attempts, payments["expired"]))
            .values(evidence=None),
            4,
        ),
        "purchases_follow_their_payments": (
            token_purchases.update()
            .where(of_payment(token_purchases, payments["failed"]))
            .values(state="counted"),
            str(payments["failed"]),
        ),
        "rewards_are_recorded": (
            token_rewards.delete().where(of_payment(token_rewards, payments["reward"])),
            payments["reward"],
        ),
        "wallets_are_consistent": (
            token_wallets.update().where(token_wallets.c.address == "two").values(disconnected_at=None),
            UUID(int=2),
        ),
        "open_payments_have_no_finalized_attempt": (
            live.values(status="finalized", evidence={"slot": 1}),
            payments["signed"],
        ),
        "ended_payments_have_no_live_attempt": (
            payment_attempts.update()
            .where(of_payment(payment_attempts, payments["failed"]))
            .values(status="sent"),
            payments["failed"],
        ),
    }
    expected: dict[str, object] = {}
    for rule, (statement, identity) in breaches.items():
        async with database.transaction() as connection:
            await connection.execute(statement)
        expected[rule] = identity
        found = await broken_rules(database)
        assert {name: rows[0][1] for name, rows in found.items()} == expected
