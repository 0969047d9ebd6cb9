import pytest
from solders.account import Account
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from deal_localnet.addresses import LOOKUP_TABLE_PROGRAM
from tests.unit.localnet.support import FEE, SOL, SYSTEM, Driver, Refused, readonly, writable

FRIEND = Keypair().pubkey()


async def lamports(driver: Driver, key: Pubkey, level: str = "processed") -> int:
    return await driver.value("getBalance", str(key), {"commitment": level})


async def test_a_transfer_is_seen_level_by_level(driver: Driver) -> None:
    await driver.run(driver.pay(FRIEND, SOL))
    seen = []
    for _ in range(33):
        seen.append(
            [await lamports(driver, FRIEND, level) for level in ("processed", "confirmed", "finalized")]
        )
        driver.advance()
    assert seen[0] == [SOL, 0, 0]
    assert seen[1] == [SOL, SOL, 0]
    assert seen[31] == [SOL, SOL, 0]
    assert seen[32] == [SOL, SOL, SOL]


async def test_a_duplicate_is_refused_while_its_blockhash_lives(driver: Driver) -> None:
    transaction = await driver.signed([driver.pay(FRIEND, SOL)])
    signature = await driver.send(transaction)
    with pytest.raises(Refused, match="already been processed") as refused:
        await driver.send(transaction)
    assert refused.value.code == -32002
    assert refused.value.data["err"] == "AlreadyProcessed"
    assert await driver.send(transaction, skipPreflight=True) == signature
    assert await lamports(driver, FRIEND) == SOL

    driver.advance(151)
    with pytest.raises(Refused, match="Blockhash not found"):
        await driver.send(transaction)
    assert await driver.send(transaction, skipPreflight=True) == signature
    assert await lamports(driver, FRIEND) == SOL


async def test_a_blockhash_expires_by_height(driver: Driver) -> None:
    latest = await driver.value("getLatestBlockhash", {"commitment": "processed"})
    transaction = await driver.signed(
        [driver.pay(FRIEND, SOL)], blockhash=Hash.from_string(latest["blockhash"])
    )
    height = await driver.call("getBlockHeight", {"commitment": "processed"})
    assert latest["lastValidBlockHeight"] == height + 150
    driver.advance(150)
    assert await driver.value("isBlockhashValid", latest["blockhash"], {"commitment": "processed"})
    driver.advance(1)
    assert not await driver.value("isBlockhashValid", latest["blockhash"], {"commitment": "processed"})
    with pytest.raises(Refused, match="Blockhash not found"):
        await driver.send(transaction)


async def test_preflight_judges_the_blockhash_by_its_own_commitment(driver: Driver) -> None:
    driver.advance(40)
    transaction = await driver.signed(
        [driver.pay(FRIEND, SOL)], blockhash=await driver.blockhash("confirmed")
    )
    with pytest.raises(Refused, match="Blockhash not found"):
        await driver.send(transaction, preflightCommitment="finalized")
    await driver.send(transaction, preflightCommitment="confirmed")


async def test_a_failed_transaction_lands_and_pays(driver: Driver) -> None:
    before = await lamports(driver, driver.payer.pubkey())
    transaction = await driver.signed([driver.pay(FRIEND, 1_000 * SOL)])
    with pytest.raises(Refused, match="custom program error: 0x1") as refused:
        await driver.send(transaction)
    assert refused.value.data["err"] == {"InstructionError": [0, {"Custom": 1}]}
    assert await lamports(driver, driver.payer.pubkey()) == before

    signature = await driver.send(transaction, skipPreflight=True)
    driver.advance()
    status = await driver.status(signature)
    assert status["err"] == {"InstructionError": [0, {"Custom": 1}]}
    assert status["status"] == {"Err": {"InstructionError": [0, {"Custom": 1}]}}
    meta = (await driver.transaction(signature))["meta"]
    assert meta["fee"] == FEE
    assert meta["preBalances"][0] - meta["postBalances"][0] == FEE
    assert await lamports(driver, driver.payer.pubkey()) == before - FEE


async def test_priority_fees_are_charged(driver: Driver) -> None:
    before = await lamports(driver, driver.payer.pubkey())
    priced = [set_compute_unit_limit(100_000), set_compute_unit_price(12_345)]
    signature = await driver.run(*priced, driver.pay(FRIEND, SOL))
    driver.advance()
    meta = (await driver.transaction(signature))["meta"]
    assert meta["fee"] == FEE + 1_235
    assert await lamports(driver, driver.payer.pubkey()) == before - SOL - FEE - 1_235


