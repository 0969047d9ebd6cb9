"""Asks whether accounts are there without their contents: a payout wants to know of thousands at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from solders.pubkey import Pubkey

from deal_sdk.chain.reply_fields import text
from deal_sdk.chain.rpc import MAX_ACCOUNTS_PER_CALL, Rpc
from deal_sdk.settings import Commitment

_FIRST_BYTE: Final = {"offset": 0, "length": 1}


async def hold_data(
    rpc: Rpc, addresses: Sequence[Pubkey], commitment: Commitment = "confirmed"
) -> list[bool]:
    """Say of addresses whether their accounts hold data, 100 a call, all groups at once.

    An account that exists with lamports alone, as somebody may have sent them ahead, holds none.

    Args:
        rpc: the endpoint, or a pool of them.
        addresses: any number; the answer keeps their order.
        commitment: how certain the state must be.

    Raises:
        ChainError: when they could not be read.
    """
    options = {"encoding": "base64", "commitment": commitment, "dataSlice": _FIRST_BYTE}
    groups = [
        [str(address) for address in addresses[start : start + MAX_ACCOUNTS_PER_CALL]]
        for start in range(0, len(addresses), MAX_ACCOUNTS_PER_CALL)
    ]
    calls = (_ask(rpc, group, options) for group in groups)
    return [holds for found in await asyncio.gather(*calls) for holds in found]


async def _ask(rpc: Rpc, group: list[str], options: dict[str, Any]) -> list[bool]:
    found: list[bool] = await rpc.call(
        "getMultipleAccounts", [group, options], parse=lambda reply: parse_presence(len(group), reply)
    )
    return found


def parse_presence(count: int, reply: Any) -> list[bool]:
    """Read getMultipleAccounts as it answers for the first byte of each account."""
    found = [value is not None and text(value["data"][0]) != "" for value in reply["value"]]
    if len(found) != count:
        raise ValueError("another number of accounts than addresses")
    return found
