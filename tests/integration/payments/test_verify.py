"""Each check of `verify` is broken by an alteration of its own, and names the row that was altered."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
import sqlalchemy as sa
from solders.account import Account
from solders.pubkey import Pubkey

from deal_sdk import Deal, PurchaseLimit, Transaction
from deal_sdk.accounting import CREDIT_INVARIANTS
from deal_sdk.chain import SignedTransaction
from deal_sdk.monitor import SUBSCRIPTION_INVARIANTS, WATCH_INVARIANTS, PurchaseOrder, WatchedBuy
from deal_sdk.payments import Invoice, Plan
from deal_sdk.payments.invariants import SQL_INVARIANTS
from deal_sdk.records.accrual_tables import service_fee_accruals, service_fee_settlements
from deal_sdk.records.credit_tables import (
    credit_accounts,
    credit_holds,
    credit_openings,
    credit_transfers,
    token_operations,
)
from deal_sdk.records.invoice_tables import invoice_payments, invoices
from deal_sdk.records.lot_tables import credit_lot_burns, credit_lots
from deal_sdk.records.package_tables import credit_package_grants, credit_packages
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.renewal_tables import credit_renewals
from deal_sdk.records.subscription_tables import subscription_purchases
from deal_sdk.records.tables import (
    balance_reservations,
    payment_attempts,
    prepared_transactions,
    token_balance_history,
    token_rewards,
    token_transactions,
    token_wallets,
    users,
)
from tests.integration.conftest import FAST_CHAIN, localnet_of
from tests.integration.outside import pay_outside

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

READ_CHECKS = {"supply", "history_chains", "history_ends_at_chain", "credit_chains"}
SUPPLY_OFFSET, AMOUNT_OFFSET = 36, 64
FINALITY_SLOTS = 12
BLOCKHASH_LIFETIME_SLOTS = 600
"""More than the embedded chain's blockhashes live when its slots are this short."""


@dataclass
class World:
    """A Deal with a payment of every status, and how to put it back after an alteration."""

    deal: Deal
    payments: dict[str, Transaction] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    users: dict[str, UUID] = field(default_factory=dict)
    invoice: Invoice | None = None
    undo: list[Callable[[], None]] = field(default_factory=list)

    async def execute(self, *statements: sa.Executable) -> None:
        async with self.deal._database.transaction() as connection:
            for statement in statements:
                await connection.execute(statement)

    async def one(self, query: sa.Select[Any]) -> Any:
        async with self.deal._database.reading() as connection:
            return (await connection.execute(query)).scalars().first()

    def token_account(self, name: str) -> str:
        return str(self.deal.token_account_of(Pubkey.from_string(self.addresses[name])))

    async def history_row(self, name: str, position: int) -> int:
        """Return the id of an account's history row; -1 is its last."""
        page = await self.deal.history.query(token_account=self.token_account(name))
        return page.items[position].id

    def overwrite_u64(self, address: Pubkey, offset: int, delta: int) -> None:
        """Change a number in an account of the chain behind everybody's back."""
        localnet = localnet_of(self.deal)
        account: Account = localnet.bank.accounts.current(address)

        def write(data: bytes) -> None:
            altered = Account(account.lamports, data, account.owner, account.executable, account.rent_epoch)
            localnet.set_account(address, altered)
            localnet.advance_slots(FINALITY_SLOTS)

        value = int.from_bytes(account.data[offset : offset + 8], "little") + delta
        write(account.data[:offset] + value.to_bytes(8, "little") + account.data[offset + 8 :])
        self.undo.append(lambda: write(account.data))


