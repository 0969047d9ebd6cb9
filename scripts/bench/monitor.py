#!/usr/bin/env python3
"""What watching wallets costs, and how soon pages hear of it.

    .venv/bin/python scripts/bench/monitor.py            a table; writes docs/reference/benchmarks.md
    .venv/bin/python scripts/bench/monitor.py --json     one JSON document on stdout
    .venv/bin/python scripts/bench/monitor.py --short    the form that CI runs

Progress goes to stderr.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

# The tree's own packages, whatever the environment would find.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sdk"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "localnet"))

from scripts.bench import live_stream, wallet_polling
from scripts.bench.measure import Report, conclude, form_parser


def main() -> int:
    """Measure, report, and return the exit code."""
    options = form_parser("The wallet monitor and the dashboard's live stream.").parse_args()
    return conclude(asyncio.run(measure(is_short=options.short)), "monitor", options)


async def measure(*, is_short: bool) -> Report:
    """Measure what polling costs, then how soon pages hear of it."""
    report = await wallet_polling.measure_polling(wallet_polling.SHORT if is_short else wallet_polling.WHOLE)
    report.add(await live_stream.measure_stream(live_stream.SHORT if is_short else live_stream.WHOLE))
    return report


if __name__ == "__main__":
    sys.exit(main())
