from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair

from deal_localnet import SubscriptionSession, pubsub_session
from tests.unit.localnet.support import CONFIRMED, FINALIZED, MEMO, PROCESSED, SOL, SYSTEM, Driver

FRIEND = Keypair().pubkey()


class Listener:
    """Holds one session and what it was sent."""

    def __init__(self, driver: Driver) -> None:
        self.messages: list[Any] = []
        self.session: SubscriptionSession = driver.localnet.open_subscription_session(
            lambda text: self.messages.append(orjson.loads(text))
        )

    async def call(self, method: str, *params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
        before = len(self.messages)
        await self.session.receive(orjson.dumps(request).decode())
        reply = self.messages.pop(before)
        assert reply["id"] == 7
        return reply.get("result", reply.get("error"))

    def taken(self) -> list[Any]:
        """Return the notifications' results and forget them."""
        results = [message["params"]["result"] for message in self.messages]
        self.messages.clear()
        return results


@pytest.fixture
def listener(driver: Driver) -> Iterator[Listener]:
    listener = Listener(driver)
    yield listener
    listener.session.close()


@pytest.mark.parametrize(("level", "slots"), [(PROCESSED, 0), (CONFIRMED, 1), (FINALIZED, 32)])
async def test_a_signature_is_told_at_its_commitment(
    driver: Driver, listener: Listener, level: dict[str, str], slots: int
) -> None:
    transaction = await driver.signed([driver.pay(FRIEND, SOL)])
    await listener.call("signatureSubscribe", str(transaction.signatures[0]), level)
    await driver.send(transaction)
    for _ in range(slots):
        assert listener.taken() == []
        driver.advance()
    (told,) = listener.taken()
    assert told["value"] == {"err": None}
    driver.advance(40)
    assert listener.taken() == []


async def test_a_known_signature_is_told_after_the_reply(driver: Driver, listener: Listener) -> None:
    signature = await driver.run(driver.pay(FRIEND, 1_000 * SOL), skipPreflight=True)
    driver.advance()
    await listener.call("signatureSubscribe", signature, CONFIRMED)
    (told,) = listener.taken()
    assert told["value"] == {"err": {"InstructionError": [0, {"Custom": 1}]}}


async def test_reception_is_told_on_demand(driver: Driver, listener: Listener) -> None:
    transaction = await driver.signed([driver.pay(FRIEND, SOL)])
    config = {**CONFIRMED, "enableReceivedNotification": True}
    await listener.call("signatureSubscribe", str(transaction.signatures[0]), config)
    await driver.send(transaction)
    driver.advance()
    assert [told["value"] for told in listener.taken()] == ["receivedSignature", {"err": None}]


@pytest.mark.parametrize(("level", "slots"), [(PROCESSED, 0), (CONFIRMED, 1), (FINALIZED, 32)])
async def test_an_account_is_told_at_its_commitment(
    driver: Driver, listener: Listener, level: dict[str, str], slots: int
) -> None:
    await listener.call("accountSubscribe", str(FRIEND), {**level, "encoding": "base64"})
    slot = await driver.call("getSlot", PROCESSED)
    await driver.run(driver.pay(FRIEND, SOL))
    driver.advance(slots)
    (told,) = listener.taken()
    assert told["context"] == {"slot": slot}
    assert told["value"]["lamports"] == SOL


async def test_programs_tell_of_their_accounts(driver: Driver, listener: Listener) -> None:
    config = {**CONFIRMED, "encoding": "base64", "filters": [{"dataSize": 0}]}
    await listener.call("programSubscribe", str(SYSTEM), config)
    await driver.run(driver.pay(FRIEND, SOL))
    driver.advance()
    assert {told["value"]["pubkey"] for told in listener.taken()} == {str(FRIEND), str(driver.payer.pubkey())}


async def test_logs_are_told_to_those_who_watch_the_address(driver: Driver, listener: Listener) -> None:
    await listener.call("logsSubscribe", {"mentions": [str(FRIEND)]}, PROCESSED)
    signature = await driver.run(driver.pay(FRIEND, SOL))
    await driver.run(Instruction(MEMO, b"other", []))
    (told,) = listener.taken()
    assert told["value"]["signature"] == signature
    assert told["value"]["err"] is None
    assert told["value"]["logs"][0] == f"Program {SYSTEM} invoke [1]"


async def test_all_logs_are_told(driver: Driver, listener: Listener) -> None:
    await listener.call("logsSubscribe", "all", CONFIRMED)
    sent = [await driver.run(Instruction(MEMO, bytes([65 + number]), [])) for number in range(3)]
    driver.advance()
    assert [told["value"]["signature"] for told in listener.taken()] == sent


async def test_slots_and_roots_are_told(driver: Driver, listener: Listener) -> None:
    await listener.call("slotSubscribe")
    driver.advance(2)
    told = listener.taken()
    assert [entry["slot"] - entry["parent"] for entry in told] == [1, 1]
    driver.advance(50)
    listener.taken()
    await listener.call("rootSubscribe")
    root = await driver.call("getSlot", FINALIZED)
    driver.advance(1)
    roots = [entry for entry in listener.taken() if isinstance(entry, int)]
    assert roots == [root + 1]


async def test_an_unsubscribed_listener_hears_nothing(driver: Driver, listener: Listener) -> None:
    identifier = await listener.call("accountSubscribe", str(FRIEND), PROCESSED)
    assert await listener.call("accountUnsubscribe", identifier) is True
    gone = await listener.call("accountUnsubscribe", identifier)
    assert gone == {"code": -32602, "message": "Invalid subscription id."}
    await driver.run(driver.pay(FRIEND, SOL))
    assert listener.taken() == []


async def test_a_closed_session_hears_nothing(driver: Driver, listener: Listener) -> None:
    await listener.call("slotSubscribe")
    listener.session.close()
    driver.advance()
    assert listener.taken() == []


async def test_nobody_ends_anothers_subscription(driver: Driver, listener: Listener) -> None:
    other = Listener(driver)
    identifier = await other.call("slotSubscribe")
    assert "code" in await listener.call("slotUnsubscribe", identifier)
    driver.advance()
    assert len(other.taken()) == 1
    other.session.close()


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("getSlot", [], -32601),
        ("accountSubscribe", [], -32602),
        ("accountSubscribe", ["abc"], -32602),
        ("signatureSubscribe", ["abc"], -32602),
        ("logsSubscribe", [{"mentions": []}], -32602),
        ("logsSubscribe", ["some"], -32602),
    ],
)
async def test_bad_subscriptions_are_refused(
    listener: Listener, method: str, params: list[object], code: int
) -> None:
    assert (await listener.call(method, *params))["code"] == code


