"""Charges of allowances in a run: whose wallets are charged, and what the chain must say of it afterwards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from deal_localnet import Localnet
from deal_localnet.slots import Commitment
from deal_sdk import Deal
from deal_sdk.chain.allowance import EMBEDDED_PROGRAM_ID, AllowanceProgramClient, AllowanceState
from deal_sdk.chain.allowance.build import discriminator
from deal_sdk.chain.replies import AccountSnapshot
from deal_sdk.payments import AllowanceRequest
from tests.unit.program.allowance_model import Model, ModelOwner

CHARGED_USERS: Final = 3
"""So many users, from the first one on, have opened an allowance."""
REQUEST: Final = AllowanceRequest("8", timedelta(minutes=1), "5", "1000")
CHARGE: Final = discriminator("global", "charge")
ALLOWANCE: Final = discriminator("account", "Allowance")
AMPLE: Final = 10**18
_ALLOWANCE: Final = 2
"""The place of the allowance among a charge's accounts."""


@dataclass(frozen=True, slots=True)
class LandedCharge:
    """A charge of a transaction that landed without an error."""

    payment_id: str
    allowance: Pubkey
    amount: int
    sequence: int
    at: int


async def open_allowances(deal: Deal, users: Sequence[UUID]) -> None:
    """Begin the merchant and have some users allow it to charge them."""
    await deal.allowances.initialize()
    for user in users:
        await deal.allowances.open(user, REQUEST)


def charges_of(message: Message | MessageV0, at: int) -> Iterator[LandedCharge]:
    """Iterate over the charges of a transaction."""
    keys = message.account_keys
    for instruction in message.instructions:
        data = bytes(instruction.data)
        if keys[instruction.program_id_index] == EMBEDDED_PROGRAM_ID and data.startswith(CHARGE):
            yield LandedCharge(
                payment_id=str(UUID(bytes=data[24:40])),
                allowance=keys[bytes(instruction.accounts)[_ALLOWANCE]],
                amount=int.from_bytes(data[8:16], "little"),
                sequence=int.from_bytes(data[16:24], "little"),
                at=at,
            )


def landed_charges(localnet: Localnet) -> Iterator[LandedCharge]:
    """Iterate over every charge that landed, in the chain's order."""
    chain = localnet.bank.chain
    blocks = chain.last_blocks(chain.open.height + 1)
    for block in sorted(blocks, key=lambda found: found.height):
        for record in block.records:
            if record.execution.error is None:
                yield from charges_of(VersionedTransaction.from_bytes(record.wire).message, block.time)


def allowances_of(localnet: Localnet) -> dict[Pubkey, AllowanceState]:
    """Return the finalized state of every allowance."""
    slot = localnet.bank.chain.slot_at(Commitment.FINALIZED)
    client = AllowanceProgramClient(EMBEDDED_PROGRAM_ID)
    found = {}
    for address in localnet.bank.accounts.index.of_program(EMBEDDED_PROGRAM_ID):
        account = localnet.bank.accounts.at(address, slot)
        if account is not None and account.data.startswith(ALLOWANCE):
            snapshot = AccountSnapshot(address, account.owner, account.lamports, account.data, False, slot)
            found[address] = client.allowance(snapshot)
    return found


def disagreements(
    localnet: Localnet, opened: Mapping[Pubkey, AllowanceState], rows: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Say where the chain's allowances differ from a model that is told every charge that landed.

    Args:
        localnet: the chain.
        opened: the allowances before the first charge.
        rows: the payments by id, each with the `sequence` that it took.
    """
    by_allowance: dict[Pubkey, list[LandedCharge]] = defaultdict(list)
    for charge in landed_charges(localnet):
        by_allowance[charge.allowance].append(charge)
        row = rows.get(charge.payment_id)
        if row is None or (row["amount"], row["sequence"]) != (charge.amount, charge.sequence):
            yield f"{charge} landed, and is recorded as {row}"
    for address, state in allowances_of(localnet).items():
        yield from _differs(opened[address], state, by_allowance[address])


def _differs(before: AllowanceState, state: AllowanceState, charges: Sequence[LandedCharge]) -> Iterator[str]:
    owner = ModelOwner(AMPLE, True, AMPLE, before.terms, is_open=True, period_start=before.period_start)
    model = Model(0, [owner])
    for charge in charges:
        model.now = charge.at
        refusal = model.charge(model.authority, owner, charge.amount, charge.sequence)
        if refusal is not None:
            yield f"{charge} landed, which the rules refuse: {refusal}"
    wanted = (owner.next_sequence, owner.total, owner.spent, owner.period_start)
    told = (
        state.next_sequence,
        state.charged_total_base_units,
        state.spent_in_period_base_units,
        state.period_start,
    )
    if told != wanted:
        yield f"allowance {state.address} is at {told}, its charges make {wanted}"