class HookedSigner:
    """Signs as the pipeline's signer does, with something that happens before or after."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.before: Callable[[], Awaitable[Any]] | None = None
        self.after: Callable[[], Any] | None = None

    async def sign(self, payment_id: UUID, plan: Plan, amount_base_units: int) -> SignedTransaction:
        if self.before is not None:
            before, self.before = self.before, None
            await before()
        signed: SignedTransaction = await self._inner.sign(payment_id, plan, amount_base_units)
        if self.after is not None:
            after, self.after = self.after, None
            after()
        return signed


async def signed_later(payment_id: UUID, plan: Plan, amount_base_units: int) -> None:
    """Sign nothing before a payment is recorded."""


class NeverSent:
    """A follower that keeps what it was given to itself."""

    def __init__(self) -> None:
        self.given = asyncio.Event()

    def follow(self, transaction: SignedTransaction) -> NeverSent:
        self.given.set()
        return self

    async def reached(self, commitment: Any) -> Any:
        await asyncio.Event().wait()


async def fill(world: World) -> None:
    deal, pay = world.deal, world.deal.tokens.transfer
    for name in ("alice", "bob", "carol", "dave"):
        user = await deal.users.create(tier="Business")
        world.users[name] = user.id
        world.addresses[name] = (await deal.wallets.create_custodial(user.id)).address
    alice, bob, dave = (world.users[name] for name in ("alice", "bob", "dave"))
    left = await deal.wallets.create_custodial(bob)
    await deal.wallets.disconnect_wallet(bob, left.address)
    world.addresses["left"] = left.address
    for name, amount in ((alice, "10"), (dave, "5"), ("reward", "50")):
        await pay("treasury", name, amount)
    limit = PurchaseLimit("TokenOfChoice", 3)
    world.payments["finalized"] = await pay(
        alice, bob, "1", idempotency_key="key-1", purchase_limit=limit, wait_for="finalized"
    )
    world.payments["reward"] = await deal.rewards.distribute_reward(bob, "referral", "2")
    for service in ("search", "goal"):
        await deal.tokens.accrue_service_fee(alice, service)
    [world.payments["settlement"]] = (await deal.tokens.settle_service_fees(wait_for="finalized")).payments
    await deal.tokens.accrue_service_fee(alice, "search")
    treasury = await deal.keystore.signer_by_name("treasury")
    for amount in (300, 200):
        await pay_outside(deal, treasury, world.addresses["carol"], amount)
    assert await deal.settled(timeout_seconds=30)
    await fill_credits(world, alice)
    await fill_lots(world)
    await buy_credits(world, alice)
    await fill_without_success(world, dave)


async def fill_credits(world: World, user_id: UUID) -> None:
    """Grant credits, spend some, and give a part of them back."""
    credits = world.deal.credits
    await credits.credit(user_id, "purchase", 100)
    for amount in (30, 5):
        spent = await credits.debit(user_id, "image_generation", amount, metadata={"picture": amount})
    assert spent.ledger_entry_id is not None
    await credits.refund(user_id, 5, spent.ledger_entry_id)
    await world.deal.renewals.subscribe(user_id, "Professional", "invoice-1")
    held = [await world.deal.billing.hold(user_id, "image_generation") for _ in range(2)]
    assert held[0].hold_id is not None
    await world.deal.billing.post(held[0].hold_id, 7)


async def fill_lots(world: World) -> None:
    """Grant credits that expire, and spend some of them; fold one user's entries, and erase another."""
    bob = world.users["bob"]
    await world.deal.credits.credit(bob, "purchase", 60, expires_in=timedelta(days=1))
    await world.deal.credits.debit(bob, "image_generation", 11)
    eve = world.users["eve"] = (await world.deal.users.create(username="eve")).id
    await world.deal.credits.credit(eve, "purchase", 4, {"name": "eve"})
    await world.deal.personal_data.erase_user(eve)
    carol = world.users["carol"]
    await world.deal.credits.credit(carol, "purchase", 3)
    await world.deal.ledger.delete_old_entries(world.deal.clock.now(), carol)


async def buy_credits(world: World, user_id: UUID) -> None:
    await world.deal.packages.offer("starter", 500, "0.5")
    bought = await world.deal.packages.buy(user_id, "starter", wait_for="finalized")
    world.payments["bought"] = bought
    world.invoice = await world.deal.packages.invoice(user_id, "starter")
    payer = await world.deal.keystore.signer_by_name("reward")
    await pay_outside(
        world.deal, payer, world.invoice.recipient, 50_000_000, reference=world.invoice.reference
    )
    await world.deal.reconcile()


