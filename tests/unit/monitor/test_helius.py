"""Buys in Helius' enhanced transactions, and payloads that are none."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal_sdk.errors import InvalidInputError, InvalidWalletAddressError, PayloadMalformedError
from deal_sdk.monitor import WatchedBuy, parse_buys

PAYLOADS = Path(__file__).parent / "payloads"
KOL = "3cAMVo9zhnTcHiu4pRyT5NrDGQ9hQyWjFGHFPrbuWsUU"
TOKEN = "AjMe6go2RBZcHFnGVRj1uTs5x3H2TTSavQ5ey9xTHEXJ"
SOL = "So11111111111111111111111111111111111111112"


NAMES = st.sampled_from(
    ["signature", "type", "events", "swap", "tokenTransfers", "tokenAmount", "mint", "toUserAccount", "slot"]
)


def payload(name: str) -> bytes:
    return (PAYLOADS / f"{name}.json").read_bytes()


def changed(**fields: Any) -> bytes:
    (transaction,) = json.loads(payload("curve_buy"))
    return json.dumps([{**transaction, **fields}]).encode()


def bought_by(wallet: str, buys: tuple[WatchedBuy, ...]) -> list[WatchedBuy]:
    return [buy for buy in buys if buy.kol_wallet == wallet]


class TestBuys:
    def test_a_route_with_hops_and_a_split_output_is_one_buy(self) -> None:
        (buy,) = bought_by(KOL, parse_buys(payload("routed_buy")))
        assert buy.token_mint == TOKEN
        assert buy.token_amount == "4821077.123456"
        assert (buy.instruction_index, buy.slot) == (0, 347582113)

    def test_lamports_and_tiny_amounts_count(self) -> None:
        (buy,) = bought_by(KOL, parse_buys(payload("curve_buy")))
        assert buy.token_amount == "0.000011"

    def test_sales_failures_and_gifts_are_none(self) -> None:
        assert bought_by(KOL, parse_buys(payload("no_buys"))) == []

    def test_what_is_paid_with_is_the_callers_choice(self) -> None:
        buys = bought_by(KOL, parse_buys(payload("no_buys"), paying_mints=[TOKEN]))
        assert [buy.token_mint for buy in buys] == [SOL]

    def test_a_swap_that_is_called_otherwise_is_found_by_its_event(self) -> None:
        assert bought_by(KOL, parse_buys(changed(type="UNKNOWN"))) == []
        assert bought_by(KOL, parse_buys(changed(type="UNKNOWN", events={"swap": {"tokenInputs": []}})))

    def test_the_same_payload_reads_the_same(self) -> None:
        assert parse_buys(payload("routed_buy")) == parse_buys(payload("routed_buy"))

    def test_nothing_is_nothing(self) -> None:
        assert parse_buys(b"[]") == ()
        assert parse_buys(changed(tokenTransfers=None, nativeTransfers=None)) == ()


class TestMalformed:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"\xff\xfe",
            b"{}",
            b"null",
            b"[1]",
            b"[[]]",
            b"[{}]",
            b"[NaN]",
            b"[" * 100_000,
            b'[{"type": "SWAP"}]',
            b'[{"signature": 5, "type": "SWAP"}]',
            b"[" + b"{}," * 501 + b"{}]",
        ],
    )
    def test_bodies(self, body: bytes) -> None:
        with pytest.raises(PayloadMalformedError):
            parse_buys(body)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("signature", "short"),
            ("signature", "0" * 88),
            ("slot", -1),
            ("slot", "347582113"),
            ("tokenTransfers", {}),
            ("tokenTransfers", ["x"]),
            ("tokenTransfers", [{"mint": TOKEN}]),
            ("tokenTransfers", [{"toUserAccount": KOL, "mint": TOKEN, "tokenAmount": "5"}]),
            ("tokenTransfers", [{"toUserAccount": KOL, "mint": TOKEN, "tokenAmount": True}]),
            ("tokenTransfers", [{"toUserAccount": KOL, "mint": TOKEN, "tokenAmount": -5}]),
            ("tokenTransfers", [{"toUserAccount": KOL, "mint": TOKEN, "tokenAmount": 10**50}]),
            ("tokenTransfers", [{"toUserAccount": KOL, "mint": "no mint", "tokenAmount": 5}]),
            ("tokenTransfers", [{"toUserAccount": [KOL], "mint": TOKEN, "tokenAmount": 5}]),
            ("tokenTransfers", [{}] * 2_001),
            ("nativeTransfers", [{"fromUserAccount": KOL}]),
        ],
    )
    def test_fields(self, field: str, value: object) -> None:
        with pytest.raises(PayloadMalformedError) as raised:
            parse_buys(changed(**{field: value}))
        assert str(value)[:40] not in str(raised.value)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
            max_leaves=12,
        )
    )
    def test_any_document_is_read_or_refused(self, document: object) -> None:
        with suppress(PayloadMalformedError):
            assert parse_buys(json.dumps([document]).encode()) == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"signature": ""},
        {"instruction_index": -1},
        {"instruction_index": True},
        {"token_amount": "1e5"},
        {"slot": 2**63},
    ],
)
def test_a_buy_that_cannot_be_recorded_is_refused(fields: dict[str, Any]) -> None:
    given_fields = {"signature": "5" * 88, "kol_wallet": KOL, "token_mint": TOKEN}
    WatchedBuy(**given_fields)
    with pytest.raises(InvalidInputError):
        WatchedBuy(**{**given_fields, **fields})
    with pytest.raises(InvalidWalletAddressError):
        WatchedBuy(**{**given_fields, "kol_wallet": "nobody"})