async def test_garbage_is_a_parse_error(listener: Listener) -> None:
    await listener.session.receive("garbage")
    assert listener.messages[0]["error"]["code"] == -32700


async def test_rolled_back_transactions_are_told_once_confirmed_again(
    driver: Driver, listener: Listener
) -> None:
    slot = driver.advance() - 1
    transaction = await driver.signed(
        [driver.pay(FRIEND, SOL)], blockhash=await driver.blockhash("confirmed")
    )
    await listener.call("signatureSubscribe", str(transaction.signatures[0]), FINALIZED)
    await driver.send(transaction)
    driver.localnet.rollback(slot)
    driver.advance(40)
    assert listener.taken() == []
    await driver.send(transaction)
    driver.advance(32)
    assert [told["value"] for told in listener.taken()] == [{"err": None}]


async def test_many_finished_subscriptions_leave_the_living_ones(
    driver: Driver, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pubsub_session, "TIDY_SUBSCRIPTIONS", 3)
    session = driver.localnet.open_subscription_session(
        lambda text: listener.messages.append(orjson.loads(text))
    )
    listener.session.close()
    listener.session = session
    living = await listener.call("accountSubscribe", str(FRIEND), PROCESSED)
    finished = []
    for lamports in range(SOL, SOL + 8):
        transaction = await driver.signed([driver.pay(FRIEND, lamports)])
        finished.append(await listener.call("signatureSubscribe", str(transaction.signatures[0]), PROCESSED))
        await driver.send(transaction)
        assert len(listener.taken()) == 2
    assert (await listener.call("signatureUnsubscribe", finished[0]))["code"] == -32602
    assert await listener.call("accountUnsubscribe", living) is True


