from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from solders.keypair import Keypair

from deal_sdk.chain.addresses import CLASSIC_TOKEN_PROGRAM, SYSTEM_PROGRAM
from deal_sdk.clock import ManualClock
from deal_sdk.errors import RpcMalformedReplyError, RpcRefusedError, RpcUnavailableError
from tests.unit.chain.scripted import RpcFault, ScriptedNode, pass_time, rpc_over, settle

ADDRESS = Keypair.from_seed(bytes(32)).pubkey()
SIGNATURE = "s" * 64


def token_data(amount: int) -> bytes:
    return bytes(64) + amount.to_bytes(8, "little") + bytes(93)


def account(data: bytes, owner: object = CLASSIC_TOKEN_PROGRAM) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    return {
        "data": [encoded, "base64"],
        "owner": str(owner),
        "lamports": 1,
        "executable": False,
        "space": len(data),
    }


class Accounts:
    """Scripts getMultipleAccounts: token accounts by address at a slot."""

    def __init__(self, node: ScriptedNode) -> None:
        self.node = node
        self.by_address: dict[str, Any] = {}
        self.sizes: list[int] = []
        self.options: list[dict[str, Any]] = []
        node.methods["getMultipleAccounts"] = self.reply

    def reply(self, params: list[Any]) -> dict[str, Any]:
        addresses, options = params
        self.sizes.append(len(addresses))
        self.options.append(options)
        if options.get("minContextSlot", 0) > self.node.slot:
            raise RpcFault(-32016, "Minimum context slot has not been reached")
        return {
            "context": {"slot": self.node.slot},
            "value": [self.by_address.get(each) for each in addresses],
        }


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def node() -> ScriptedNode:
    return ScriptedNode()


@pytest.fixture
def accounts(node: ScriptedNode) -> Accounts:
    return Accounts(node)


@pytest.fixture
def rpc(node, clock):
    return rpc_over(node, clock)


class TestAccounts:
    async def test_reads_are_cut_at_a_hundred_and_keep_their_order(self, rpc, accounts):
        keys = [Keypair().pubkey() for _ in range(230)]
        accounts.by_address = {str(keys[number]): account(token_data(number)) for number in range(0, 230, 2)}
        found = await rpc.get_accounts(keys)
        assert sorted(accounts.sizes) == [30, 100, 100]
        assert [snapshot is not None for snapshot in found] == [number % 2 == 0 for number in range(230)]
        assert found[228].address == keys[228]
        assert await rpc.get_accounts([]) == []

    async def test_balances_asked_together_share_calls(self, rpc, accounts):
        keys = [Keypair().pubkey() for _ in range(150)]
        accounts.by_address = {str(key): account(token_data(number)) for number, key in enumerate(keys)}
        balances = await asyncio.gather(*(rpc.get_token_balance(key) for key in [*keys, keys[0]]))
        assert [balance.amount_base_units for balance in balances] == [*range(150), 0]
        assert sorted(accounts.sizes) == [51, 100]
        assert {balance.slot for balance in balances} == {1_000}

    async def test_commitments_are_not_mixed(self, rpc, accounts):
        accounts.by_address = {str(ADDRESS): account(token_data(5))}
        await asyncio.gather(
            rpc.get_token_balance(ADDRESS, "confirmed"), rpc.get_token_balance(ADDRESS, "finalized")
        )
        assert {options["commitment"] for options in accounts.options} == {"confirmed", "finalized"}

    @pytest.mark.parametrize("held", [None, account(b"", SYSTEM_PROGRAM)], ids=["nothing", "lamports alone"])
    async def test_where_there_is_no_token_account_there_are_no_tokens(self, rpc, accounts, held):
        accounts.by_address = {str(ADDRESS): held}
        balance = await rpc.get_token_balance(ADDRESS)
        assert (balance.amount_base_units, balance.exists) == (0, False)

    async def test_another_kind_of_account_spoils_no_neighbour(self, rpc, accounts):
        other = Keypair().pubkey()
        accounts.by_address = {
            str(ADDRESS): account(b"data", SYSTEM_PROGRAM),
            str(other): account(token_data(3)),
        }
        wrong, right = await asyncio.gather(
            rpc.get_token_balance(ADDRESS), rpc.get_token_balance(other), return_exceptions=True
        )
        assert isinstance(wrong, RpcMalformedReplyError)
        assert right.amount_base_units == 3

    async def test_the_largest_amount_is_exact(self, rpc, accounts):
        accounts.by_address = {str(ADDRESS): account(token_data(2**64 - 1))}
        assert (await rpc.get_token_balance(ADDRESS)).amount_base_units == 2**64 - 1

    @pytest.mark.parametrize("method", ["get_token_balance", "get_account"])
    async def test_a_node_that_is_behind_is_asked_again(self, rpc, accounts, node, clock, method):
        accounts.by_address = {str(ADDRESS): account(token_data(3))}
        asked = asyncio.create_task(getattr(rpc, method)(ADDRESS, min_context_slot=1_002))
        await pass_time(clock, 1)
        assert not asked.done()
        node.slot = 1_002
        await pass_time(clock, 0.5)
        assert (await asked).slot == 1_002

    @pytest.mark.parametrize("method", ["get_token_balance", "get_account"])
    async def test_one_that_stays_behind_ends_in_a_typed_error(self, rpc, accounts, clock, method):
        asked = asyncio.create_task(getattr(rpc, method)(ADDRESS, min_context_slot=10**9))
        await pass_time(clock, 6)
        with pytest.raises(RpcUnavailableError, match="has not reached slot") as caught:
            await asked
        assert caught.value.facts["min_context_slot"] == 10**9

    async def test_another_refusal_is_not_retried(self, rpc, node):
        def refuse(_: list[Any]) -> Any:
            raise RpcFault(-32602, "Invalid param")

        node.methods["getMultipleAccounts"] = refuse
        with pytest.raises(RpcRefusedError):
            await rpc.get_account(ADDRESS)
        assert node.count("getMultipleAccounts") == 1