async def fill_without_success(world: World, dave: UUID) -> None:
    """Add a failed, an expired and two pending payments."""
    deal, pay = world.deal, world.deal.tokens.transfer
    # Payments are to be recorded first and signed by their drivers, where the test can come between.
    deal._pipeline._signer.sign_early = signed_later  # type: ignore[attr-defined]
    signer = deal._pipeline._signer = HookedSigner(deal._pipeline._signer)
    owner = await deal.keystore.signer(world.addresses["dave"])
    signer.before = lambda: pay_outside(deal, owner, world.addresses["carol"], 500_000_000)
    world.payments["failed"] = await pay(dave, "treasury", "5", wait_for="recorded")
    assert await deal.settled(timeout_seconds=30)
    localnet = localnet_of(deal)
    signer.after = lambda: localnet.advance_slots(BLOCKHASH_LIFETIME_SLOTS)
    world.payments["expired"] = await pay("treasury", dave, "1", wait_for="recorded")
    assert await deal.settled(timeout_seconds=30)
    never_sent = NeverSent()
    follower, deal._pipeline._follower = deal._pipeline._follower, never_sent
    world.payments["signed"] = await pay("treasury", dave, "1", wait_for="recorded")
    await never_sent.given.wait()
    deal._pipeline._follower = follower
    signer.before = asyncio.Event().wait
    world.payments["unsigned"] = await pay("treasury", dave, "1", wait_for="recorded")
    for name, status in (("failed", "failed"), ("expired", "expired"), ("signed", "pending")):
        assert (await deal.transactions.get(world.payments[name].id)).status == status


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled_world() -> AsyncIterator[World]:
    settings = {"max_payment_attempts": 1, "rebroadcast_interval_seconds": 0.1}
    async with Deal.open(**FAST_CHAIN, **settings, history_poll_interval_seconds=0.05) as deal:
        world = World(deal)
        await fill(world)
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def world(filled_world: World) -> AsyncIterator[World]:
    """The filled world, put back as it was after the test."""
    await filled_world.deal.reconcile()
    live = sqlite3.connect(filled_world.deal._database.location.url.database or "")
    kept = sqlite3.connect(":memory:")
    live.backup(kept)
    yield filled_world
    while filled_world.undo:
        filled_world.undo.pop()()
    kept.backup(live)
    kept.close()
    live.close()
    report = await filled_world.deal.verify()
    assert report.ok, [check for check in report.checks if not check.ok]


@dataclass(frozen=True)
class Alteration:
    """One thing that is altered: the check that notices, and those that cannot but notice too."""

    check: str
    alter: Callable[[World], Awaitable[str]]
    """Alters one thing and returns what the check must name."""
    implied: frozenset[str] = frozenset()


ALTERATIONS: dict[str, Alteration] = {}


def breaks(check: str, *implied: str) -> Callable[[Callable[[World], Awaitable[str]]], None]:
    def register(alter: Callable[[World], Awaitable[str]]) -> None:
        ALTERATIONS[alter.__name__] = Alteration(check, alter, frozenset(implied))

    return register


def payment_update(world: World, name: str, **values: Any) -> sa.Update:
    found = token_transactions.c.id == world.payments[name].id
    return token_transactions.update().where(found).values(**values)


def attempt_update(world: World, name: str, **values: Any) -> sa.Update:
    found = payment_attempts.c.payment_id == world.payments[name].id
    return payment_attempts.update().where(found).values(**values)


def attempt_insert(world: World, name: str, **values: Any) -> sa.Insert:
    now = world.deal.clock.now()
    row = {
        "payment_id": world.payments[name].id,
        "number": 7,
        "status": "sent",
        "signature": "another",
        "signed_bytes": b"",
        "last_valid_block_height": 1,
        "context_slot": 1,
        "created_at": now,
        "updated_at": now,
    }
    return payment_attempts.insert().values({**row, **values})


def reservation_update(world: World, name: str, **values: Any) -> sa.Update:
    found = balance_reservations.c.payment_id == world.payments[name].id
    return balance_reservations.update().where(found).values(**values)


def history_update(row_id: int, **values: Any) -> sa.Update:
    return token_balance_history.update().where(token_balance_history.c.id == row_id).values(**values)


def named(table: sa.Table, identity: object) -> str:
    return f"{table.name} {identity}:"


@breaks("supply")
async def the_mint_claims_a_supply_that_nobody_holds(world: World) -> str:
    world.overwrite_u64(world.deal.mint.address, SUPPLY_OFFSET, 1)
    return f"mint {world.deal.mint.address}:"


@breaks("supply", "history_ends_at_chain")
async def an_account_holds_tokens_from_nowhere(world: World) -> str:
    world.overwrite_u64(Pubkey.from_string(world.token_account("carol")), AMOUNT_OFFSET, 1)
    return f"mint {world.deal.mint.address}:"


@breaks("history_ends_at_chain", "supply")
async def a_balance_moved_without_a_transaction(world: World) -> str:
    world.overwrite_u64(Pubkey.from_string(world.token_account("carol")), AMOUNT_OFFSET, -1)
    return named(token_balance_history, await world.history_row("carol", -1))


@breaks("history_ends_at_chain")
async def the_last_row_ends_elsewhere(world: World) -> str:
    row = await world.history_row("carol", -1)
    last = await world.deal.history.latest(world.token_account("carol"))
    assert last is not None
    await world.execute(history_update(row, balance_after=last.balance_after + 1, change=last.change + 1))
    return named(token_balance_history, row)


