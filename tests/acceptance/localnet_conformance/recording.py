"""Takes down what one node answers to every case, so that comparing needs no node any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final

from .building import Build
from .cases import AnyCase, Case, HttpCase, TalkCase, WatchCase, filled
from .nodes import Listener, Node

NOTIFICATION_SECONDS: Final = 60.0
TALK_SECONDS: Final = 5.0

Replies = dict[str, Any]


class Recording:
    """Holds a node's replies by case, and the names that its chain gave to what they mention."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._build = Build(node)
        self.replies: Replies = {}

    @property
    def names(self) -> dict[str, Any]:
        """Return what the chain named."""
        return self._build.names

    async def run(self, cases: Sequence[AnyCase]) -> None:
        """Bring the scenario about and ask every case, the fresh ones before it is final."""
        await self._build.run()
        await self._build.sign_unsent(early=True)
        await self._land("landed")
        await self._ask([case for case in cases if isinstance(case, Case) and case.fresh])
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch([case for case in cases if isinstance(case, WatchCase)]))
            for case in cases:
                if isinstance(case, TalkCase):
                    group.create_task(self._talk(case))
        sent = {case.sends for case in cases if isinstance(case, WatchCase) and case.sends}
        await self._node.wait([self.names[f"sig.{name}"] for name in sent], "finalized")
        await self._build.sign_unsent(early=False)
        await self._land("repeated")
        await self._ask([case for case in cases if isinstance(case, Case) and not case.fresh])
        for case in cases:
            if isinstance(case, HttpCase):
                headers = None if case.headers is None else dict(case.headers)
                self.replies[case.identifier] = await self._node.exchange(
                    case.body, verb=case.verb, path=case.path, headers=headers
                )

    async def _land(self, name: str) -> None:
        await self._build.send_unsent(name)
        signature = self.names[f"sig.{name}"]
        (status,) = await self._node.wait([signature], "confirmed")
        self.names[f"slot.{name}"] = status["slot"]
        await self._node.until_found("getTransaction", signature, {"commitment": "confirmed"})

    async def _ask(self, cases: Sequence[Case]) -> None:
        for case in cases:
            params = filled(case.params, self.names)
            self.replies[case.identifier] = await self._node.reply(case.method, params)

    async def _talk(self, case: TalkCase) -> None:
        heard = []
        async with self._node.listen() as listener:
            for message in case.messages:
                await listener.send(filled(message, self.names))
                heard += await _heard(listener, 1, TALK_SECONDS)
        self.replies[case.identifier] = heard

    async def _watch(self, cases: Sequence[WatchCase]) -> None:
        listening = asyncio.Semaphore(0)
        sent = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for case in cases:
                group.create_task(self._watch_one(case, listening, sent))
            for _ in cases:
                await listening.acquire()
            for name in dict.fromkeys(case.sends for case in cases if case.sends):
                await self._build.send_unsent(name)
            sent.set()

    async def _watch_one(self, case: WatchCase, listening: asyncio.Semaphore, sent: asyncio.Event) -> None:
        async with self._node.listen() as listener:
            reply = await listener.request(case.method, filled(case.params, self.names))
            listening.release()
            await sent.wait()
            heard = await _heard(listener, case.notifications)
            end = case.method.replace("Subscribe", "Unsubscribe")
            ended = [await listener.request(end, [reply.get("result")]) for _ in range(2)]
        self.replies[case.identifier] = {"reply": reply, "heard": heard, "ended": ended}


async def _heard(listener: Listener, count: int, seconds: float = NOTIFICATION_SECONDS) -> list[Any]:
    """Return the messages that come; one that stays away is for the comparison to tell."""
    heard = []
    with contextlib.suppress(TimeoutError):
        while len(heard) < count:
            heard.append(await listener.next(seconds))
    return heard
