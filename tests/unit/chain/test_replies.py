from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.keypair import Keypair

from deal_sdk.chain import replies
from deal_sdk.errors import RpcMalformedReplyError

KEYS = [str(Keypair().pubkey()) for _ in range(4)]
CONTEXT = {"context": {"slot": 7}}


def holding(index: int, amount: str) -> dict[str, Any]:
    return {"accountIndex": index, "mint": KEYS[3], "owner": KEYS[0], "uiTokenAmount": {"amount": amount}}


def transaction_reply(**changes: Any) -> dict[str, Any]:
    meta = {
        "err": None,
        "fee": 5_000,
        "preTokenBalances": [holding(1, "10")],
        "postTokenBalances": [holding(1, "4"), holding(2, str(2**64 - 1))],
        "logMessages": ["line"],
        "loadedAddresses": {"writable": [KEYS[2]], "readonly": [KEYS[3]]},
        **changes,
    }
    return {
        "slot": 9,
        "blockTime": 1_700_000_000,
        "transaction": {"message": {"accountKeys": KEYS[:2], "instructions": []}},
        "meta": meta,
    }


def parse_transaction(reply: Any) -> replies.LandedTransaction | None:
    return replies.parse_transaction("signature", reply)


def test_token_balances_are_found_by_their_account_also_in_lookup_tables():
    landed = parse_transaction(transaction_reply())
    assert landed is not None
    assert landed.account_keys == tuple(KEYS)
    assert landed.token_balances_before == {KEYS[1]: replies.TokenHolding(KEYS[0], KEYS[3], 10)}
    assert landed.token_balances_after[KEYS[2]].amount_base_units == 2**64 - 1
    assert parse_transaction(None) is None


def test_missing_balances_and_logs_are_empty():
    bare = transaction_reply(
        preTokenBalances=None, postTokenBalances=None, logMessages=None, loadedAddresses=None
    )
    landed = parse_transaction(bare)
    assert landed is not None
    assert (landed.token_balances_before, landed.token_balances_after, landed.logs) == ({}, {}, ())


def test_a_block_keeps_its_order():
    entry = {
        "transaction": {"signatures": ["a"], "accountKeys": [{"pubkey": key} for key in KEYS]},
        "meta": transaction_reply()["meta"],
    }
    second = {**entry, "transaction": {**entry["transaction"], "signatures": ["b"]}}
    block = replies.parse_block(9, {"blockTime": None, "transactions": [entry, second]})
    assert block is not None
    assert [landed.signature for landed in block] == ["a", "b"]
    assert block[0].account_keys == tuple(KEYS)
    assert replies.parse_block(9, None) is None


def test_an_old_nodes_status_is_final_by_its_missing_confirmations():
    rooted = {"slot": 5, "confirmations": None, "err": None}
    young = {"slot": 5, "confirmations": 3, "err": None}
    reply = replies.parse_statuses(3, {**CONTEXT, "value": [rooted, young, None]})
    assert [status and status.commitment for status in reply.statuses] == ["finalized", "processed", None]


@pytest.mark.parametrize(
    ("parse", "reply"),
    [
        (replies.integer, True),
        (replies.integer, 1.0),
        (replies.integer, -1),
        (replies.integer, "1"),
        (replies.decimal_integer, 1),
        (replies.decimal_integer, "1.0"),
        (replies.decimal_integer, "-1"),
        (replies.decimal_integer, "١"),
        (replies.text, None),
        (replies.commitment, "rooted"),
        (replies.parse_latest_blockhash, {**CONTEXT, "value": {"blockhash": "x", "lastValidBlockHeight": 1}}),
        (replies.parse_latest_blockhash, {**CONTEXT, "value": {"blockhash": "1" * 32}}),
        (replies.parse_latest_blockhash, None),
        (lambda reply: replies.parse_statuses(1, reply), {**CONTEXT, "value": [{"slot": 5}]}),
        (lambda reply: replies.parse_statuses(1, reply), {"value": [None]}),
        (parse_transaction, {"slot": 5, "transaction": {}, "meta": None}),
        (parse_transaction, transaction_reply(preTokenBalances=[holding(9, "1")])),
        (parse_transaction, transaction_reply(postTokenBalances=[holding(1, "x")])),
        (parse_transaction, transaction_reply(postTokenBalances=[holding(True, "1")])),
        (lambda reply: replies.parse_accounts([], reply), {**CONTEXT, "value": [None]}),
        (replies.parse_supply, {**CONTEXT, "value": {"amount": 5, "decimals": 8}}),
        (replies.parse_address_signatures, {}),
        (replies.parse_token_amounts, {**CONTEXT, "value": {}}),
        (replies.parse_simulation, {**CONTEXT, "value": {"logs": []}}),
    ],
)  # fmt: skip
def test_any_other_form_is_a_malformed_reply(parse, reply):
    with pytest.raises(RpcMalformedReplyError, match="getIt"):
        replies.read_reply("getIt", parse, reply)


PARSERS = [
    replies.parse_latest_blockhash,
    lambda reply: replies.parse_statuses(1, reply),
    parse_transaction,
    lambda reply: replies.parse_block(1, reply),
    lambda reply: replies.parse_accounts([Keypair().pubkey()], reply),
    replies.parse_address_signatures,
    replies.parse_simulation,
    replies.parse_supply,
    replies.parse_largest_accounts,
    replies.parse_token_amounts,
    replies.parse_prioritization_fees,
]
KEYWORDS = [
    "context",
    "value",
    "slot",
    "meta",
    "transaction",
    "transactions",
    "err",
    "data",
    "account",
    "amount",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=5),
    max_leaves=12,
)


@pytest.mark.parametrize("parse", PARSERS)
@given(reply=JSON)
def test_no_reply_at_all_breaks_a_parser(parse, reply):
    with suppress(RpcMalformedReplyError):
        replies.read_reply("getIt", parse, reply)
