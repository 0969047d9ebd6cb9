#!/usr/bin/env python3
"""Many pages that read the dashboard's live stream, in a process of their own.

Called as: stream_readers.py URL COOKIE READERS EVENTS. Prints "ready" once all are connected, and at the
end one JSON document with the latencies of all events at all readers.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from array import array

import aiohttp
import orjson

DEADLINE_SECONDS = 120.0


async def read(
    http: aiohttp.ClientSession, url: str, events: int, latencies: array[float], ready: asyncio.Semaphore
) -> int:
    """Read so many events on one connection, and return how many came twice or out of order."""
    wrong, last = 0, 0
    async with http.ws_connect(f"{url}/api/v1/live", origin=url, max_msg_size=0) as connection:
        await connection.receive()
        ready.release()
        left = events
        while left:
            frame = orjson.loads(await connection.receive_str())
            now = time.time()
            for event in frame["events"]:
                data = event["data"]
                wrong += data["n"] != last + 1
                last = data["n"]
                latencies.append(now - data["sent_at"])
            left -= len(frame["events"])
    return wrong


async def main(url: str, cookie: str, readers: int, events: int) -> None:
    """Connect, wait for every event, and print what was measured."""
    ready = asyncio.Semaphore(0)
    latencies = array("d")
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers={"cookie": cookie}) as http:
        reading = asyncio.gather(*(read(http, url, events, latencies, ready) for _ in range(readers)))
        for _ in range(readers):
            await ready.acquire()
        print("ready", flush=True)
        async with asyncio.timeout(DEADLINE_SECONDS):
            wrong = sum(await reading)
    percentiles = statistics.quantiles(latencies, n=100)
    document = {
        "events": len(latencies),
        "wrong": wrong,
        "p50_seconds": percentiles[49],
        "p99_seconds": percentiles[98],
        "max_seconds": max(latencies),
    }
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
