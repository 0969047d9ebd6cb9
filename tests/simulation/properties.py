"""What must hold after every run, told from the chain's own blocks and the rows, not from the package.

Each property returns sentences about what breaks it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from deal_localnet.slots import Commitment
from deal_sdk.amounts import parse_amount
from deal_sdk.records.accrual_tables import service_fee_accruals, service_fee_settlements
from deal_sdk.records.allowance_tables import allowance_charges
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.tables import payment_attempts, prepared_transactions, token_transactions
from deal_sdk.records.webhook_tables import webhook_deliveries, webhook_events
from tests.simulation.asking import MAX_PURCHASES, PURCHASED_MINT
from tests.simulation.charges import charges_of, disagreements
from tests.simulation.faults import LIMIT_DISTURBING
from tests.simulation.forms import DAILY_CAP
from tests.simulation.prepared import BALANCES_BEFORE, keypair_of
from tests.simulation.story import WISH_PREFIX, Wish
from tests.simulation.world import World

MEMO_PREFIX: Final = b"deal:"
BATCH_MEMO_PREFIX: Final = b"deal:batch:"
AMOUNT: Final = slice(64, 72)
WEBHOOK_WAIT_SECONDS: Final = 10.0
MAX_WEBHOOK_WAITS: Final = 40


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run left behind: payments as recorded, and as the chain's blocks show them."""

    rows: Mapping[str, Mapping[str, Any]]
    landed: Mapping[str, int]
    purchases: Sequence[Mapping[str, Any]]
    fees: Sequence[Mapping[str, Any]]
    counted_in_store: int
    balances_before: Mapping[str, int]
    balances_after: Mapping[str, int]
    told: Sequence[Mapping[str, Any]]
    undelivered: int


async def broken_properties(world: World) -> list[str]:
    """Return everything that does not hold of a world at rest."""
    if world.form.delivers_webhooks:
        await _let_webhooks_arrive(world)
    seen = await world.result_of(lambda: _look(world))
    report = await world.result_of(lambda: world.opened().verify())
    broken = [f"verify: {check.name}: {', '.join(check.rows)}" for check in report.checks if not check.ok]
    for found in (
        _paid_once(seen, world.wishes),
        _nothing_lost(seen, world.wishes),
        _final_with_evidence(seen),
        _told_the_truth(seen, world),
        _balances_agree(seen),
        _limits_agree(seen, world),
        _refunds_follow(seen),
        _fees_settled_once(seen, world.wishes),
        _webhooks_agree(seen, world),
        _rails_kept(seen, world),
        disagreements(world.localnet, world.allowances, seen.rows),
    ):
        broken.extend(found)
    return broken


def _paid_once(seen: Seen, wishes: Sequence[Wish]) -> Iterator[str]:
    """Nobody is paid twice: neither by one payment's attempts nor by two payments of one wish."""
    for payment_id, count in seen.landed.items():
        if count > 1:
            yield f"payment {payment_id} landed {count} times"
    for wish in wishes:
        ids = [payment_id for payment_id, row in seen.rows.items() if _name_of(row) == wish.name]
        if len(ids) > 1:
            yield f"{wish.name} was recorded {len(ids)} times"


def _nothing_lost(seen: Seen, wishes: Sequence[Wish]) -> Iterator[str]:
    """Whatever landed is recorded, and whatever a caller heard the id of is there."""
    for payment_id in seen.landed:
        if payment_id not in seen.rows:
            yield f"payment {payment_id} landed and no row knows it"
    for wish in wishes:
        for told in wish.told:
            if told.answer in ("paid", "not_paid", "pending") and told.payment_id not in seen.rows:
                yield f"{wish.name} was told {told.status} of {told.payment_id}, which is not recorded"


def _final_with_evidence(seen: Seen) -> Iterator[str]:
    """On a chain that can be reached every payment ends, and says by what evidence."""
    for payment_id, row in seen.rows.items():
        status, evidence = row["status"], row["evidence"] or {}
        landed = seen.landed.get(payment_id, 0)
        if status not in ("finalized", "failed", "expired"):
            yield f"payment {payment_id} is still {status}"
        if (status == "finalized") != (landed > 0):
            yield f"payment {payment_id} is {status} and landed {landed} times"
        if status == "failed" and evidence.get("error") is None:
            yield f"payment {payment_id} failed without an error: {evidence}"
        if status == "expired" and not evidence["finalized_height"] > evidence["last_valid_block_height"]:
            yield f"payment {payment_id} expired too early: {evidence}"


def _told_the_truth(seen: Seen, world: World) -> Iterator[str]:
    """Who was told that it failed was not paid; who was told that it landed was.

    A confirmed payment that a deep fork took back may end otherwise: only "finalized" is a promise then.
    """
    for wish in world.wishes:
        for told in wish.told:
            landed = seen.landed.get(told.payment_id or "", 0)
            if told.answer == "not_paid" and landed:
                yield f"{wish.name} was told {told.status} and landed"
            is_promised = told.status == "finalized" or not world.network.had_deep_fork
            if told.answer == "paid" and is_promised and not landed:
                yield f"{wish.name} was told {told.status} and did not land"