@breaks("history_ends_at_chain")
async def an_account_lost_all_its_rows(world: World) -> str:
    account = world.token_account("carol")
    await world.execute(
        token_balance_history.delete().where(token_balance_history.c.token_account == account)
    )
    return f"no row: {account} "


@breaks("history_chains")
async def a_row_was_renumbered(world: World) -> str:
    row = await world.history_row("carol", -1)
    await world.execute(history_update(row, sequence=9))
    return named(token_balance_history, row)


@breaks("history_chains")
async def a_row_in_the_middle_was_removed(world: World) -> str:
    row = await world.history_row("carol", 1)
    await world.execute(token_balance_history.delete().where(token_balance_history.c.id == row))
    return named(token_balance_history, await world.history_row("carol", 1))


@breaks("history_chains")
async def a_row_starts_where_the_one_before_did_not_end(world: World) -> str:
    row = await world.history_row("carol", 1)
    await world.execute(history_update(row, balance_before=299, change=201))
    return named(token_balance_history, row)


@breaks("history_chains")
async def a_change_is_not_the_difference(world: World) -> str:
    row = await world.history_row("carol", -1)
    await world.execute(history_update(row, change=1))
    return named(token_balance_history, row)


@breaks("history_chains")
async def a_row_is_older_than_the_one_before(world: World) -> str:
    row = await world.history_row("carol", -1)
    await world.execute(history_update(row, slot=1))
    return named(token_balance_history, row)


@breaks("finalized_payments_have_proof")
async def a_finalized_payment_shows_another_signature(world: World) -> str:
    await world.execute(payment_update(world, "finalized", signature="another"))
    return named(token_transactions, world.payments["finalized"].id)


@breaks("finalized_payments_have_proof")
async def a_finalized_payment_lost_its_slot(world: World) -> str:
    await world.execute(payment_update(world, "finalized", slot=None))
    return named(token_transactions, world.payments["finalized"].id)


@breaks("finalized_payments_have_proof", "ended_payments_have_no_live_attempt")
async def a_finalized_payment_has_an_attempt_under_way(world: World) -> str:
    await world.execute(attempt_update(world, "finalized", status="sent"))
    return named(token_transactions, world.payments["finalized"].id)


@breaks("finalized_payments_have_proof", "reservations_follow_their_payments")
async def a_pending_payment_is_called_finalized(world: World) -> str:
    await world.execute(payment_update(world, "unsigned", status="finalized"))
    return named(token_transactions, world.payments["unsigned"].id)


@breaks("failed_payments_have_evidence")
async def a_failure_without_evidence(world: World) -> str:
    await world.execute(payment_update(world, "failed", evidence=None))
    return named(token_transactions, world.payments["failed"].id)


@breaks("failed_payments_have_evidence")
async def an_expiry_without_evidence(world: World) -> str:
    await world.execute(payment_update(world, "expired", evidence=None))
    return named(token_transactions, world.payments["expired"].id)


@breaks("ended_payments_have_no_live_attempt")
async def an_ended_payment_was_sent_again(world: World) -> str:
    await world.execute(attempt_insert(world, "failed"))
    return named(token_transactions, world.payments["failed"].id)


@breaks("open_payments_have_no_finalized_attempt")
async def an_open_payment_has_landed(world: World) -> str:
    await world.execute(attempt_update(world, "signed", status="finalized", evidence={"slot": 1}))
    return named(token_transactions, world.payments["signed"].id)


@breaks("one_live_attempt_per_payment")
async def a_second_attempt_is_under_way(world: World) -> str:
    await world.execute(sa.text("DROP INDEX uq_payment_attempts_live"), attempt_insert(world, "signed"))
    second = await world.one(sa.select(payment_attempts.c.id).where(payment_attempts.c.number == 7))
    return named(payment_attempts, second)


@breaks("ended_attempts_have_evidence")
async def an_attempt_ended_without_evidence(world: World) -> str:
    await world.execute(attempt_update(world, "failed", evidence=None))
    of_failed = payment_attempts.c.payment_id == world.payments["failed"].id
    return named(payment_attempts, await world.one(sa.select(payment_attempts.c.id).where(of_failed)))


async def settled_fee(world: World) -> int:
    """Return the id of a fee that the settlement took on."""
    mine = service_fee_accruals.c.payment_id == world.payments["settlement"].id
    fee: int = await world.one(sa.select(service_fee_accruals.c.id).where(mine))
    return fee


def fee_update(row_id: int, **values: Any) -> sa.Update:
    return service_fee_accruals.update().where(service_fee_accruals.c.id == row_id).values(**values)


