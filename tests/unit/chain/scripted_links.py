"""An endpoint's WebSocket made of plain fields: it answers, tells, is silent and breaks as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

from deal_sdk.chain.links import Frame
from deal_sdk.chain.subscriptions import SignatureSubscriptions
from deal_sdk.clock import ManualClock
from deal_sdk.errors import ChainError, RpcUnavailableError
from deal_sdk.metrics import Metrics


class ScriptedLinks:
    """A `LinkSource`; it is also the far end of the link that is open."""

    endpoint = "scripted"

    def __init__(self) -> None:
        self.refuse_opening: ChainError | None = None
        self.refuse_subscribing: dict[str, Any] | None = None
        self.answers = True
        self.gives_signs_of_life = True
        self.opened_count = 0
        self.closed = False
        self.link: ScriptedLink | None = None
        self.requests: list[dict[str, Any]] = []
        self.numbers: dict[str, int] = {}

    async def open(self) -> ScriptedLink:
        self.opened_count += 1
        if self.refuse_opening is not None:
            raise self.refuse_opening
        self.numbers.clear()
        self.link = ScriptedLink(self)
        return self.link

    async def close(self) -> None:
        self.closed = True

    @property
    def subscribed(self) -> list[str]:
        """The signatures that were asked for on any link, in order."""
        return [r["params"][0] for r in self.requests if r["method"] == "signatureSubscribe"]

    def take(self, request: dict[str, Any]) -> None:
        self.requests.append(request)
        if request["method"] == "signatureSubscribe" and self.answers:
            if self.refuse_subscribing is not None:
                self.tell({"jsonrpc": "2.0", "id": request["id"], "error": self.refuse_subscribing})
                return
            number = self.numbers[request["params"][0]] = 100 + request["id"]
            self.tell({"jsonrpc": "2.0", "id": request["id"], "result": number})
        if request["method"] == "signatureUnsubscribe":
            self.tell({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32602, "message": "gone"}})

    def tell(self, message: Any) -> None:
        assert self.link is not None
        self.link.frames.put_nowait(orjson.dumps(message).decode())

    def notify(self, signature: str, error: Any = None) -> None:
        """Tell that a signature confirmed, which ends its subscription."""
        self.notify_number(self.numbers.pop(signature), error)

    def notify_number(self, number: Any, error: Any = None) -> None:
        value = {"context": {"slot": 5}, "value": {"err": error}}
        params = {"result": value, "subscription": number}
        self.tell({"jsonrpc": "2.0", "method": "signatureNotification", "params": params})

    def cut(self) -> None:
        """Break the open link."""
        assert self.link is not None
        self.link.frames.put_nowait(RpcUnavailableError("cut"))


class ScriptedLink:
    """One link to `ScriptedLinks`."""

    def __init__(self, far_end: ScriptedLinks) -> None:
        self.far_end = far_end
        self.frames: asyncio.Queue[Frame | ChainError] = asyncio.Queue()
        self.closed = False

    async def send(self, text: str) -> None:
        self.far_end.take(orjson.loads(text))

    async def ping(self) -> None:
        if self.far_end.gives_signs_of_life:
            self.frames.put_nowait(None)

    async def receive(self) -> Frame:
        frame = await self.frames.get()
        if isinstance(frame, ChainError):
            raise frame
        return frame

    async def close(self) -> None:
        self.closed = True


def subscriptions_over(
    *links: ScriptedLinks, clock: ManualClock, on_hint: Callable[[str], None], limit: int = 3
) -> SignatureSubscriptions:
    """Return the client under test, started."""
    subscriptions = SignatureSubscriptions(links, clock=clock, metrics=Metrics(), max_subscriptions=limit)
    subscriptions.listen(on_hint)
    subscriptions.start()
    return subscriptions