class TestStatuses:
    async def test_the_lowest_context_slot_speaks_for_all(self, rpc, node):
        slots = iter((1_000, 990, 1_005))

        def reply(params: list[Any]) -> Any:
            return {"context": {"slot": next(slots)}, "value": [None] * len(params[0])}

        node.methods["getSignatureStatuses"] = reply
        reply = await rpc.get_signature_statuses([SIGNATURE] * 600)
        assert reply.context_slot == 990
        assert len(reply.statuses) == 600

    async def test_a_reply_of_another_length_is_malformed(self, rpc, node):
        node.methods["getSignatureStatuses"] = lambda _: {"context": {"slot": 1}, "value": [None]}
        with pytest.raises(RpcMalformedReplyError):
            await rpc.get_signature_statuses([SIGNATURE] * 2)


async def test_a_send_is_not_resent_by_the_node(rpc, node):
    await rpc.send_transaction(b"bytes")
    assert node.send_options == [
        {"encoding": "base64", "skipPreflight": False, "preflightCommitment": "confirmed", "maxRetries": 0}
    ]
    assert base64.b64decode(node.sent[0]) == b"bytes"


async def test_close_closes_the_transport_too(rpc, node):
    closed = []

    async def close() -> None:
        closed.append(True)

    node.close = close
    await rpc.close()
    assert closed == [True]
    with pytest.raises(RpcUnavailableError):
        await rpc.get_slot()
    await settle()


async def test_a_skipped_slot_has_no_block(rpc, node):
    def skipped(_: list[Any]) -> Any:
        raise RpcFault(-32007, "Slot 5 was skipped")

    node.methods["getBlock"] = skipped
    assert await rpc.get_block_transactions(5) is None

    def unavailable(_: list[Any]) -> Any:
        raise RpcFault(-32004, "Block not available for slot 5")

    node.methods["getBlock"] = unavailable
    with pytest.raises(RpcRefusedError):
        await rpc.get_block_transactions(5)