@breaks("settlements_pay_their_fees")
async def a_settled_fee_is_owed_again(world: World) -> str:
    await world.execute(fee_update(await settled_fee(world), payment_id=None))
    return named(service_fee_settlements, world.payments["settlement"].id)


@breaks("settlements_pay_their_fees")
async def a_settlement_took_on_a_fee_that_it_did_not_pay(world: World) -> str:
    owed = service_fee_accruals.c.payment_id.is_(None)
    row_id = await world.one(sa.select(service_fee_accruals.c.id).where(owed))
    await world.execute(fee_update(row_id, payment_id=world.payments["settlement"].id))
    return named(service_fee_settlements, world.payments["settlement"].id)


@breaks("settlements_pay_their_fees")
async def a_settled_fee_is_another_amount(world: World) -> str:
    await world.execute(fee_update(await settled_fee(world), amount=1))
    return named(service_fee_settlements, world.payments["settlement"].id)


@breaks("unpaid_fees_are_given_back")
async def a_fee_is_settled_by_a_payment_that_failed(world: World) -> str:
    owed = service_fee_accruals.c.payment_id.is_(None)
    row_id = await world.one(sa.select(service_fee_accruals.c.id).where(owed))
    failed = world.payments["failed"]
    settlement = {"payment_id": failed.id, "token_account": world.token_account("alice"), "fees": 1}
    # The payment is recorded as alice's too, so that nothing else is wrong with it.
    await world.execute(
        payment_update(world, "failed", from_user_id=world.users["alice"]),
        service_fee_settlements.insert().values(created_at=world.deal.clock.now(), **settlement),
        fee_update(row_id, payment_id=failed.id),
    )
    return named(service_fee_accruals, row_id)


@breaks("fees_are_settled_by_their_owner")
async def a_fee_is_settled_out_of_another_account(world: World) -> str:
    row_id = await settled_fee(world)
    await world.execute(fee_update(row_id, token_account=world.token_account("bob")))
    return named(service_fee_accruals, row_id)


@breaks("fees_are_settled_by_their_owner")
async def a_fee_is_settled_for_another_user(world: World) -> str:
    row_id = await settled_fee(world)
    await world.execute(fee_update(row_id, user_id=world.users["bob"]))
    return named(service_fee_accruals, row_id)


@breaks("reservations_follow_their_payments")
async def a_landed_reservation_is_live_again(world: World) -> str:
    await world.execute(reservation_update(world, "finalized", state="live", landed_slot=None))
    return named(balance_reservations, world.payments["finalized"].id)


@breaks("reservations_follow_their_payments")
async def a_pending_payment_lost_its_hold(world: World) -> str:
    await world.execute(reservation_update(world, "signed", state="released"))
    return named(balance_reservations, world.payments["signed"].id)


@breaks("reservations_hold_the_amount")
async def a_reservation_holds_less(world: World) -> str:
    await world.execute(reservation_update(world, "signed", amount=1))
    return named(balance_reservations, world.payments["signed"].id)


@breaks("prepared_transactions_follow_their_payments")
async def a_wallet_is_asked_to_sign_what_is_paid(world: World) -> str:
    now, payment_id = world.deal.clock.now(), world.payments["finalized"].id
    row = {"message": b"message", "last_valid_block_height": 1, "context_slot": 1}
    row |= {"created_at": now, "updated_at": now, "number": 1, "status": "open"}
    await world.execute(prepared_transactions.insert().values(id=payment_id, payment_id=payment_id, **row))
    return named(prepared_transactions, payment_id)


@breaks("reservations_name_their_delegates")
async def a_reservation_draws_on_an_approval_that_nobody_gave(world: World) -> str:
    await world.execute(reservation_update(world, "signed", delegate="somebody"))
    return named(balance_reservations, world.payments["signed"].id)


@breaks("debits_are_reserved")
async def a_debit_without_a_reservation(world: World) -> str:
    of_payment = balance_reservations.c.payment_id == world.payments["signed"].id
    await world.execute(balance_reservations.delete().where(of_payment))
    return named(token_transactions, world.payments["signed"].id)


@breaks("history_is_what_payments_moved", "history_ends_at_chain")
async def a_history_row_moved_more_than_its_payment(world: World) -> str:
    row = await world.history_row("bob", -1)
    last = await world.deal.history.latest(world.token_account("bob"))
    assert last is not None
    await world.execute(history_update(row, balance_after=last.balance_after + 1, change=last.change + 1))
    return named(token_balance_history, row)


@breaks("history_is_what_payments_moved", "reservations_hold_the_amount", "rewards_are_recorded")
async def a_payment_claims_another_amount(world: World) -> str:
    await world.execute(payment_update(world, "reward", amount=1))
    return named(token_balance_history, await world.history_row("bob", -1))


