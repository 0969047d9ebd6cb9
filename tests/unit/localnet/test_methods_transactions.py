from base64 import b64decode, b64encode

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair

from tests.unit.localnet.support import (
    CONFIRMED,
    FEE,
    FINALIZED,
    MEMO,
    PROCESSED,
    SOL,
    TOKEN,
    Driver,
    Refused,
    encoded,
)

FRIEND = Keypair().pubkey()
VERSIONED = {"maxSupportedTransactionVersion": 0, **CONFIRMED}


async def test_statuses_follow_the_commitments(driver: Driver) -> None:
    signature = await driver.run(driver.pay(FRIEND, SOL))
    labels = []
    for _ in range(33):
        status = await driver.status(signature)
        labels.append((status["confirmationStatus"], status["confirmations"]))
        driver.advance()
    assert labels[0] == ("processed", 0)
    assert labels[1] == ("confirmed", 1)
    assert labels[31] == ("confirmed", 31)
    assert labels[32] == ("finalized", None)


async def test_old_statuses_need_a_search_of_history(driver: Driver) -> None:
    signature = await driver.run(driver.pay(FRIEND, SOL))
    driver.advance(400)
    assert await driver.status(signature) is None
    found = await driver.value("getSignatureStatuses", [signature], {"searchTransactionHistory": True})
    assert found[0]["confirmationStatus"] == "finalized"


async def test_a_transaction_appears_at_the_commitment_it_reached(driver: Driver) -> None:
    signature = await driver.run(driver.pay(FRIEND, SOL))
    assert await driver.call("getTransaction", signature, VERSIONED) is None
    driver.advance()
    shown = await driver.call("getTransaction", signature, VERSIONED)
    assert shown["version"] == 0
    assert shown["meta"]["fee"] == FEE
    assert shown["meta"]["costUnits"] == 1_481
    assert await driver.call("getTransaction", signature, {**VERSIONED, **FINALIZED}) is None


async def test_a_versioned_transaction_needs_a_reader_that_knows_versions(driver: Driver) -> None:
    signature = await driver.run(driver.pay(FRIEND, SOL))
    slot = driver.advance() - 1
    for method, wanted in (("getTransaction", signature), ("getBlock", slot)):
        with pytest.raises(Refused, match="not supported by the requesting client") as refused:
            await driver.call(method, wanted, CONFIRMED)
        assert refused.value.code == -32015


async def test_a_legacy_transaction_needs_none(driver: Driver) -> None:
    signature = await driver.send(await driver.signed([driver.pay(FRIEND, SOL)], legacy=True))
    driver.advance()
    plain = await driver.call("getTransaction", signature, CONFIRMED)
    assert "version" not in plain
    assert (await driver.call("getTransaction", signature, VERSIONED))["version"] == "legacy"


async def test_encodings_carry_the_same_transaction(driver: Driver) -> None:
    transaction = await driver.signed([driver.pay(FRIEND, SOL), Instruction(MEMO, b"hello", [])])
    signature = await driver.send(transaction)
    driver.advance()
    as_base64 = await driver.transaction(signature, "base64")
    assert b64decode(as_base64["transaction"][0]) == bytes(transaction)
    assert (await driver.transaction(signature, "base58"))["transaction"][1] == "base58"
    parsed = await driver.transaction(signature, "jsonParsed")
    assert parsed["transaction"]["message"]["instructions"] == [
        {
            "parsed": {
                "info": {"destination": str(FRIEND), "lamports": SOL, "source": str(driver.payer.pubkey())},
                "type": "transfer",
            },
            "program": "system",
            "programId": "1" * 32,
            "stackHeight": 1,
        },
        {"parsed": "hello", "program": "spl-memo", "programId": str(MEMO), "stackHeight": 1},
    ]
    assert "loadedAddresses" not in parsed["meta"]


async def test_token_balances_stand_before_and_after(driver: Driver) -> None:
    owner, friend = driver.payer.pubkey(), Keypair().pubkey()
    mint = await driver.create_mint()
    source = await driver.open_account(mint, owner)
    target = await driver.open_account(mint, friend)
    await driver.mint_to(mint, source, 500)
    signature = await driver.run(driver.move(source, mint, target, 150))
    driver.advance()
    shown = await driver.transaction(signature)
    keys = shown["transaction"]["message"]["accountKeys"]

    def amounts(side: str) -> dict[str, tuple[str, str, object]]:
        return {
            keys[entry["accountIndex"]]: (
                entry["owner"],
                entry["uiTokenAmount"]["amount"],
                entry["uiTokenAmount"]["uiAmount"],
            )
            for entry in shown["meta"][side]
        }

    assert amounts("preTokenBalances") == {
        str(source): (str(owner), "500", 0.000005),
        str(target): (str(friend), "0", None),
    }
    assert amounts("postTokenBalances") == {
        str(source): (str(owner), "350", 0.0000035),
        str(target): (str(friend), "150", 0.0000015),
    }
    assert {entry["programId"] for entry in shown["meta"]["postTokenBalances"]} == {str(TOKEN)}


async def test_inner_instructions_are_shown(driver: Driver) -> None:
    mint = await driver.create_mint()
    await driver.open_account(mint, FRIEND)
    driver.advance()
    listed = await driver.call("getSignaturesForAddress", str(FRIEND), CONFIRMED)
    parsed = await driver.transaction(listed[0]["signature"], "jsonParsed")
    kinds = [item["parsed"]["type"] for item in parsed["meta"]["innerInstructions"][0]["instructions"]]
    assert kinds == ["getAccountDataSize", "createAccount", "initializeImmutableOwner", "initializeAccount3"]