def _balances_agree(seen: Seen) -> Iterator[str]:
    """Every token account changed by exactly the payments that the records call finalized."""
    expected = defaultdict(int, seen.balances_before)
    for row in seen.rows.values():
        if row["status"] == "finalized":
            plan = row["instruction"]
            expected[plan["source"]] -= row["amount"]
            expected[plan["destination"]] += row["amount"]
    for address, after in seen.balances_after.items():
        if after != expected[address]:
            yield f"{address} holds {after}, the finalized payments make {expected[address]}"


def _limits_agree(seen: Seen, world: World) -> Iterator[str]:
    """Purchases never exceed what is allowed, and the store never counts fewer than the records."""
    counted = [row for row in seen.purchases if row["state"] in ("reserved", "counted")]
    landed = [row for row in seen.purchases if seen.landed.get(str(row["payment_id"]))]
    if max(len(counted), len(landed)) > MAX_PURCHASES:
        yield f"{len(counted)} purchases count and {len(landed)} landed, {MAX_PURCHASES} are allowed"
    if seen.counted_in_store < len(counted):
        yield f"the store counts {seen.counted_in_store} purchases, the records {len(counted)}"
    is_disturbed = world.deaths or LIMIT_DISTURBING & world.misfortune.kinds
    if not is_disturbed and seen.counted_in_store != len(counted):
        yield f"undisturbed, the store counts {seen.counted_in_store}, the records {len(counted)}"


def _refunds_follow(seen: Seen) -> Iterator[str]:
    """Nothing is given back that was not paid, nor more than was."""
    for payment_id, row in seen.rows.items():
        refunds = [other for other in seen.rows.values() if str(other["refund_of"]) == payment_id]
        given = sum(int(other["amount"]) for other in refunds if seen.landed.get(str(other["id"])))
        if given > (row["amount"] if seen.landed.get(payment_id) else 0):
            yield f"payment {payment_id} is {row['status']}, and {given} of it was given back"


def _fees_settled_once(seen: Seen, wishes: Sequence[Wish]) -> Iterator[str]:
    """Each wish owes one fee at most, and each settlement moves what its fees sum up to."""
    settled: dict[str, int] = defaultdict(int)
    for fee in seen.fees:
        if fee["payment_id"] is not None:
            settled[str(fee["payment_id"])] += fee["amount"]
    for payment_id, amount in settled.items():
        row = seen.rows[payment_id]
        if row["status"] != "finalized" or row["amount"] != amount:
            yield f"fees of {amount} were settled by {payment_id}, {row['status']} with {row['amount']}"
    for wish in wishes:
        found = [fee for fee in seen.fees if fee["idempotency_key"] == wish.name]
        if len(found) > 1:
            yield f"{wish.name} owes {len(found)} fees"
        is_told = any(told.status == "finalized" for told in wish.told)
        if wish.kind == "accrued" and is_told and not (found and found[0]["payment_id"]):
            yield f"{wish.name} was told that its fee is settled, and it is owed"


def _webhooks_agree(seen: Seen, world: World) -> Iterator[str]:
    """Each payment was told of as it was recorded and as it ended, once each; nothing else was told."""
    told: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in seen.told:
        told[event["subject"]].append(event)
    for payment_id, row in seen.rows.items():
        events = sorted(told[payment_id], key=lambda event: int(event["sequence"]))
        types = [event["type"] for event in events]
        between = types[1:-1]
        expected = ["payment.recorded", *between, f"payment.{row['status']}"]
        if types != expected or set(between) - _between(row):
            yield f"payment {payment_id} is {row['status']}, and was told as {types}"
    if strangers := set(told) - set(seen.rows):
        yield f"told of payments that are not there: {strangers}"
    if world.receiver.contradictions:
        yield f"one id, two events: {world.receiver.contradictions}"
    if world.form.delivers_webhooks:
        missed = {str(event["id"]) for event in seen.told} - set(world.receiver.events)
        if missed or seen.undelivered:
            yield f"{len(missed)} events never arrived, {seen.undelivered} deliveries are open"


def _rails_kept(seen: Seen, world: World) -> Iterator[str]:
    """No wallet paid more in a day than its cap, and no stranger was paid who is not on the list."""
    if not world.form.is_railed:
        return
    paid: dict[str, int] = defaultdict(int)
    allowed = set(world.form.settings["allowed_destinations"])
    for row in seen.rows.values():
        if row["from_address"] and row["status"] == "finalized":
            paid[row["from_address"]] += row["amount"]
        is_stranger = row["to_address"] == str(keypair_of(f"stranger {_index_of(row)}").pubkey())
        if is_stranger and row["to_address"] not in allowed:
            yield f"payment {row['id']} went to a stranger"
    for address, amount in paid.items():
        if amount > parse_amount(DAILY_CAP):
            yield f"{address} paid {amount} in a day"


