"""Followed addresses are subscribed to for as long as they are followed, and again after a loss."""

from __future__ import annotations

from typing import Any

from deal_sdk.chain.address_hints import AddressSubscriptions
from deal_sdk.clock import ManualClock
from deal_sdk.metrics import Metrics
from tests.unit.chain.scripted import pass_time, settle
from tests.unit.chain.scripted_links import ScriptedLinks


class ScriptedLogs(ScriptedLinks):
    """Answers logsSubscribe, and tells of an address as often as it is asked to."""

    def take(self, request: dict[str, Any]) -> None:
        self.requests.append(request)
        if request["method"] == "logsSubscribe":
            (address,) = request["params"][0]["mentions"]
            number = self.numbers[address] = 100 + request["id"]
            self.tell({"jsonrpc": "2.0", "id": request["id"], "result": number})

    def tell_of(self, address: str) -> None:
        params = {"result": {"value": {"logs": []}}, "subscription": self.numbers[address]}
        self.tell({"jsonrpc": "2.0", "method": "logsNotification", "params": params})

    @property
    def methods(self) -> list[str]:
        return [request["method"] for request in self.requests]


async def test_an_address_is_told_of_again_and_again_until_it_is_left() -> None:
    clock, far_end, hints = ManualClock(), ScriptedLogs(), list[str]()
    subscriptions = AddressSubscriptions([far_end], hints.append, clock=clock, metrics=Metrics())
    assert far_end.opened_count == 0, "nothing is followed, so nothing is opened"
    subscriptions.follow(["a", "b"])
    await settle()
    assert far_end.requests[0]["params"] == [{"mentions": ["a"]}, {"commitment": "finalized"}]
    assert subscriptions.covers("b")
    for _ in range(3):
        far_end.tell_of("a")
    await settle()
    assert hints == ["a"] * 3

    subscriptions.follow(["b", "c"])
    await settle()
    assert far_end.methods == ["logsSubscribe"] * 2 + ["logsUnsubscribe", "logsSubscribe"]
    far_end.tell_of("a")
    await settle()
    assert hints == ["a"] * 3, "what was left is heard of no more"

    far_end.cut()
    await pass_time(clock, 2)
    assert far_end.opened_count == 2
    far_end.tell_of("c")
    await settle()
    assert hints[3:] == ["c"]

    subscriptions.follow([])
    await settle()
    assert not subscriptions.covers("b")
    subscriptions.follow(["a"])
    await settle()
    far_end.tell_of("a")
    await settle()
    assert hints[4:] == ["a"]
    await subscriptions.close()
    assert far_end.closed
