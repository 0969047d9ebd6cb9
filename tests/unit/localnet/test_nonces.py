"""Transactions that live by a durable nonce."""

from base64 import b64encode

import pytest
from solders.compute_budget import ID as COMPUTE_BUDGET
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import to_bytes_versioned
from solders.pubkey import Pubkey
from solders.system_program import (
    AdvanceNonceAccountParams,
    advance_nonce_account,
    create_nonce_account,
)
from solders.transaction import VersionedTransaction

from tests.unit.localnet.support import FEE, MEMO, PROCESSED, SOL, Driver, Refused, encoded

FRIEND = Keypair().pubkey()
LONG = 200


@pytest.fixture
async def nonce(driver: Driver) -> Pubkey:
    """A nonce account of the payer's, as it was some slots ago."""
    account = Keypair()
    payer = driver.payer.pubkey()
    await driver.run(*create_nonce_account(payer, account.pubkey(), payer, SOL), signers=[account])
    driver.advance(2)
    return account.pubkey()


async def value(driver: Driver, nonce: Pubkey) -> Hash:
    config = {**PROCESSED, "encoding": "jsonParsed"}
    found = await driver.value("getAccountInfo", str(nonce), config)
    return Hash.from_string(found["data"]["parsed"]["info"]["blockhash"])


def advancing(nonce: Pubkey, authority: Pubkey) -> Instruction:
    return advance_nonce_account(AdvanceNonceAccountParams(nonce_pubkey=nonce, authorized_pubkey=authority))


async def durable(driver: Driver, nonce: Pubkey, *instructions: Instruction) -> VersionedTransaction:
    """Sign a transaction that lives by the nonce's value of now."""
    payer = driver.payer.pubkey()
    held = await value(driver, nonce)
    return await driver.signed([advancing(nonce, payer), *instructions], blockhash=held)


async def test_it_lands_long_after_any_blockhash_has_expired(driver: Driver, nonce: Pubkey) -> None:
    held = await value(driver, nonce)
    payment = await durable(driver, nonce, driver.pay(FRIEND, SOL))
    driver.advance(LONG)
    simulated = await driver.value("simulateTransaction", encoded(payment), {"encoding": "base64"})
    assert simulated["err"] is None
    signature = await driver.send(payment, preflightCommitment="finalized")
    assert (await driver.status(signature))["err"] is None
    assert await driver.value("getBalance", str(FRIEND), PROCESSED) == SOL
    assert await value(driver, nonce) != held


async def test_it_lands_once(driver: Driver, nonce: Pubkey) -> None:
    payment = await durable(driver, nonce, driver.pay(FRIEND, SOL))
    await driver.send(payment)
    driver.advance(LONG)
    with pytest.raises(Refused, match="Blockhash not found"):
        await driver.send(payment)
    await driver.send(payment, skipPreflight=True)
    assert await driver.value("getBalance", str(FRIEND), PROCESSED) == SOL


async def test_of_two_by_one_nonce_only_the_first_lands(driver: Driver, nonce: Pubkey) -> None:
    first = await durable(driver, nonce, driver.pay(FRIEND, SOL))
    second = await durable(driver, nonce, driver.pay(FRIEND, 2 * SOL))
    await driver.send(first)
    driver.advance()
    await driver.send(second, skipPreflight=True)
    assert await driver.status(str(second.signatures[0])) is None
    assert await driver.value("getBalance", str(FRIEND), PROCESSED) == SOL


async def test_a_nonce_moves_once_a_slot(driver: Driver, nonce: Pubkey) -> None:
    await driver.send(await durable(driver, nonce))
    again = await durable(driver, nonce, driver.pay(FRIEND, SOL))
    with pytest.raises(Refused, match="Blockhash not found"):
        await driver.send(again)
    driver.advance()
    await driver.send(again)
    assert await driver.value("getBalance", str(FRIEND), PROCESSED) == SOL


