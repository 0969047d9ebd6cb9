"""Deploy the token on any chain, once: run again, it finds the token that the database knows.

export DEAL_KEYSTORE_PASSPHRASE=...        # encrypts the treasury's and the mint's keys
python create_token.py --rpc-url http://127.0.0.1:8899 --database-url sqlite:///deal.db
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from deal_sdk import Deal, TokenError


async def create_token(options: argparse.Namespace) -> None:
    """Deploy the token, or find the one that is there, and say what it is."""
    async with Deal.open(
        create_mint=True,
        rpc_url=options.rpc_url,
        database_url=options.database_url,
        token_program=options.token_program,
    ) as deal:
        print(f"mint      {deal.mint.address}")
        print(f"decimals  {deal.mint.decimals}")
        print(f"supply    {await deal.tokens.total_supply()}")
        print(f"treasury  {await deal.tokens.balance_of('treasury')}")


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Deploy the token once.")
    parser.add_argument("--rpc-url", default="http://127.0.0.1:8899")
    parser.add_argument("--database-url", default="sqlite:///deal.db")
    parser.add_argument("--token-program", choices=["classic", "token-2022"], default="classic")
    try:
        asyncio.run(create_token(parser.parse_args()))
    except TokenError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