@breaks("purchases_follow_their_payments")
async def a_paid_purchase_is_not_counted(world: World) -> str:
    payment_id = world.payments["finalized"].id
    of_payment = token_purchases.c.payment_id == payment_id
    await world.execute(token_purchases.update().where(of_payment).values(state="reserved"))
    return named(token_purchases, payment_id)


@breaks("rewards_are_recorded")
async def a_reward_lost_its_row(world: World) -> str:
    payment_id = world.payments["reward"].id
    await world.execute(token_rewards.delete().where(token_rewards.c.payment_id == payment_id))
    return named(token_transactions, payment_id)


@breaks("packages_are_paid_for")
async def credits_were_granted_for_a_cheaper_package(world: World) -> str:
    await world.execute(credit_packages.update().values(price=1))
    return named(credit_package_grants, world.payments["bought"].id)


@breaks("invoices_count_their_payments")
async def an_invoice_received_more_than_arrived(world: World) -> str:
    assert world.invoice is not None
    await world.execute(invoices.update().values(received=invoices.c.received + 1))
    return named(invoices, world.invoice.id)


@breaks("invoices_are_paid_by_deposits")
async def an_invoice_was_paid_by_no_deposit(world: World) -> str:
    await world.execute(invoice_payments.update().values(payment_id=world.payments["bought"].id))
    return named(invoice_payments, world.payments["bought"].id)


@breaks("invoices_grant_what_was_bought")
async def an_invoice_was_granted_by_another_entry(world: World) -> str:
    assert world.invoice is not None
    another = await world.one(
        sa.select(token_operations.c.id).where(token_operations.c.amount == 100).limit(1)
    )
    await world.execute(invoices.update().values(entry_id=another))
    return named(invoices, world.invoice.id)


@breaks("keys_have_fingerprints")
async def a_key_lost_the_input_it_stands_for(world: World) -> str:
    await world.execute(payment_update(world, "finalized", fingerprint=None))
    return named(token_transactions, world.payments["finalized"].id)


@breaks("refunds_are_within_their_payments")
async def a_payment_claims_to_refund_a_smaller_one(world: World) -> str:
    smaller = world.payments["finalized"].id
    await world.execute(payment_update(world, "reward", refund_of=smaller))
    return named(token_transactions, smaller)


@breaks("wallets_are_consistent")
async def a_disconnected_wallet_lost_its_time(world: World) -> str:
    left = token_wallets.c.address == world.addresses["left"]
    await world.execute(token_wallets.update().where(left).values(disconnected_at=None))
    return named(token_wallets, await world.one(sa.select(token_wallets.c.id).where(left)))


@breaks("active_addresses_are_unique")
async def an_address_is_active_for_two(world: World) -> str:
    address = world.addresses["alice"]
    row = {
        "id": uuid4(),
        "user_id": world.users["bob"],
        "address": address,
        "status": "active",
        "is_primary": False,
        "connected_at": world.deal.clock.now(),
    }
    await world.execute(
        sa.text("DROP INDEX uq_token_wallets_active_address"), token_wallets.insert().values(row)
    )
    return named(token_wallets, address)


async def credit_transfer(world: World, amount: int) -> UUID:
    """Return the id of the first transfer of so many credits."""
    of_amount = credit_transfers.c.amount == amount
    found: UUID = await world.one(
        sa.select(credit_transfers.c.id).where(of_amount).order_by(credit_transfers.c.id)
    )
    return found


@breaks("credit_transfers_sum_to_zero")
async def a_transfer_of_credits_claims_another_amount(world: World) -> str:
    transfer_id = await credit_transfer(world, 30)
    changed = credit_transfers.update().where(credit_transfers.c.id == transfer_id)
    await world.execute(changed.values(amount=31))
    return named(credit_transfers, transfer_id)


@breaks("credit_balances_are_sums", "credit_balances_of_users", "credit_accounts_sum_to_zero")
async def an_account_holds_credits_from_nowhere(world: World) -> str:
    user_id = world.users["alice"]
    changed = credit_accounts.update().where(credit_accounts.c.id == user_id)
    await world.execute(changed.values(balance=credit_accounts.c.balance + 1))
    return named(credit_accounts, user_id)


@breaks("credit_accounts_sum_to_zero")
async def credits_came_from_nowhere_through_an_opening(world: World) -> str:
    user_id = world.users["carol"]
    opening, account = credit_openings.c, credit_accounts.c
    await world.execute(
        credit_openings.update().where(opening.account_id == user_id).values(balance=opening.balance + 1),
        credit_accounts.update().where(account.id == user_id).values(balance=account.balance + 1),
        users.update().where(users.c.id == user_id).values(tokens_balance=users.c.tokens_balance + 1),
    )
    return named(credit_accounts, "(all)")


