"""Pay out a CSV file, each row exactly once, however often this is stopped and run again.

    export DEAL_KEYSTORE_PASSPHRASE=...
    python pay_from_csv.py payouts.csv --batch november

The file has the columns key, to, amount and reason. A row's idempotency key is the batch and the row's
own key, so a row that was paid is found and not paid again. The whole file is checked before the first
row is paid.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

from deal_sdk import Deal, InvalidInputError, TokenError, Transaction, parse_amount

COLUMNS = ("key", "to", "amount", "reason")
MAX_PAYMENTS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Payout:
    """One row of the file."""

    line: int
    key: str
    to: str
    amount: str
    reason: str


def read_payouts(path: Path) -> list[Payout]:
    """Read the file, or refuse it with the line that is wrong, before anything is paid."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise InvalidInputError(f"{path} has no column {', '.join(missing)}")
        payouts = [
            Payout(reader.line_num, *((row[name] or "").strip() for name in COLUMNS)) for row in reader
        ]
    seen: dict[str, int] = {}
    for payout in payouts:
        if not payout.key or not payout.to:
            raise InvalidInputError(f"line {payout.line} has no key or nobody to pay")
        if payout.key in seen:
            raise InvalidInputError(f"lines {seen[payout.key]} and {payout.line} have the same key")
        seen[payout.key] = payout.line
        try:
            parse_amount(payout.amount)
        except InvalidInputError as error:
            raise InvalidInputError(f"line {payout.line}: {error.message}") from None
    return payouts


async def pay_one(deal: Deal, payout: Payout, options: argparse.Namespace) -> Transaction | TokenError:
    """Pay one row, and return its payment or why there is none."""
    try:
        return await deal.tokens.transfer(
            options.sender,
            payout.to,
            payout.amount,
            payout.reason or None,
            idempotency_key=f"{options.batch}:{payout.key}",
        )
    except TokenError as error:
        return error


async def pay_all(options: argparse.Namespace) -> int:
    """Pay every row, wait until all are final, and return how many were not paid."""
    payouts = read_payouts(options.file)
    at_once = asyncio.Semaphore(MAX_PAYMENTS_AT_ONCE)

    async def bounded(deal: Deal, payout: Payout) -> Transaction | TokenError:
        async with at_once:
            return await pay_one(deal, payout, options)

    async with Deal.open(rpc_url=options.rpc_url, database_url=options.database_url) as deal:
        results = await asyncio.gather(*(bounded(deal, payout) for payout in payouts))
        if options.final and not await deal.settled():
            print("some payments are not final yet; run this again to follow them", file=sys.stderr)
        unpaid = 0
        for payout, result in zip(payouts, results, strict=True):
            if isinstance(result, TokenError):
                unpaid += 1
                print(f"line {payout.line} {payout.key}: {result.code}: {result.message}", file=sys.stderr)
                continue
            payment = await deal.transactions.get(result.id)
            print(f"{payout.key},{payment.status},{payment.id},{payment.signature}")
    return unpaid


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Pay out a CSV file.")
    parser.add_argument("file", type=Path, help="columns key, to, amount, reason")
    parser.add_argument("--batch", required=True, help="begins every row's idempotency key")
    parser.add_argument("--sender", default="treasury")
    parser.add_argument("--final", action="store_true", help="wait for finality at the end")
    parser.add_argument("--rpc-url", default="http://127.0.0.1:8899")
    parser.add_argument("--database-url", default="sqlite:///deal.db")
    options = parser.parse_args()
    try:
        unpaid = asyncio.run(pay_all(options))
    except TokenError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{options.file} cannot be read: {error.strerror}", file=sys.stderr)
        return 1
    return 1 if unpaid else 0


if __name__ == "__main__":
    sys.exit(main())