async def test_blocks_are_told_with_their_transactions(driver: Driver, listener: Listener) -> None:
    config = {**CONFIRMED, "encoding": "json", "maxSupportedTransactionVersion": 0, "showRewards": True}
    await listener.call("blockSubscribe", "all", config)
    slot = await driver.call("getSlot", PROCESSED)
    await driver.run(driver.pay(FRIEND, SOL))
    driver.advance()
    (told,) = listener.taken()
    shown = await driver.call(
        "getBlock", slot, {**CONFIRMED, "encoding": "json", "maxSupportedTransactionVersion": 0}
    )
    assert told == {"context": {"slot": slot}, "value": {"block": shown, "err": None, "slot": slot}}


async def test_blocks_without_the_mentioned_address_are_not_told(driver: Driver, listener: Listener) -> None:
    config = {**CONFIRMED, "transactionDetails": "signatures"}
    await listener.call("blockSubscribe", {"mentionsAccountOrProgram": str(FRIEND)}, config)
    await driver.run(Instruction(MEMO, b"other", []))
    driver.advance()
    assert listener.taken() == []
    paid = await driver.run(driver.pay(FRIEND, SOL))
    await driver.run(Instruction(MEMO, b"third", []))
    driver.advance()
    (told,) = listener.taken()
    assert told["value"]["block"]["signatures"] == [paid]
    assert "rewards" not in told["value"]["block"]


async def test_a_block_that_its_reader_cannot_read_is_an_error(driver: Driver, listener: Listener) -> None:
    await listener.call("blockSubscribe", "all", CONFIRMED)
    await driver.run(driver.pay(FRIEND, SOL))
    driver.advance()
    (told,) = listener.taken()
    assert told["value"]["block"] is None
    assert told["value"]["err"] == {"UnsupportedTransactionVersion": 0}


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        (["all", PROCESSED], "Method does not support commitment below `confirmed`"),
        (["some"], "unknown variant `some`"),
        ([{"mentionsAccountOrProgram": "abc"}], "Invalid mentions_account_or_program provided"),
    ],
)
async def test_blocks_nobody_could_be_told_of_are_refused(
    listener: Listener, params: list[object], reason: str
) -> None:
    refused = await listener.call("blockSubscribe", *params)
    assert refused["code"] == -32602
    assert reason in refused["message"]


async def test_the_progress_of_slots_is_told(driver: Driver, listener: Listener) -> None:
    driver.advance(40)
    await listener.call("slotsUpdatesSubscribe")
    slot = await driver.call("getSlot", PROCESSED)
    await driver.run(driver.pay(FRIEND, SOL))
    driver.advance()
    told = listener.taken()
    assert {entry.pop("timestamp") for entry in told} == {1_800_000_000_000}
    stats = {
        "maxTransactionsPerEntry": 1,
        "numFailedTransactions": 0,
        "numSuccessfulTransactions": 1,
        "numTransactionEntries": 1,
    }
    assert told == [
        {"slot": slot, "stats": stats, "type": "frozen"},
        {"slot": slot, "type": "completed"},
        {"parent": slot, "slot": slot + 1, "type": "createdBank"},
        {"slot": slot, "type": "optimisticConfirmation"},
        {"slot": slot - 31, "type": "root"},
    ]


async def test_a_slot_is_told_frozen_once_although_its_successors_were_rolled_back(
    driver: Driver, listener: Listener
) -> None:
    await listener.call("slotsUpdatesSubscribe")
    slot = driver.advance(2)
    driver.localnet.rollback(slot - 2)
    driver.advance()
    frozen = [entry["slot"] for entry in listener.taken() if entry["type"] == "frozen"]
    assert frozen == [slot - 2, slot - 1, slot + 1]


async def test_votes_can_be_waited_for_in_vain(driver: Driver, listener: Listener) -> None:
    identifier = await listener.call("voteSubscribe")
    driver.advance(3)
    assert listener.taken() == []
    assert await listener.call("voteUnsubscribe", identifier) is True


async def test_a_notification_gets_no_reply(listener: Listener) -> None:
    await listener.session.receive('{"jsonrpc": "2.0", "method": "ping"}')
    assert listener.messages == []