async def test_a_nonce_is_good_for_preflight_as_soon_as_its_slot_is_confirmed(driver: Driver) -> None:
    account, payer = Keypair(), driver.payer.pubkey()
    await driver.run(*create_nonce_account(payer, account.pubkey(), payer, SOL), signers=[account])
    driver.advance()
    payment = await durable(driver, account.pubkey(), driver.pay(FRIEND, SOL))
    await driver.send(payment, preflightCommitment="confirmed")
    assert await driver.value("getBalance", str(FRIEND), PROCESSED) == SOL


async def test_a_failure_moves_the_nonce_all_the_same(driver: Driver, nonce: Pubkey) -> None:
    held = await value(driver, nonce)
    before = await driver.value("getBalance", str(driver.payer.pubkey()), PROCESSED)
    failing = await durable(driver, nonce, driver.pay(FRIEND, 1_000_000 * SOL))
    signature = await driver.send(failing, skipPreflight=True)
    assert (await driver.status(signature))["err"] == {"InstructionError": [1, {"Custom": 1}]}
    assert await driver.value("getBalance", str(driver.payer.pubkey()), PROCESSED) == before - FEE
    assert await value(driver, nonce) != held
    driver.advance()
    await driver.send(failing, skipPreflight=True)
    assert await driver.value("getBalance", str(driver.payer.pubkey()), PROCESSED) == before - FEE


async def test_a_transaction_that_loads_too_much_moves_the_nonce_too(driver: Driver, nonce: Pubkey) -> None:
    held = await value(driver, nonce)
    before = await driver.value("getBalance", str(driver.payer.pubkey()), PROCESSED)
    one_byte = Instruction(COMPUTE_BUDGET, bytes([4]) + (1).to_bytes(4, "little"), [])
    failing = await durable(driver, nonce, one_byte)
    signature = await driver.send(failing, skipPreflight=True)
    assert (await driver.status(signature))["err"] == "MaxLoadedAccountsDataSizeExceeded"
    assert await driver.value("getBalance", str(driver.payer.pubkey()), PROCESSED) == before - FEE
    assert await value(driver, nonce) != held


async def test_a_failure_that_lived_by_a_blockhash_moves_nothing(driver: Driver, nonce: Pubkey) -> None:
    held = await value(driver, nonce)
    payer = driver.payer.pubkey()
    await driver.run(advancing(nonce, payer), driver.pay(FRIEND, 1_000_000 * SOL), skipPreflight=True)
    assert await value(driver, nonce) == held
    await driver.run(advancing(nonce, payer))
    assert await value(driver, nonce) != held


async def test_a_rollback_puts_the_nonce_back(driver: Driver, nonce: Pubkey) -> None:
    slot = driver.advance() - 1
    held = await value(driver, nonce)
    payment = await durable(driver, nonce, driver.pay(FRIEND, SOL))
    await driver.send(payment)
    driver.localnet.rollback(slot)
    assert await value(driver, nonce) == held
    await driver.send(payment)
    assert await driver.value("getBalance", str(FRIEND), PROCESSED) == SOL


async def test_only_its_authority_moves_a_nonce(driver: Driver, nonce: Pubkey) -> None:
    thief = Keypair()
    await driver.call("requestAirdrop", str(thief.pubkey()), SOL)
    held = await value(driver, nonce)
    stolen = await driver.signed([advancing(nonce, thief.pubkey())], blockhash=held, payer=thief)
    with pytest.raises(Refused, match="Blockhash not found"):
        await driver.send(stolen)


async def test_a_value_without_the_instruction_is_no_life(driver: Driver, nonce: Pubkey) -> None:
    held = await value(driver, nonce)
    late = [Instruction(MEMO, b"first", []), advancing(nonce, driver.payer.pubkey())]
    for instructions in ([driver.pay(FRIEND, SOL)], late):
        with pytest.raises(Refused, match="Blockhash not found"):
            await driver.send(await driver.signed(instructions, blockhash=held))


async def test_its_fee_is_known(driver: Driver, nonce: Pubkey) -> None:
    payment = await durable(driver, nonce, driver.pay(FRIEND, SOL))
    message = b64encode(to_bytes_versioned(payment.message)).decode()
    assert await driver.value("getFeeForMessage", message, PROCESSED) == FEE
