"""Lookup tables on the embedded chain: made when they pay off, taken up after a crash, used again, closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from deal_sdk import Deal
from deal_sdk.chain import LocalnetTransport
from deal_sdk.chain.lookup_tables import COOLDOWN_SLOTS, decode_table
from deal_sdk.errors import PaymentsPausedError
from deal_sdk.payments import BatchReport, RewardLine
from deal_sdk.payments.batches.table_store import TableStore
from deal_sdk.records import payment_carriers
from deal_sdk.records.lookup_tables import lookup_tables
from tests.integration.conftest import FAST_CHAIN, assert_books_agree, freeze, token_account

pytestmark = pytest.mark.slow

WALLETS = [str(Keypair().pubkey()) for _ in range(40)]


def lines(wallets: list[str]) -> list[RewardLine]:
    return [RewardLine(wallet, "1", "airdrop") for wallet in wallets]


@pytest.fixture
async def deal() -> AsyncIterator[Deal]:
    """A deal that pays the same people every day of a month, so that tables are worth it for few."""
    options = {**FAST_CHAIN, "lookup_table_uses": 30, "history_poll_interval_seconds": 0.05}
    async with Deal.open(**options) as opened:
        yield opened
        await assert_books_agree(opened)


@pytest.fixture
async def known(deal: Deal) -> Deal:
    """A deal whose recipients' accounts exist."""
    await deal.tokens.transfer("treasury", "reward", "10000")
    await deal.rewards.distribute_batch(lines(WALLETS), batch_key="first")
    assert await deal.rewards.lookup_tables() == []
    return deal


async def rows(deal: Deal) -> list[Any]:
    return list(await deal._backends.database.fetch(sa.select(lookup_tables)))


async def lookups_of(deal: Deal, report: BatchReport) -> int:
    """Return how many addresses the transactions of a batch took from tables."""
    signatures = {line.signature for line in report.recipients}
    query = sa.select(payment_carriers.c.signed_bytes).where(payment_carriers.c.signature.in_(signatures))
    found = 0
    for (raw_bytes,) in await deal._backends.database.fetch(query):
        for one in VersionedTransaction.from_bytes(raw_bytes).message.address_table_lookups:
            found += len(one.writable_indexes) + len(one.readonly_indexes)
    return found


async def held(deal: Deal, address: str) -> list[str]:
    table = decode_table(await deal.rpc.get_account(Pubkey.from_string(address)))
    assert table is not None
    return [str(one) for one in table.addresses]


async def test_a_table_is_made_used_again_and_closed(known: Deal) -> None:
    cost = await known.rewards.estimate_batch(lines(WALLETS), batch_key="second")
    assert (cost.lookup_tables, cost.transactions, cost.fee_lamports) == (1, 3, 20_000)
    assert cost.lookup_table_seconds == 1.5
    paid = await known.rewards.distribute_batch(lines(WALLETS), batch_key="second")
    assert {line.status for line in paid.recipients} == {"confirmed"}
    assert len({line.signature for line in paid.recipients}) == 1
    assert await lookups_of(known, paid) == 42
    (table,) = await known.rewards.lookup_tables()
    assert (table.state, table.addresses, table.locked_lamports) == ("ready", 42, cost.locked_lamports)
    accounts = [token_account(known, wallet) for wallet in WALLETS]
    assert (await held(known, table.address))[2:] == accounts

    again = await known.rewards.estimate_batch(lines(WALLETS), batch_key="third")
    assert (again.lookup_tables, again.transactions, again.locked_lamports) == (0, 1, 0)
    third = await known.rewards.distribute_batch(lines(WALLETS[::-1]), batch_key="third")
    assert len({line.signature for line in third.recipients}) == 1
    assert len(await known.rewards.lookup_tables()) == 1

    before = await known.rpc.get_balance(known._fees.payer)
    (closing,) = await known.rewards.close_lookup_tables()
    assert closing.state == "closing"
    assert closing.slots_to_close is not None
    assert 0 < closing.slots_to_close <= COOLDOWN_SLOTS + 1
    transport = known.rpc.transport
    assert isinstance(transport, LocalnetTransport)
    transport.localnet.advance_slots(COOLDOWN_SLOTS + 10)
    assert await known.rewards.close_lookup_tables() == []
    assert await known.rpc.get_account(Pubkey.from_string(table.address)) is None
    after = await known.rpc.get_balance(known._fees.payer)
    assert after == before + table.locked_lamports - 2 * 5_000