@breaks("credit_balances_of_users")
async def a_user_shows_other_credits_than_the_account(world: World) -> str:
    user_id = world.users["dave"]
    await world.execute(users.update().where(users.c.id == user_id).values(tokens_balance=7))
    return named(users, user_id)


@breaks("credit_heads_are_last")
async def an_account_s_head_is_no_entry(world: World) -> str:
    user_id = world.users["alice"]
    changed = credit_accounts.update().where(credit_accounts.c.id == user_id)
    await world.execute(changed.values(head_hash=bytes(32)))
    return named(credit_accounts, user_id)


@breaks("credit_holds_are_counted")
async def a_hold_is_forgotten(world: World) -> str:
    live = credit_holds.c.state == "live"
    await world.execute(credit_holds.delete().where(live))
    return named(credit_accounts, world.users["alice"])


@breaks("credit_holds_bound_their_posts")
async def a_hold_was_posted_as_more_than_it_held(world: World) -> str:
    posted = credit_holds.c.state == "posted"
    hold_id = await world.one(sa.select(credit_holds.c.id).where(posted))
    await world.execute(credit_holds.update().where(posted).values(amount=6))
    return named(credit_holds, hold_id)


@breaks("erased_users_are_erased")
async def an_erased_user_has_a_name_again(world: World) -> str:
    user_id = world.users["eve"]
    await world.execute(users.update().where(users.c.id == user_id).values(username="eve"))
    return named(users, user_id)


@breaks("credit_renewals_have_entries")
async def a_renewal_claims_more_than_its_entry(world: World) -> str:
    renewal_id = await world.one(sa.select(credit_renewals.c.id))
    changed = credit_renewals.update().where(credit_renewals.c.id == renewal_id)
    await world.execute(changed.values(tokens_added=credit_renewals.c.tokens_added + 1))
    return named(credit_renewals, renewal_id)


@breaks("credit_lots_add_up")
async def an_account_counts_more_in_lots_than_they_hold(world: World) -> str:
    user_id = world.users["bob"]
    changed = credit_accounts.update().where(credit_accounts.c.id == user_id)
    await world.execute(changed.values(in_lots=credit_accounts.c.in_lots + 1))
    return named(credit_accounts, user_id)


async def the_lot(world: World) -> UUID:
    found: UUID = await world.one(sa.select(credit_lots.c.id))
    return found


@breaks("credit_lots_are_within_their_grants")
async def a_debit_took_more_of_a_lot_than_it_had(world: World) -> str:
    await world.execute(credit_lot_burns.update().values(amount=12))
    return named(credit_lots, await the_lot(world))


@breaks("credit_lots_hold_what_is_held")
async def a_lot_is_held_by_nobody(world: World) -> str:
    await world.execute(credit_lots.update().values(held=1))
    return named(credit_lots, await the_lot(world))


@breaks("credit_lots_that_expired_are_empty")
async def a_lot_has_credits_after_its_expiry(world: World) -> str:
    await world.execute(credit_lots.update().values(expired_at=credit_lots.c.expires_at))
    return named(credit_lots, await the_lot(world))


@breaks("credit_refunds_bounded")
async def more_credits_came_back_than_were_spent(world: World) -> str:
    spent, granted = await credit_transfer(world, 30), await credit_transfer(world, 100)
    changed = credit_transfers.update().where(credit_transfers.c.id == granted)
    await world.execute(changed.values(refund_of=spent))
    return named(credit_transfers, spent)


@breaks("credit_chains")
async def an_entry_says_something_else_now(world: World) -> str:
    spent = token_operations.c.metadata.is_not(None)
    entry_id = await world.one(sa.select(token_operations.c.id).where(spent).order_by(token_operations.c.id))
    changed = token_operations.update().where(token_operations.c.id == entry_id)
    await world.execute(changed.values(metadata={"picture": 31}))
    return named(token_operations, entry_id)


@breaks("credit_chains", "credit_balances_are_sums", "credit_transfers_sum_to_zero")
async def an_entry_was_taken_out(world: World) -> str:
    mine = token_operations.c.account_id == world.users["alice"]
    entries = sa.select(token_operations.c.id).where(mine).order_by(token_operations.c.sequence)
    second, third = await world.one(entries.offset(1)), await world.one(entries.offset(2))
    await world.execute(token_operations.delete().where(token_operations.c.id == second))
    return named(token_operations, third)