async def _look(world: World) -> Seen:
    deal = world.opened()
    async with deal._database.reading() as connection:
        payments = (await connection.execute(sa.select(token_transactions))).mappings().all()
        purchases = (await connection.execute(sa.select(token_purchases))).mappings().all()
        events = (await connection.execute(sa.select(webhook_events))).mappings().all()
        is_open = sa.select(sa.func.count()).where(webhook_deliveries.c.state == "pending")
        undelivered = await connection.scalar(is_open)
        carried = await connection.execute(
            sa.select(payment_attempts.c.carrier_id, payment_attempts.c.payment_id).where(
                payment_attempts.c.carrier_id.is_not(None)
            )
        )
        fees = (await connection.execute(sa.select(service_fee_accruals))).mappings().all()
        settlements = {
            str(one) for one in await connection.scalars(sa.select(service_fee_settlements.c.payment_id))
        }
        prepared = set(await connection.scalars(sa.select(prepared_transactions.c.payment_id)))
        taken = sa.select(allowance_charges.c.payment_id, allowance_charges.c.sequence)
        sequences = {payment_id: sequence for payment_id, sequence in await connection.execute(taken)}
        members: dict[str, list[str]] = defaultdict(list)
        for carrier_id, payment_id in carried:
            members[str(carrier_id)].append(str(payment_id))
    rows = {
        str(row["id"]): {**row, "prepared": row["id"] in prepared, "sequence": sequences.get(row["id"])}
        for row in payments
        if (_name_of(row) or "").startswith(WISH_PREFIX) or str(row["id"]) in settlements
    }
    before_the_story = {str(row["id"]) for row in payments} - set(rows)
    landed = Counter(
        payment_id for payment_id in _paid_by(world, members) if payment_id not in before_the_story
    )
    record = await deal.purchases.get_purchase_record(world.prepared.users[0], PURCHASED_MINT)
    before = {
        str(deal.token_account_of(keypair_of(name).pubkey())): amount
        for name, amount in BALANCES_BEFORE.items()
    }
    plans = [row["instruction"] for row in rows.values()]
    addresses = {plan[side] for plan in plans for side in ("source", "destination") if plan[side]}
    return Seen(
        rows=rows,
        landed=landed,
        purchases=[dict(row) for row in purchases],
        fees=[dict(fee) for fee in fees],
        counted_in_store=0 if record is None else record.current_count,
        balances_before=before,
        told=[dict(event) for event in events if event["subject"] not in {None, *before_the_story}],
        undelivered=undelivered or 0,
        balances_after={address: _amount(world, address) for address in {*before, *addresses}},
    )


async def _let_webhooks_arrive(world: World) -> None:
    for _ in range(MAX_WEBHOOK_WAITS):
        if not (await world.result_of(lambda: world.opened().webhooks.deliveries(state="pending"))).items:
            return
        await world.pass_time(lambda: False, WEBHOOK_WAIT_SECONDS)


def _between(row: Mapping[Any, Any]) -> set[str]:
    # What expired before its owner signed it is prepared again, as the same payment.
    return {"payment.confirmed", "payment.expired"} if row["prepared"] else {"payment.confirmed"}


def _index_of(row: Mapping[Any, Any]) -> str:
    return (_name_of(row) or "").removeprefix(WISH_PREFIX)


def _name_of(row: Mapping[Any, Any]) -> str | None:
    name: str | None = row["idempotency_key"] or row["reason"]
    return name


def _paid_by(world: World, members: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Iterate over the payments named by the memos of the transactions that landed without an error.

    Args:
        world: whose blocks are read.
        members: the payments of each transaction that carries several.
    """
    for block in world.localnet.bank.chain.last_blocks(world.localnet.bank.chain.open.height + 1):
        for record in block.records:
            if record.execution.error is not None:
                continue
            message = VersionedTransaction.from_bytes(record.wire).message
            charges = [charge.payment_id for charge in charges_of(message, block.time)]
            if charges:
                # Each names its payment itself, and several may share a transaction.
                yield from charges
                continue
            for instruction in message.instructions:
                data = bytes(instruction.data)
                if data.startswith(BATCH_MEMO_PREFIX):
                    yield from members[data.removeprefix(BATCH_MEMO_PREFIX).decode()]
                elif data.startswith(MEMO_PREFIX):
                    yield data.removeprefix(MEMO_PREFIX).decode()


def _amount(world: World, address: str) -> int:
    bank = world.localnet.bank
    slot = bank.chain.slot_at(Commitment.FINALIZED)
    account = bank.accounts.at(Pubkey.from_string(address), slot)
    return 0 if account is None else int.from_bytes(account.data[AMOUNT], "little")