async def test_recent_fees_are_the_lowest_price_of_each_block(driver: Driver) -> None:
    for prices in ((700, 300), (500,)):
        for price in prices:
            await driver.run(set_compute_unit_price(price), driver.pay(FRIEND, SOL + price))
        driver.advance()
    assert await prices_for(driver, driver.payer.pubkey()) == [0, 300, 500]


async def prices_for(driver: Driver, *keys: Pubkey) -> list[int]:
    found = await driver.call("getRecentPrioritizationFees", [str(key) for key in keys])
    return [fee["prioritizationFee"] for fee in found]


async def test_recent_fees_are_those_of_who_wrote_to_the_account(driver: Driver) -> None:
    for price, to in ((700, FRIEND), (300, Pubkey.new_unique())):
        await driver.run(set_compute_unit_price(price), driver.pay(to, SOL + price))
    driver.advance()
    assert (await prices_for(driver, FRIEND))[-1] == 700
    assert (await prices_for(driver, FRIEND, driver.payer.pubkey()))[-1] == 700
    # Who is not written to, or only read, pays what the block asked of everyone.
    assert (await prices_for(driver, Pubkey.new_unique()))[-1] == 300
    assert (await prices_for(driver, SYSTEM))[-1] == 300


async def test_priority_fees_are_charged_for_failures_too(driver: Driver) -> None:
    before = await lamports(driver, driver.payer.pubkey())
    priced = [set_compute_unit_limit(100_000), set_compute_unit_price(10_000)]
    await driver.run(*priced, driver.pay(FRIEND, 1_000 * SOL), skipPreflight=True)
    assert await lamports(driver, driver.payer.pubkey()) == before - FEE - 1_000


async def test_a_payer_that_cannot_pay_leaves_no_trace(driver: Driver) -> None:
    stranger = Keypair()
    transaction = await driver.signed([driver.pay(FRIEND, 1)], driver.payer, payer=stranger)
    with pytest.raises(Refused, match="no record of a prior credit") as refused:
        await driver.send(transaction)
    assert refused.value.data["err"] == "AccountNotFound"
    signature = await driver.send(transaction, skipPreflight=True)
    assert await driver.status(signature) is None


async def test_an_account_may_not_be_left_below_rent(driver: Driver) -> None:
    with pytest.raises(Refused, match="insufficient funds for rent") as refused:
        await driver.run(driver.pay(FRIEND, 5))
    assert refused.value.data["err"] == {"InsufficientFundsForRent": {"account_index": 1}}
    signature = await driver.run(driver.pay(FRIEND, 5), skipPreflight=True)
    assert (await driver.status(signature))["err"] == {"InsufficientFundsForRent": {"account_index": 1}}
    assert await lamports(driver, FRIEND) == 0


async def test_a_missing_program_costs_the_fee(driver: Driver) -> None:
    before = await lamports(driver, driver.payer.pubkey())
    lost = Instruction(Keypair().pubkey(), b"", [])
    with pytest.raises(Refused, match="program that does not exist"):
        await driver.run(lost)
    signature = await driver.run(lost, skipPreflight=True)
    driver.advance()
    meta = (await driver.transaction(signature))["meta"]
    assert meta["err"] == "ProgramAccountNotFound"
    assert meta["logMessages"] is None
    assert await lamports(driver, driver.payer.pubkey()) == before - FEE


async def test_an_unsigned_transaction_vanishes_silently(driver: Driver) -> None:
    good = await driver.signed([driver.pay(FRIEND, SOL)])
    bad = VersionedTransaction.populate(good.message, [Keypair().sign_message(b"other")])
    with pytest.raises(Refused, match="did not pass signature verification"):
        await driver.send(bad)
    signature = await driver.send(bad, skipPreflight=True)
    assert await driver.status(signature) is None


async def test_an_emptied_account_is_gone(driver: Driver) -> None:
    friend = Keypair()
    await driver.run(driver.pay(friend.pubkey(), SOL))
    back = Instruction(
        SYSTEM,
        (2).to_bytes(4, "little") + (SOL - FEE).to_bytes(8, "little"),
        [writable(friend.pubkey()), writable(driver.payer.pubkey())],
    )
    back.accounts = [back.accounts[0].__class__(friend.pubkey(), True, True), back.accounts[1]]
    await driver.send(await driver.signed([back], payer=friend))
    assert await driver.value("getAccountInfo", str(friend.pubkey()), {"commitment": "processed"}) is None
    assert await lamports(driver, friend.pubkey(), "confirmed") == 0


