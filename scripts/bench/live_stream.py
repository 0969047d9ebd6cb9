"""How long an event is on its way to every page: many events a second to many WebSocket readers."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deal_sdk import Deal
from deal_sdk.dashboard import Dashboard, DashboardServer
from deal_sdk.dashboard.service import COOKIE_NAME
from scripts.bench.measure import Goal, Ratio, Report, Table, say

READERS: Final = 100
EVENTS_PER_SECOND: Final = 1_000
BOUND_SECONDS: Final = 0.1
GOAL: Final = Goal("<=", 1.0)
_TICKS_PER_SECOND: Final = 100
_SCRIPT: Final = Path(__file__).with_name("stream_readers.py")


@dataclass(frozen=True, slots=True)
class StreamForm:
    """How much is measured."""

    seconds: int
    rounds: int


WHOLE: Final = StreamForm(seconds=10, rounds=3)
SHORT: Final = StreamForm(seconds=3, rounds=1)


async def measure_stream(form: StreamForm) -> Report:
    """Send events to many readers, and report the 99th percentile of their latency beside its bound."""
    found = []
    for number in range(form.rounds):
        say(f"stream: round {number + 1} of {form.rounds}")
        found.append(await _round(form.seconds))
    p99 = statistics.median(one["p99_seconds"] for one in found)
    report = Report()
    report.figures = {
        "stream_p50_milliseconds": statistics.median(one["p50_seconds"] for one in found) * 1_000,
        "stream_p99_milliseconds": p99 * 1_000,
        "stream_server_cpu_share": statistics.median(one["cpu_share"] for one in found),
    }
    report.ratios = {"stream_p99_to_100_ms": Ratio(p99 / BOUND_SECONDS, GOAL)}
    report.tables = [_table(report.figures)]
    return report


async def _round(seconds: int) -> Mapping[str, float]:
    events = EVENTS_PER_SECOND * seconds
    async with Deal.open(background_jobs=False) as deal:
        dashboard = Dashboard(deal)
        async with DashboardServer(dashboard, port=0) as server:
            _, token = await dashboard.access.create("bench")
            _, cookie = await dashboard.access.sign_in(token)
            arguments = [server.url, f"{COOKIE_NAME}={cookie}", str(READERS), str(events)]
            readers = await asyncio.create_subprocess_exec(
                sys.executable, str(_SCRIPT), *arguments, stdout=asyncio.subprocess.PIPE
            )
            assert readers.stdout is not None
            await readers.stdout.readline()
            cpu_seconds = await _publish(deal, events)
            answer: dict[str, Any] = json.loads(await readers.stdout.readline())
            await readers.wait()
    if answer["events"] != events * READERS or answer["wrong"]:
        raise RuntimeError(f"the stream lost or repeated events: {answer}")
    return {**answer, "cpu_share": cpu_seconds / seconds}


async def _publish(deal: Deal, events: int) -> float:
    """Publish at an even rate, and return the CPU seconds that this process took meanwhile."""
    began_cpu, began = time.process_time(), time.monotonic()
    for number in range(1, events + 1):
        deal.events.publish("wallet.transaction", n=number, sent_at=time.time(), address="x" * 44)
        if number % (EVENTS_PER_SECOND // _TICKS_PER_SECOND) == 0:
            due = began + number / EVENTS_PER_SECOND
            await asyncio.sleep(max(due - time.monotonic(), 0))
    return time.process_time() - began_cpu


def _table(figures: Mapping[str, float]) -> Table:
    rows = (
        (
            f"{EVENTS_PER_SECOND:,} events/s to {READERS} readers",
            f"{figures['stream_p50_milliseconds']:.0f} ms",
            f"{figures['stream_p99_milliseconds']:.0f} ms",
            f"{figures['stream_server_cpu_share'] * 100:.0f} %",
        ),
    )
    return Table("The dashboard's live stream", ("load", "p50", "p99", "server's CPU, of a core"), rows)