async def bought(world: World, count: int | None = 2) -> UUID:
    """Lead a buy of a watched wallet to its end, and return the purchase's id."""

    async def execute(order: PurchaseOrder) -> str:
        return "bought"

    wallet, subscriptions = world.addresses["alice"], world.deal.subscriptions
    await subscriptions.start(execute)
    await subscriptions.add(str(uuid4()), wallet, token_buy_count=count, watch_config={"note": "any"})
    buy = WatchedBuy("2" * 88, wallet, str(world.deal.mint.address), 0, "1", 7)
    (purchase,) = await subscriptions.handle_buys([buy])
    await subscriptions.settled()
    assert (await world.deal.verify()).ok
    return purchase.id


def purchase_update(purchase_id: UUID, **values: Any) -> sa.Update:
    found = subscription_purchases.c.id == purchase_id
    return subscription_purchases.update().where(found).values(**values)


@breaks("subscription_purchases_are_counted_first")
async def a_buy_was_made_uncounted(world: World) -> str:
    purchase_id = await bought(world)
    await world.execute(purchase_update(purchase_id, is_counted=False))
    return named(subscription_purchases, purchase_id)


@breaks("subscription_purchases_are_counted_first")
async def a_buy_without_a_limit_was_counted(world: World) -> str:
    purchase_id = await bought(world, count=None)
    await world.execute(purchase_update(purchase_id, is_counted=True))
    return named(subscription_purchases, purchase_id)


@breaks("subscription_purchases_are_counted_as_bought")
async def a_buy_was_counted_for_another_token(world: World) -> str:
    purchase_id = await bought(world)
    counted = token_purchases.c.reservation_id == str(purchase_id)
    assert await world.one(sa.select(token_purchases.c.state).where(counted)) == "counted"
    await world.execute(token_purchases.update().where(counted).values(token_mint="another"))
    return named(subscription_purchases, purchase_id)


@breaks("subscription_purchases_are_counted_as_bought")
async def a_buy_was_counted_for_another_user(world: World) -> str:
    purchase_id = await bought(world)
    counted = token_purchases.c.reservation_id == str(purchase_id)
    await world.execute(token_purchases.update().where(counted).values(user_id="another"))
    return named(subscription_purchases, purchase_id)


@breaks("subscription_purchases_end_with_a_reason")
async def a_buy_was_skipped_for_no_reason(world: World) -> str:
    purchase_id = await bought(world)
    await world.execute(purchase_update(purchase_id, state="skipped"))
    return named(subscription_purchases, purchase_id)


@pytest.mark.parametrize("alteration", ALTERATIONS.values(), ids=list(ALTERATIONS))
async def test_an_alteration_is_noticed_by_its_check_and_named(world: World, alteration: Alteration) -> None:
    expected = await alteration.alter(world)
    failed = {check.name: check for check in (await world.deal.verify()).checks if not check.ok}
    assert set(failed) == {alteration.check, *alteration.implied}
    assert any(row.startswith(expected) for row in failed[alteration.check].rows), failed


async def test_every_check_has_its_alteration(world: World) -> None:
    report = await world.deal.verify()
    assert report.ok
    checked = {check.name for check in report.checks}
    # Those of watched wallets have their alterations with their tables, in tests/contract.
    assert {alteration.check for alteration in ALTERATIONS.values()} == checked - {*WATCH_INVARIANTS}
    proven_by_sql = {*SQL_INVARIANTS, *CREDIT_INVARIANTS, *WATCH_INVARIANTS, *SUBSCRIPTION_INVARIANTS}
    assert checked == READ_CHECKS | proven_by_sql


async def test_the_report_is_plain_data(world: World) -> None:
    await world.execute(payment_update(world, "failed", evidence=None))
    data = (await world.deal.verify()).to_dict()
    assert data["ok"] is False
    broken = [check for check in data["checks"] if not check["ok"]]
    assert broken == [
        {
            "name": "failed_payments_have_evidence",
            "ok": False,
            "checked": "every row",
            "rows": [f"token_transactions {world.payments['failed'].id}: failed or expired without evidence"],
        }
    ]


async def test_the_rows_that_are_named_are_bounded(world: World) -> None:
    now = world.deal.clock.now()
    row = {"type": "transfer", "status": "failed", "amount": 1, "created_at": now, "updated_at": now}
    await world.execute(token_transactions.insert().values([{"id": uuid4(), **row} for _ in range(60)]))
    failed = [check for check in (await world.deal.verify()).checks if not check.ok]
    assert [(check.name, len(check.rows)) for check in failed] == [("failed_payments_have_evidence", 20)]
