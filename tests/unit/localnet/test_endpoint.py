from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
from solders.account import Account
from solders.keypair import Keypair

from deal_localnet import (
    ConnectionDropped,
    Endpoint,
    Fault,
    FaultKind,
    FaultScript,
    Localnet,
    LocalnetConfig,
    LocalnetServer,
)
from tests.unit.localnet.conftest import NOW
from tests.unit.localnet.support import CONFIRMED, PROCESSED, SOL, SYSTEM, Driver, encoded

FRIEND = Keypair().pubkey()
SLOT = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "getSlot", "params": [PROCESSED]})
LAG = 12


@pytest.fixture
async def localnet() -> AsyncIterator[Localnet]:
    config = LocalnetConfig(
        auto_advance=False, finality_slots=4, max_lag_slots=LAG, wall_clock=lambda: float(NOW)
    )
    async with Localnet(config) as started:
        yield started


@pytest.fixture
async def driver(localnet: Localnet) -> Driver:
    driver = Driver(localnet)
    await driver.fund()
    return driver


def body(method: str, *params: Any) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})


async def asked(endpoint: Endpoint, method: str, *params: Any) -> Any:
    status, _, reply = await endpoint.handle_http(body(method, *params))
    assert status == 200
    return orjson.loads(reply)["result"]


def struck_by(localnet: Localnet, fault: Fault) -> Endpoint:
    endpoint = localnet.new_endpoint()
    endpoint.faults = FaultScript([fault])
    return endpoint


async def test_a_lagging_node_shows_the_chain_of_then(driver: Driver, localnet: Localnet) -> None:
    lagging = localnet.new_endpoint()
    lagging.lag_slots = LAG
    for slots in range(1, 40):
        driver.advance()
        localnet.set_account(FRIEND, Account(slots, b"", SYSTEM))
        if slots <= 2 * LAG:
            continue
        for config in ({"commitment": level} for level in ("processed", "confirmed", "finalized")):
            now = await driver.call("getBalance", str(FRIEND), config)
            then = await asked(lagging, "getBalance", str(FRIEND), config)
            assert now["context"]["slot"] - then["context"]["slot"] == LAG
            assert now["value"] - then["value"] == LAG


async def test_a_lagging_node_does_not_know_what_landed_lately(driver: Driver, localnet: Localnet) -> None:
    driver.advance(2 * LAG)
    signature = await driver.run(driver.pay(FRIEND, SOL))
    driver.advance(3)
    localnet.endpoint.lag_slots = LAG
    assert await driver.status(signature) is None
    assert await driver.call("getTransaction", signature, CONFIRMED) is None
    assert await driver.call("getSignaturesForAddress", str(FRIEND), CONFIRMED) == []
    localnet.endpoint.heal()
    assert (await driver.status(signature))["confirmationStatus"] == "confirmed"


async def test_a_lagging_node_passes_on_what_it_is_sent(driver: Driver, localnet: Localnet) -> None:
    driver.advance(2 * LAG)
    localnet.endpoint.lag_slots = LAG
    await driver.run(driver.pay(FRIEND, SOL), skipPreflight=True)
    driver.advance()
    localnet.endpoint.heal()
    assert await driver.value("getBalance", str(FRIEND), CONFIRMED) == SOL


@pytest.mark.parametrize("slots", [-1, LAG + 1])
def test_a_lag_that_the_chain_does_not_keep_is_refused(localnet: Localnet, slots: int) -> None:
    with pytest.raises(ValueError, match="lag"):
        localnet.endpoint.lag_slots = slots
    assert localnet.endpoint.lag_slots == 0


def test_a_planned_lag_that_the_chain_does_not_keep_is_refused(localnet: Localnet) -> None:
    with pytest.raises(ValueError, match="max_lag_slots=13"):
        localnet.endpoint.faults = FaultScript([Fault(FaultKind.LAG, slots=LAG + 1)])
    assert localnet.endpoint.faults is None


async def test_a_lag_may_strike_one_request(driver: Driver, localnet: Localnet) -> None:
    driver.advance(LAG)
    slot = localnet.bank.chain.open.slot
    endpoint = struck_by(localnet, Fault(FaultKind.LAG, slots=3))
    assert [await asked(endpoint, "getSlot", PROCESSED) for _ in range(2)] == [slot - 3, slot]


@pytest.mark.parametrize("kind", [FaultKind.LOSE_REQUEST, FaultKind.LOSE_REPLY])
async def test_a_lost_connection_tells_nothing_of_the_request(
    driver: Driver, localnet: Localnet, kind: FaultKind
) -> None:
    endpoint = struck_by(localnet, Fault(kind, frozenset({"sendTransaction"})))
    wire = encoded(await driver.signed([driver.pay(FRIEND, SOL)]))
    assert await asked(endpoint, "getSlot", PROCESSED) >= 0
    with pytest.raises(ConnectionDropped):
        await endpoint.handle_http(
            body("sendTransaction", wire, {"encoding": "base64", "skipPreflight": True})
        )
    landed = await driver.value("getBalance", str(FRIEND), PROCESSED)
    assert landed == (SOL if kind is FaultKind.LOSE_REPLY else 0)


