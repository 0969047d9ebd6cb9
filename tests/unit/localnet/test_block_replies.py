"""What is kept of blocks that were asked for, and what is rendered anew."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from solders.keypair import Keypair

from deal_localnet import Localnet, LocalnetConfig
from deal_localnet.block_replies import BlockForm, BlockReplies
from tests.unit.localnet.support import CONFIRMED, SOL, Driver

FRIEND = Keypair().pubkey()
FORM = BlockForm(7, 1, "full", "json", 0)


class Renderer:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> list[Any]:
        self.times += 1
        return ["x" * 90]


def test_a_form_is_rendered_once() -> None:
    replies, render = BlockReplies(), Renderer()
    first = orjson.dumps(replies.transactions(FORM, render))
    assert orjson.dumps(replies.transactions(FORM, render)) == first == orjson.dumps(["x" * 90])
    assert render.times == 1


def test_another_form_or_a_grown_block_is_rendered_anew() -> None:
    replies, render = BlockReplies(), Renderer()
    forms = [
        FORM,
        FORM._replace(slot=8),
        FORM._replace(transaction_count=2),
        FORM._replace(details="accounts"),
        FORM._replace(encoding="base64"),
        FORM._replace(max_version=None),
    ]
    for form in forms:
        replies.transactions(form, render)
    assert render.times == len(forms)


def test_what_was_asked_for_last_is_kept() -> None:
    replies, render = BlockReplies(max_bytes=200), Renderer()
    first, second, third = (FORM._replace(slot=slot) for slot in (1, 2, 3))
    for form in (first, second, first, third, first):
        replies.transactions(form, render)
    assert render.times == 3
    replies.transactions(second, render)
    assert render.times == 4


def test_a_refusal_is_not_kept() -> None:
    replies, render = BlockReplies(), Renderer()

    def refuse() -> list[Any]:
        raise ValueError("not for this reader")

    with pytest.raises(ValueError, match="not for this reader"):
        replies.transactions(FORM, refuse)
    replies.transactions(FORM, render)
    assert render.times == 1


async def test_a_block_that_is_confirmed_while_open_is_shown_as_it_grows() -> None:
    config = replace(LocalnetConfig(auto_advance=False), confirm_slots=0)
    async with Localnet(config) as localnet:
        driver = Driver(localnet)
        await driver.fund()
        slot = localnet.bank.chain.open.slot
        options = {**CONFIRMED, "maxSupportedTransactionVersion": 0, "transactionDetails": "accounts"}
        counts = []
        for lamports in (SOL, 2 * SOL):
            await driver.run(driver.pay(FRIEND, lamports))
            counts.append(len((await driver.call("getBlock", slot, options))["transactions"]))
        assert counts == [1, 2]
