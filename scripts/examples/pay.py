"""Make one payment and wait until the chain has confirmed it.

    export DEAL_KEYSTORE_PASSPHRASE=...
    python pay.py treasury ADDRESS 2.5 --key order-4711

With a key, running it again pays nothing more: it prints the payment that was made.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from deal_sdk import Deal, PaymentPendingError, TokenError


async def pay(options: argparse.Namespace) -> None:
    """Pay, and say what became of it."""
    async with Deal.open(rpc_url=options.rpc_url, database_url=options.database_url) as deal:
        payment = await deal.tokens.transfer(
            options.sender,
            options.recipient,
            options.amount,
            options.reason,
            idempotency_key=options.key,
            wait_for="finalized" if options.final else "confirmed",
        )
        print(f"payment    {payment.id}")
        print(f"status     {payment.status}")
        print(f"signature  {payment.signature}")


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Make one payment.")
    parser.add_argument("sender", help="a user's UUID, an address, or an operator wallet such as treasury")
    parser.add_argument("recipient", help="the same for who receives")
    parser.add_argument("amount", help="whole tokens, for example 2.5")
    parser.add_argument("--reason", default=None)
    parser.add_argument("--key", default=None, help="idempotency key")
    parser.add_argument("--final", action="store_true", help="wait for finality, about 15 s on a cluster")
    parser.add_argument("--rpc-url", default="http://127.0.0.1:8899")
    parser.add_argument("--database-url", default="sqlite:///deal.db")
    try:
        asyncio.run(pay(parser.parse_args()))
    except PaymentPendingError as error:
        # No failure: the payment is recorded and goes on; the next run of anything follows it.
        print(f"{error.code}: {error.message}", file=sys.stderr)
        return 1
    except TokenError as error:
        print(f"{error.code} ({error.outcome}): {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
