from urllib.request import Request, urlopen

import orjson
import pytest
from solders.account import Account
from solders.keypair import Keypair

from deal_localnet import (
    Fault,
    FaultKind,
    FaultScript,
    LocalnetConfig,
    LoopThread,
    RpcError,
    ThreadedLocalnet,
)
from tests.unit.localnet.conftest import NOW
from tests.unit.localnet.support import PROCESSED, SOL, SYSTEM

FRIEND = Keypair().pubkey()
BY_HAND = LocalnetConfig(
    auto_advance=False, slots_per_epoch=32, max_lag_slots=8, wall_clock=lambda: float(NOW)
)


def posted(chain: ThreadedLocalnet, method: str, *params: object) -> object:
    body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    with urlopen(Request(chain.rpc_url, body, {"content-type": "application/json"}), timeout=10) as reply:
        return orjson.loads(reply.read())["result"]


def test_a_synchronous_program_steers_a_chain() -> None:
    with ThreadedLocalnet(BY_HAND) as chain:
        assert posted(chain, "getGenesisHash") == chain.genesis_hash
        chain.airdrop(FRIEND, SOL)
        slot = chain.slot
        assert posted(chain, "getBalance", str(FRIEND), PROCESSED) == {
            "context": {"apiVersion": chain.request("getVersion")["solana-core"], "slot": slot},
            "value": SOL,
        }
        snapshot = chain.snapshot()
        chain.set_account(FRIEND, Account(7, b"", SYSTEM))
        found = chain.get_account(FRIEND)
        assert found is not None
        assert found.lamports == 7
        assert chain.advance_slots(2) == slot + 2
        assert chain.rollback(slot + 1) == []
        assert chain.land_again() == []
        assert chain.warp_to_slot(50) == 50
        assert chain.warp_to_epoch(2) == 64
        assert chain.advance_time(60) == NOW + 60
        chain.pause()
        chain.resume()
        chain.restore(snapshot)
        assert (chain.slot, chain.get_account(FRIEND).lamports) == (slot, SOL)  # type: ignore[union-attr]
        assert chain.ws_url.startswith("ws://127.0.0.1:")


def test_lag_and_faults_befall_clients_and_not_the_test() -> None:
    with ThreadedLocalnet(BY_HAND) as chain:
        chain.advance_slots(10)
        chain.endpoint.lag_slots = 4
        assert posted(chain, "getSlot", PROCESSED) == chain.request("getSlot", PROCESSED) - 4
        chain.endpoint.faults = FaultScript([Fault(FaultKind.LOSE_REPLY, times=2)])
        with pytest.raises(ConnectionError):
            posted(chain, "getSlot")
        chain.endpoint.heal()
        assert posted(chain, "getSlot", PROCESSED) == chain.slot


def test_a_refusal_is_an_error_with_its_code() -> None:
    with ThreadedLocalnet(BY_HAND) as chain, pytest.raises(RpcError) as refused:
        chain.request("getBalance", "nobody")
    assert refused.value.code == -32602


def test_chains_may_share_a_thread() -> None:
    thread = LoopThread()
    thread.start()
    with ThreadedLocalnet(BY_HAND, thread) as one, ThreadedLocalnet(BY_HAND, thread) as other:
        one.advance_slots(5)
        assert one.genesis_hash != other.genesis_hash
        assert other.slot == 1
    thread.close()
    thread.close()


def test_a_thread_that_is_gone_or_would_wait_for_itself_refuses() -> None:
    chain = ThreadedLocalnet(BY_HAND)
    with pytest.raises(RuntimeError, match="does not run"):
        chain.advance_slots()
    with chain, pytest.raises(RuntimeError, match="waits for itself"):
        chain.call(lambda localnet: chain.advance_slots())
    with pytest.raises(RuntimeError, match="does not run"):
        chain.advance_slots()