async def test_rollback_takes_back_transactions_and_accounts(driver: Driver) -> None:
    kept = await driver.run(driver.pay(FRIEND, SOL))
    kept_slot = driver.advance() - 1
    dropped = await driver.run(driver.pay(FRIEND, 2 * SOL))
    top = driver.advance()
    assert await lamports(driver, FRIEND) == 3 * SOL

    assert driver.localnet.rollback(kept_slot) == [dropped]
    assert await driver.status(dropped) is None
    assert (await driver.status(kept))["slot"] == kept_slot
    assert await lamports(driver, FRIEND) == SOL
    listed = await driver.call("getSignaturesForAddress", str(FRIEND), {"commitment": "confirmed"})
    assert [entry["signature"] for entry in listed] == [kept]
    assert await driver.call("getSlot", {"commitment": "processed"}) == top + 1
    driver.advance()
    with pytest.raises(Refused, match="was skipped") as refused:
        await driver.call("getBlock", top, {"commitment": "confirmed"})
    assert refused.value.code == -32007


async def test_a_dropped_transaction_can_be_sent_again(driver: Driver) -> None:
    slot = driver.advance() - 1
    transaction = await driver.signed(
        [driver.pay(FRIEND, SOL)], blockhash=await driver.blockhash("confirmed")
    )
    signature = await driver.send(transaction)
    driver.localnet.rollback(slot)
    assert await lamports(driver, FRIEND) == 0
    assert await driver.send(transaction) == signature
    assert await lamports(driver, FRIEND) == SOL


async def test_final_slots_cannot_be_rolled_back(driver: Driver) -> None:
    driver.advance(100)
    with pytest.raises(ValueError, match="finalized"):
        driver.localnet.rollback(3)


async def test_a_set_account_is_seen_by_commitment_and_rolled_back(driver: Driver) -> None:
    key = Keypair().pubkey()
    slot = driver.advance() - 1
    driver.localnet.set_account(key, Account(SOL, b"abc", SYSTEM))
    assert await lamports(driver, key) == SOL
    assert await lamports(driver, key, "confirmed") == 0
    driver.localnet.rollback(slot)
    assert await lamports(driver, key) == 0


async def test_a_lookup_table_is_usable_one_slot_after_its_creation(driver: Driver) -> None:
    slot = driver.advance() - 1
    payer = driver.payer.pubkey()
    table, bump = Pubkey.find_program_address(
        [bytes(payer), slot.to_bytes(8, "little")], LOOKUP_TABLE_PROGRAM
    )
    owner = [writable(table), driver.authority, driver.authority, readonly(SYSTEM)]
    create = Instruction(
        LOOKUP_TABLE_PROGRAM, (0).to_bytes(4, "little") + slot.to_bytes(8, "little") + bytes([bump]), owner
    )
    extend = Instruction(
        LOOKUP_TABLE_PROGRAM,
        (2).to_bytes(4, "little") + (1).to_bytes(8, "little") + bytes(FRIEND),
        owner,
    )
    await driver.run(create, extend)
    driver.advance()
    accounts = [AddressLookupTableAccount(table, [FRIEND])]
    blockhash = await driver.blockhash()
    message = MessageV0.try_compile(payer, [driver.pay(FRIEND, SOL)], accounts, blockhash)
    signature = await driver.send(VersionedTransaction(message, [driver.payer]))
    driver.advance()
    assert await lamports(driver, FRIEND) == SOL
    shown = await driver.transaction(signature)
    assert shown["meta"]["loadedAddresses"] == {"readonly": [], "writable": [str(FRIEND)]}
    parsed = await driver.transaction(signature, "jsonParsed")
    assert parsed["transaction"]["message"]["accountKeys"][-1] == {
        "pubkey": str(FRIEND),
        "signer": False,
        "source": "lookupTable",
        "writable": True,
    }


async def test_airdrops_of_the_same_amount_differ(driver: Driver) -> None:
    signatures = {await driver.call("requestAirdrop", str(FRIEND), SOL) for _ in range(2)}
    assert len(signatures) == 2
    assert await lamports(driver, FRIEND) == 2 * SOL
