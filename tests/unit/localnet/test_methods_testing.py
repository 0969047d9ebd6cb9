from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest
from solders.keypair import Keypair

from deal_localnet import Localnet, LocalnetConfig
from deal_localnet import methods_testing as testing
from tests.unit.localnet.conftest import NOW
from tests.unit.localnet.support import CONFIRMED, PROCESSED, SOL, TOKEN, Driver, Refused

FRIEND = Keypair().pubkey()
STEERING = sorted(testing.table.methods)


@pytest.fixture
async def steered() -> AsyncIterator[Driver]:
    config = LocalnetConfig(
        auto_advance=False,
        test_methods=True,
        max_lag_slots=8,
        slots_per_epoch=32,
        wall_clock=lambda: float(NOW),
    )
    async with Localnet(config) as localnet:
        driver = Driver(localnet)
        await driver.fund()
        yield driver


@pytest.mark.parametrize("method", STEERING)
async def test_they_are_off_unless_asked_for(driver: Driver, method: str) -> None:
    required = testing.table.methods[method].required
    with pytest.raises(Refused) as refused:
        await driver.call(method, *([0] * required))
    assert (refused.value.code, refused.value.message) == (-32601, "Method not found")


async def test_time_is_steered(steered: Driver) -> None:
    slot = steered.localnet.bank.chain.open.slot
    assert await steered.call("localnet_advanceSlots") == slot + 1
    assert await steered.call("localnet_advanceSlots", 3) == slot + 4
    stands = await steered.call("localnet_timeTravel", {"absoluteSlot": 100})
    assert stands == {"absoluteSlot": 100, "epoch": 3, "unixTimestamp": NOW}
    assert (await steered.call("localnet_timeTravel", {"absoluteEpoch": 5}))["absoluteSlot"] == 160
    stands = await steered.call("localnet_timeTravel", {"absoluteTimestamp": NOW + 50})
    assert stands == {"absoluteSlot": 161, "epoch": 5, "unixTimestamp": NOW + 50}
    assert (await steered.call("localnet_timeTravel", {"seconds": 7}))["unixTimestamp"] == NOW + 57


async def test_the_clock_is_held_and_let_go(steered: Driver) -> None:
    assert await steered.call("localnet_pause") is True
    assert steered.localnet.is_paused
    assert await steered.call("localnet_resume") is True
    assert not steered.localnet.is_paused


async def test_accounts_are_overwritten(steered: Driver) -> None:
    data = b64encode(b"hello").decode()
    await steered.call("localnet_setAccount", str(FRIEND), {"lamports": 5, "data": [data, "base64"]})
    await steered.call("localnet_setAccount", str(FRIEND), {"owner": str(TOKEN)})
    config = {"encoding": "base64", **PROCESSED}
    shown = await steered.value("getAccountInfo", str(FRIEND), config)
    assert (shown["lamports"], shown["data"][0], shown["owner"]) == (5, data, str(TOKEN))
    await steered.call("localnet_setAccount", str(FRIEND), None)
    assert await steered.value("getAccountInfo", str(FRIEND), config) is None


async def test_snapshots_have_numbers(steered: Driver) -> None:
    first = await steered.call("localnet_snapshot")
    second = await steered.call("localnet_snapshot")
    assert first != second
    await steered.run(steered.pay(FRIEND, SOL))
    slot = steered.localnet.bank.chain.open.slot
    steered.advance(3)
    assert await steered.call("localnet_restore", first) == slot
    assert await steered.value("getBalance", str(FRIEND), PROCESSED) == 0
    assert await steered.call("localnet_forget", first) is True
    assert await steered.call("localnet_forget", first) is False
    with pytest.raises(Refused, match="there is no snapshot"):
        await steered.call("localnet_restore", first)