async def test_bad_recipients_in_a_transaction_with_a_table_are_isolated(known: Deal) -> None:
    await known.rewards.distribute_batch(lines(WALLETS), batch_key="second", wait_for="finalized")
    bad = [17, 31]
    for place in bad:
        await freeze(known, WALLETS[place])
    report = await known.rewards.distribute_batch(lines(WALLETS), batch_key="third", wait_for="finalized")
    assert [line.position - 1 for line in report.unpaid] == bad
    assert [line.error["InstructionError"][1] for line in report.unpaid if line.error] == [{"Custom": 17}] * 2
    for place, wallet in enumerate(WALLETS):
        balance = await known.rpc.get_token_balance(Pubkey.from_string(token_account(known, wallet)))
        assert balance.amount_base_units == (2 if place in bad else 3) * 10**known.mint.decimals
    carrier = payment_carriers.c
    query = sa.select(carrier.status, carrier.members, carrier.signed_bytes).order_by(carrier.created_at)
    third = [row for row in await known._backends.database.fetch(query) if row.status == "failed"]
    # Each time the chain's error names who it was, so that nobody waits for finality after finality.
    assert [row.members for row in third if row.members > 1] == [40, 11]
    assert VersionedTransaction.from_bytes(third[0].signed_bytes).message.address_table_lookups
    await assert_books_agree(known)


async def test_a_table_goes_on_after_a_crash_and_holds_every_address_once(
    known: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process ends once the table is created and partly filled; the next one finishes it."""
    begin, begun = TableStore.begin, 0

    async def interrupted(self: TableStore, *arguments: Any) -> bool:
        nonlocal begun
        begun += 1
        if begun == 2:
            raise PaymentsPausedError("the process ends here")
        return await begin(self, *arguments)

    monkeypatch.setattr(TableStore, "begin", interrupted)
    second = await known.rewards.distribute_batch(lines(WALLETS), batch_key="second")
    assert len({line.signature for line in second.recipients}) == 3, "paid without the table"
    (row,) = await rows(known)
    assert (row.state, row.signature) == ("filling", None)
    assert len(await held(known, row.address)) == 28
    monkeypatch.undo()

    third = await known.rewards.distribute_batch(lines(WALLETS), batch_key="third")
    assert len({line.signature for line in third.recipients}) == 1
    (row,) = await rows(known)
    assert row.state == "ready"
    assert await held(known, row.address) == row.addresses
    assert len(set(row.addresses)) == len(row.addresses) == 42


async def test_bytes_that_were_committed_and_never_sent_are_sent_by_the_next(
    known: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the commit and the send nothing is signed anew."""
    begin = TableStore.begin

    async def committed(self: TableStore, *arguments: Any) -> bool:
        await begin(self, *arguments)
        raise PaymentsPausedError("the process ends here")

    monkeypatch.setattr(TableStore, "begin", committed)
    await known.rewards.distribute_batch(lines(WALLETS), batch_key="second")
    (row,) = await rows(known)
    assert row.signature is not None
    monkeypatch.undo()
    await known.rewards.distribute_batch(lines(WALLETS), batch_key="third")
    (status,) = (await known.rpc.get_signature_statuses([row.signature])).statuses
    assert status is not None
    assert status.error is None
    (done,) = await rows(known)
    assert (done.state, done.address) == ("ready", row.address)


async def test_a_table_that_somebody_closed_is_not_used(known: Deal) -> None:
    await known.rewards.distribute_batch(lines(WALLETS), batch_key="second")
    (table,) = await known.rewards.lookup_tables()
    transport = known.rpc.transport
    assert isinstance(transport, LocalnetTransport)
    transport.localnet.set_account(Pubkey.from_string(table.address), None)
    transport.localnet.advance_slots(2)
    third = await known.rewards.distribute_batch(lines(WALLETS), batch_key="third")
    assert {line.status for line in third.recipients} == {"confirmed"}


async def test_tables_are_switched_off_by_a_setting() -> None:
    async with Deal.open(**FAST_CHAIN, lookup_tables=False, history_poll_interval_seconds=0.05) as deal:
        await deal.tokens.transfer("treasury", "reward", "10000")
        await deal.rewards.distribute_batch(lines(WALLETS), batch_key="first")
        second = await deal.rewards.distribute_batch(lines(WALLETS), batch_key="second")
        assert len({line.signature for line in second.recipients}) == 3
        assert await rows(deal) == []
        await assert_books_agree(deal)


async def test_a_table_whose_slot_is_no_longer_recent_is_given_up_and_another_is_made(
    known: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a long outage leaves behind was never created, and costs nothing."""

    async def interrupted(self: TableStore, *arguments: Any) -> bool:
        raise PaymentsPausedError("the process ends here")

    monkeypatch.setattr(TableStore, "begin", interrupted)
    await known.rewards.distribute_batch(lines(WALLETS), batch_key="second")
    monkeypatch.undo()
    transport = known.rpc.transport
    assert isinstance(transport, LocalnetTransport)
    transport.localnet.advance_slots(600)
    await known.rewards.distribute_batch(lines(WALLETS), batch_key="third")
    assert [row.state for row in await rows(known)] == ["closed"]
    fourth = await known.rewards.distribute_batch(lines(WALLETS), batch_key="fourth")
    assert len({line.signature for line in fourth.recipients}) == 1
    assert sorted(row.state for row in await rows(known)) == ["closed", "ready"]
