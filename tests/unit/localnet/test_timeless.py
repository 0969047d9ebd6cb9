"""A busy chain shows its programs the slot only where one of them could tell."""

from unittest import mock

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_localnet.addresses import (
    ASSOCIATED_TOKEN_PROGRAM,
    COMPUTE_BUDGET_PROGRAM,
    LOOKUP_TABLE_PROGRAM,
    MEMO_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
)
from deal_localnet.timeless import is_timeless
from deal_localnet.wire import transaction_of_wire
from tests.unit.localnet.support import MEMO, SOL, TOKEN_2022, Driver, readonly

FRIEND = Keypair().pubkey()
TABLE = Keypair().pubkey()


def program(address: Pubkey, *mentions: Pubkey) -> Instruction:
    return Instruction(address, b"\1", [readonly(mentioned) for mentioned in mentions])


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([program(TOKEN_PROGRAM), program(COMPUTE_BUDGET_PROGRAM), program(MEMO_PROGRAM)], True),
        ([program(ASSOCIATED_TOKEN_PROGRAM, TOKEN_PROGRAM)], True),
        ([program(ASSOCIATED_TOKEN_PROGRAM, TOKEN_2022_PROGRAM)], False),
        ([program(TOKEN_2022_PROGRAM)], False),
        ([program(TOKEN_PROGRAM), program(LOOKUP_TABLE_PROGRAM)], False),
        ([program(FRIEND)], False),
    ],
)
@pytest.mark.parametrize("legacy", [True, False])
async def test_only_programs_that_are_known_to_ignore_time_are_timeless(
    driver: Driver, steps: list[Instruction], expected: bool, legacy: bool
) -> None:
    signed = await driver.signed(steps, legacy=legacy)
    assert is_timeless(transaction_of_wire(bytes(signed), lambda _: None)) is expected


async def test_the_slot_is_shown_to_the_first_that_could_tell(driver: Driver) -> None:
    driver.advance(3)
    slot = driver.localnet.bank.chain.open.slot
    svm = driver.localnet.bank.svm
    with mock.patch.object(driver.localnet.bank, "svm", mock.Mock(wraps=svm)) as watched:
        await driver.run(driver.pay(FRIEND, SOL), skipPreflight=True)
        assert watched.set_clock.call_count == watched.set_slot_hashes.call_count == 0
        unknown = Instruction(TOKEN_2022, b"\xff", [AccountMeta(driver.payer.pubkey(), True, False)])
        for _ in range(2):
            await driver.run(unknown, Instruction(MEMO, b"once more", []), skipPreflight=True)
        assert watched.set_clock.call_count == watched.set_slot_hashes.call_count == 1
    assert svm.get_clock().slot == slot