async def test_only_so_many_snapshots_are_held(steered: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "MAX_HELD_SNAPSHOTS", 1)
    await steered.call("localnet_snapshot")
    with pytest.raises(Refused, match="too many snapshots"):
        await steered.call("localnet_snapshot")


async def test_a_fork_takes_transactions_and_gives_them_back(steered: Driver) -> None:
    slot, old = steered.localnet.bank.chain.open.slot, await steered.blockhash()
    steered.advance()
    sent = await steered.send(await steered.signed([steered.pay(FRIEND, SOL)], blockhash=old))
    assert await steered.call("localnet_rollback", slot) == [sent]
    assert await steered.call("localnet_landAgain", [sent]) == [sent]
    assert await steered.call("localnet_landAgain") == []
    steered.advance(100)
    with pytest.raises(Refused, match="lies below the finalized"):
        await steered.call("localnet_rollback", slot)


async def test_lag_and_faults_are_set_and_ended(steered: Driver) -> None:
    steered.advance(10)
    slot = await steered.call("getSlot", PROCESSED)
    await steered.call("localnet_setLag", 5)
    assert await steered.call("getSlot", PROCESSED) == slot - 5
    # Who steers is neither behind nor struck.
    assert await steered.call("localnet_advanceSlots", 1) == slot + 1
    await steered.call("localnet_setLag", 0)
    fault = {"kind": "rate_limit", "methods": ["getSlot"], "times": 3, "seconds": 0.5}
    await steered.call("localnet_setFaults", [fault], 7)
    assert (await steered.localnet.handle_http(b'{"jsonrpc":"2.0","id":1,"method":"getSlot"}'))[0] == 429
    assert await steered.call("getBlockHeight", CONFIRMED) > 0
    await steered.call("localnet_setFaults", None)
    assert await steered.call("getSlot", PROCESSED) == slot + 1


async def test_faults_are_drawn_from_a_seed(steered: Driver) -> None:
    wish = {"seed": 4, "requests": 100, "share": 0.3}
    drawn = await steered.call("localnet_drawFaults", wish)
    assert drawn == await steered.call("localnet_drawFaults", wish)
    assert 10 < len(drawn) < 60


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("advanceSlots", [100_001]),
        ("advanceSlots", [-1]),
        ("timeTravel", [{}]),
        ("timeTravel", [{"absoluteSlot": 1}]),
        ("timeTravel", [{"absoluteSlot": 90, "seconds": 1}]),
        ("timeTravel", [{"absoluteTimestamp": NOW - 1}]),
        ("timeTravel", [{"yesterday": 1}]),
        ("setAccount", ["nobody", {}]),
        ("setAccount", [str(FRIEND), {"colour": "red"}]),
        ("setAccount", [str(FRIEND), {"data": ["?", "base64"]}]),
        ("setAccount", [str(FRIEND), 5]),
        ("restore", [99]),
        ("rollback", ["late"]),
        ("landAgain", [["short"]]),
        ("setLag", [9]),
        ("setFaults", [[{"kind": "earthquake"}]]),
        ("setFaults", [[{"kind": "lag", "slots": 9}]]),
        ("setFaults", [[{"kind": "delay", "skip": 0.5}]]),
        ("setFaults", [[{"kind": "delay", "times": 0}]]),
        ("setFaults", [[{"kind": "delay", "colour": "red"}]]),
        ("drawFaults", [{"requests": 10, "share": "half"}]),
        ("drawFaults", [{"share": 0.5}]),
        ("drawFaults", [{"requests": 10, "share": 2}]),
    ],
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(
    steered: Driver, method: str, params: list[Any]
) -> None:
    slot = steered.localnet.bank.chain.open.slot
    with pytest.raises(Refused) as refused:
        await steered.call(f"localnet_{method}", *params)
    assert refused.value.code == -32602
    assert steered.localnet.bank.chain.open.slot == slot
    assert steered.localnet.endpoint.faults is None
    assert steered.localnet.endpoint.lag_slots == 0
