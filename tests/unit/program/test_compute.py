"""What each instruction costs in compute units, compared with the table that users read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair

from deal_sdk.chain.allowance import AllowanceTerms
from tests.unit.program import program_world
from tests.unit.program.program_world import PROGRAM_ID, Landed, ProgramWorld

TABLE: Final = Path(__file__).parents[3] / "docs" / "reference" / "deal-allowance.md"
MAX_CHARGE_UNITS: Final = 4_000
"""Above what the token program takes for the transfer itself."""


def own_units(landed: Landed) -> int:
    """Return what the program took itself, without the programs that it called."""
    own, depth = 0, 0
    for line in landed.logs:
        if invoked := re.fullmatch(r"Program (\w+) invoke \[(\d+)\]", line):
            depth = int(invoked[2])
        elif consumed := re.fullmatch(r"Program (\w+) consumed (\d+) of \d+ compute units", line):
            is_ours = consumed[1] == str(PROGRAM_ID)
            if is_ours or depth > 1:
                own += int(consumed[2]) * (1 if is_ours else -1)
            depth -= 1
    return own


def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Run each instruction once, on addresses that are always the same, because a bump costs compute."""
    seeds = iter(range(1, 10_000))
    monkeypatch.setattr(
        program_world, "Keypair", lambda: Keypair.from_seed(next(seeds).to_bytes(32, "little"))
    )
    world = ProgramWorld()
    client, merchant, creator = world.client, world.merchant_address, world.creator
    found: dict[str, int] = {}

    def run(name: str, steps: list[Instruction], *signers: Keypair) -> None:
        landed = world.send(steps, *signers)
        assert landed.error is None, (name, landed)
        found[name] = own_units(landed)

    run("initialize_merchant", [world.initialize()], creator)
    state = world.merchant
    authority = creator.pubkey()
    proposal = client.propose_authority(merchant=merchant, authority=authority, new_authority=authority)
    run("propose_authority", [proposal], creator)
    run("accept_authority", [client.accept_authority(merchant=merchant, new_authority=authority)], creator)
    run("set_paused", [client.set_paused(merchant=merchant, authority=authority, paused=False)], creator)
    owner = world.owner()
    key = owner.keypair.pubkey()
    run("open_allowance", owner.opening(), owner.keypair)
    change = client.change_allowance(owner=key, merchant=merchant, terms=AllowanceTerms(900, 3_600, 500))
    run("change_allowance", [change], owner.keypair)
    run("charge", [owner.charging(5)], creator)
    run("close_allowance", [client.close_allowance(owner=key, merchant=merchant)], owner.keypair)
    fund = client.fund_vault(state, funder=key, source=owner.token_account, amount_base_units=100)
    run("fund_vault", [fund], owner.keypair)
    run("withdraw_vault", [client.withdraw_vault(state, amount_base_units=50)], creator)
    batch_id = UUID(int=9)
    create = client.create_reward_batch(state, payer=world.payer.pubkey(), batch_id=batch_id, capacity=1_000)
    run("create_reward_batch", [create], creator)
    recipient = world.token_account(key, 0)
    pay = client.pay_reward(state, batch_id=batch_id, index=999, destination=recipient, amount_base_units=5)
    run("pay_reward", [pay], creator)
    return found


def test_the_table_says_what_every_instruction_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {
        name: int(units.replace(",", ""))
        for name, units in re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", TABLE.read_text(), re.MULTILINE)
    }
    assert table == measured(monkeypatch)
    assert table["charge"] <= MAX_CHARGE_UNITS
