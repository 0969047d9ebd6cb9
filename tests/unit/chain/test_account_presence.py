from __future__ import annotations

from typing import Any

import pytest
from solders.keypair import Keypair

from deal_sdk.chain.account_presence import hold_data
from deal_sdk.clock import ManualClock
from deal_sdk.errors import RpcMalformedReplyError
from tests.unit.chain.scripted import ScriptedNode, rpc_over

KEYS = [Keypair.from_seed(bytes([number]) * 32).pubkey() for number in range(230)]
ABSENT, LAMPORTS_ALONE, HOLDING = None, {"data": ["", "base64"]}, {"data": ["AQ==", "base64"]}


@pytest.fixture
def node() -> ScriptedNode:
    return ScriptedNode()


async def ask(node: ScriptedNode, values: dict[str, Any]) -> list[bool]:
    def reply(params: list[Any]) -> dict[str, Any]:
        addresses, options = params
        assert options["dataSlice"] == {"offset": 0, "length": 1}
        return {"context": {"slot": 5}, "value": [values.get(one) for one in addresses]}

    node.methods["getMultipleAccounts"] = reply
    return await hold_data(rpc_over(node, ManualClock()), KEYS)


async def test_only_what_holds_data_is_there_and_the_order_stays(node):
    values = {str(KEYS[3]): HOLDING, str(KEYS[120]): LAMPORTS_ALONE, str(KEYS[229]): HOLDING}
    found = await ask(node, values)
    assert [place for place, holds in enumerate(found) if holds] == [3, 229]
    assert len(found) == len(KEYS)


@pytest.mark.parametrize("value", [{}, {"data": []}, {"data": [7, "base64"]}, "AQ=="])
async def test_what_is_no_account_is_not_taken_for_one(node, value):
    with pytest.raises(RpcMalformedReplyError):
        await ask(node, {str(KEYS[0]): value})


async def test_an_answer_for_fewer_accounts_is_refused(node):
    node.methods["getMultipleAccounts"] = lambda _: {"context": {"slot": 5}, "value": [None]}
    with pytest.raises(RpcMalformedReplyError):
        await hold_data(rpc_over(node, ManualClock()), KEYS[:2])