async def test_signatures_are_listed_newest_first_and_paged(driver: Driver) -> None:
    sent = []
    for number in range(5):
        sent.append(await driver.run(driver.pay(FRIEND, SOL + number)))
        driver.advance(number % 2)
    driver.advance()
    newest = list(reversed(sent))

    async def listed(**config: object) -> list[str]:
        found = await driver.call("getSignaturesForAddress", str(FRIEND), {**CONFIRMED, **config})
        return [entry["signature"] for entry in found]

    assert await listed() == newest
    assert await listed(limit=2) == newest[:2]
    assert await listed(before=newest[1]) == newest[2:]
    assert await listed(until=newest[3]) == newest[:3]
    assert await listed(before=newest[0], until=newest[4], limit=2) == newest[1:3]
    assert await listed(before="1" * 64) == []


async def test_a_listing_tells_memo_error_and_time(driver: Driver) -> None:
    await driver.run(driver.pay(FRIEND, 5), Instruction(MEMO, b"why", []), skipPreflight=True)
    driver.advance()
    (entry,) = await driver.call("getSignaturesForAddress", str(FRIEND), CONFIRMED)
    assert entry["memo"] == "[3] why"
    assert entry["err"] == {"InsufficientFundsForRent": {"account_index": 1}}
    assert entry["confirmationStatus"] == "confirmed"
    assert entry["blockTime"] == 1_800_000_000


async def test_a_simulation_leaves_no_trace(driver: Driver) -> None:
    transaction = await driver.signed([driver.pay(FRIEND, SOL)])
    config = {
        "encoding": "base64",
        "accounts": {"encoding": "base64", "addresses": [str(FRIEND)]},
        "innerInstructions": True,
        **PROCESSED,
    }
    result = await driver.value("simulateTransaction", encoded(transaction), config)
    assert result["err"] is None
    assert result["accounts"][0]["lamports"] == SOL
    assert result["fee"] == FEE
    assert result["unitsConsumed"] == 150
    assert result["innerInstructions"] == []
    assert result["postBalances"][1] == SOL
    assert await driver.value("getBalance", str(FRIEND), PROCESSED) == 0
    await driver.send(transaction)


async def test_a_simulation_sees_the_accounts_of_its_commitment(driver: Driver) -> None:
    await driver.run(driver.pay(FRIEND, SOL))
    transaction = await driver.signed([driver.pay(FRIEND, SOL)])
    config = {"encoding": "base64", "replaceRecentBlockhash": True}
    seen = [
        (await driver.value("simulateTransaction", encoded(transaction), {**config, **level}))[
            "postBalances"
        ][1]
        for level in (PROCESSED, CONFIRMED)
    ]
    assert seen == [2 * SOL, SOL]
    assert await driver.value("getBalance", str(FRIEND), PROCESSED) == SOL


async def test_a_simulation_checks_signatures_on_demand(driver: Driver) -> None:
    good = await driver.signed([driver.pay(FRIEND, SOL)])
    bad = good.populate(good.message, [Keypair().sign_message(b"other")])
    config = {"encoding": "base64", **PROCESSED}
    assert (await driver.value("simulateTransaction", encoded(bad), config))["err"] is None
    verified = await driver.value("simulateTransaction", encoded(bad), {**config, "sigVerify": True})
    assert verified["err"] == "SignatureFailure"
    with pytest.raises(Refused, match="sigVerify may not be used with replaceRecentBlockhash"):
        await driver.call(
            "simulateTransaction", encoded(bad), {**config, "sigVerify": True, "replaceRecentBlockhash": True}
        )


async def test_fees_are_quoted_while_the_blockhash_lives(driver: Driver) -> None:
    transaction = await driver.signed([driver.pay(FRIEND, SOL)], legacy=True)
    message = b64encode(bytes(transaction.message)).decode()
    assert await driver.value("getFeeForMessage", message, PROCESSED) == FEE
    driver.advance(151)
    assert await driver.value("getFeeForMessage", message, PROCESSED) is None


async def test_repeated_budget_instructions_are_refused(driver: Driver) -> None:
    from solders.compute_budget import set_compute_unit_limit

    limits = [set_compute_unit_limit(1), set_compute_unit_limit(2)]
    with pytest.raises(Refused, match=r"duplicate instruction \(1\)") as refused:
        await driver.run(*limits, skipPreflight=True)
    assert refused.value.code == -32602


async def test_a_block_holds_its_transactions(driver: Driver) -> None:
    signature = await driver.run(driver.pay(FRIEND, SOL))
    slot = driver.advance() - 1
    full = await driver.call("getBlock", slot, VERSIONED)
    assert [entry["transaction"]["signatures"] for entry in full["transactions"]] == [[signature]]
    assert full["parentSlot"] == slot - 1
    brief = await driver.call("getBlock", slot, {**VERSIONED, "transactionDetails": "signatures"})
    assert brief["signatures"] == [signature]
    assert "transactions" not in await driver.call(
        "getBlock", slot, {**VERSIONED, "transactionDetails": "none"}
    )
    accounts = await driver.call("getBlock", slot, {**VERSIONED, "transactionDetails": "accounts"})
    assert accounts["transactions"][0]["meta"]["fee"] == FEE
    with pytest.raises(Refused, match=f"Block not available for slot {slot + 1}") as refused:
        await driver.call("getBlock", slot + 1, VERSIONED)
    assert refused.value.code == -32004