async def test_a_lost_transaction_lands_when_it_is_sent_again(driver: Driver, localnet: Localnet) -> None:
    localnet.endpoint.faults = FaultScript([Fault(FaultKind.LOSE_TRANSACTION)])
    transaction = await driver.signed([driver.pay(FRIEND, SOL)], blockhash=localnet.bank.chain.open.blockhash)
    signature = await driver.send(transaction)
    assert await driver.status(signature) is None
    assert await driver.send(transaction) == signature
    assert await driver.status(signature) is not None


async def test_a_duplicate_arrives_twice(driver: Driver, localnet: Localnet) -> None:
    endpoint = struck_by(localnet, Fault(FaultKind.DUPLICATE))
    await asked(endpoint, "requestAirdrop", str(FRIEND), SOL)
    assert await driver.value("getBalance", str(FRIEND), PROCESSED) == 2 * SOL


async def test_a_delayed_request_arrives_late(localnet: Localnet) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        localnet.advance_slots(5)

    slot = localnet.bank.chain.open.slot
    endpoint = Endpoint(lambda: localnet.node, max_lag_slots=0, sleep=sleep)
    endpoint.faults = FaultScript([Fault(FaultKind.DELAY, seconds=1.5)])
    assert await asked(endpoint, "getSlot", PROCESSED) == slot + 5
    assert slept == [1.5]


async def test_refusals_come_with_their_status(localnet: Localnet) -> None:
    endpoint = struck_by(localnet, Fault(FaultKind.RATE_LIMIT, seconds=3.0))
    status, headers, _ = await endpoint.handle_http(SLOT)
    assert (status, headers["retry-after"]) == (429, "3")
    endpoint.faults = FaultScript([Fault(FaultKind.SERVER_ERROR, times=20)], seed=5)
    assert {(await endpoint.handle_http(SLOT))[0] for _ in range(20)} <= {500, 502, 503, 504}
    assert (await endpoint.handle_http(SLOT))[0] == 200


async def test_garbage_follows_from_the_seed(localnet: Localnet) -> None:
    async def replies() -> list[bytes]:
        endpoint = localnet.new_endpoint()
        endpoint.faults = FaultScript([Fault(FaultKind.GARBAGE, times=20)], seed=9)
        return [(await endpoint.handle_http(SLOT))[2] for _ in range(20)]

    first = await replies()
    assert first == await replies()
    assert len(set(first)) > 3


async def test_what_is_no_request_meets_the_faults_too(localnet: Localnet) -> None:
    endpoint = struck_by(localnet, Fault(FaultKind.RATE_LIMIT))
    assert (await endpoint.handle_http(b"{"))[0] == 429
    assert orjson.loads((await endpoint.handle_http(b"{"))[2])["error"]["code"] == -32700
    assert (await endpoint.handle_http(bytes(60_000)))[0] == 413


async def test_two_servers_of_one_chain_disagree(localnet: Localnet) -> None:
    localnet.advance_slots(LAG)
    lagging = localnet.new_endpoint()
    lagging.lag_slots = 5
    async with (
        LocalnetServer(localnet, rpc_port=0) as main,
        LocalnetServer(localnet, rpc_port=0, endpoint=lagging) as spare,
        aiohttp.ClientSession() as http,
    ):
        slots = [(await post(http, server, SLOT))["result"] for server in (main, spare)]
        assert slots[0] - slots[1] == 5
        lagging.faults = FaultScript([Fault(FaultKind.LOSE_REPLY)])
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await post(http, spare, SLOT)
        assert (await post(http, spare, SLOT))["result"] == slots[1]


async def post(http: aiohttp.ClientSession, server: LocalnetServer, data: bytes) -> Any:
    async with http.post(server.rpc_url, data=data, headers={"content-type": "application/json"}) as reply:
        return await reply.json()


async def test_a_rolled_back_transaction_lands_again_or_expires(driver: Driver, localnet: Localnet) -> None:
    kept = localnet.bank.chain.open.slot
    old = localnet.bank.chain.open.blockhash
    transactions = [
        await driver.signed([driver.pay(FRIEND, SOL + number)], blockhash=old) for number in range(3)
    ]
    driver.advance()
    sent = [await driver.send(transaction) for transaction in transactions]
    fresh = await driver.run(driver.pay(FRIEND, 7 * SOL))
    driver.advance()
    assert localnet.rollback(kept) == [*sent, fresh]
    assert await driver.value("getBalance", str(FRIEND), PROCESSED) == 0

    # Its blockhash went with its slot.
    assert localnet.land_again([sent[1], fresh]) == [sent[1]]
    await driver.send(transactions[0])
    # One landed by itself meanwhile, and the last one may still.
    assert localnet.land_again() == [sent[2]]
    assert await driver.value("getBalance", str(FRIEND), PROCESSED) == 3 * SOL + 3
    assert localnet.land_again() == []
    with pytest.raises(ValueError, match="no rollback dropped"):
        localnet.land_again([fresh])


async def test_a_rolled_back_transaction_expires_in_time(driver: Driver, localnet: Localnet) -> None:
    kept = localnet.bank.chain.open.slot
    old = localnet.bank.chain.open.blockhash
    driver.advance()
    await driver.send(await driver.signed([driver.pay(FRIEND, SOL)], blockhash=old))
    localnet.rollback(kept)
    driver.advance(localnet.bank.chain.lifetime_blocks + 1)
    assert localnet.land_again() == []
    assert await driver.value("getBalance", str(FRIEND), PROCESSED) == 0
