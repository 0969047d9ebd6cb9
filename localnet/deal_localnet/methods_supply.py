"""Methods about all lamports that there are: their sum, who holds most, and what inflation adds."""

import heapq
from collections.abc import Iterator
from typing import Any, Final

from solders.pubkey import Pubkey

from .errors import block_not_available
from .params import flag, optional_unsigned, pubkey, sequence, struct, variant
from .registry import MethodTable, Node, chosen_block, with_context

LARGEST_ACCOUNTS: Final = 20
CIRCULATION: Final = ("circulating", "nonCirculating")
INITIAL_INFLATION: Final = 0.08
TERMINAL_INFLATION: Final = 0.015
INFLATION_TAPER: Final = 0.15
FOUNDATION_SHARE: Final = 0.05
FOUNDATION_YEARS: Final = 7.0
# A tropical year in slots of 0.4 seconds.
SLOTS_PER_YEAR: Final = 365.242_199 * 24 * 3600 / 0.4

table: Final = MethodTable()


def _holdings(node: Node, slot: int) -> Iterator[tuple[int, Pubkey]]:
    for key in node.bank.accounts.index.addresses():
        account = node.bank.accounts.at(key, slot)
        if account is not None:
            yield account.lamports, key


@table.method("getSupply", 0, 1)
def get_supply(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return the sum of all accounts; nothing is locked up here, so all of it circulates."""
    config = struct(params[0], "RpcSupplyConfig")
    flag(config, "excludeNonCirculatingAccountsList")
    block, _ = chosen_block(node, config)
    total = sum(lamports for lamports, _ in _holdings(node, block.slot))
    return with_context(
        block.slot,
        {"circulating": total, "nonCirculating": 0, "nonCirculatingAccounts": [], "total": total},
    )


@table.method("getLargestAccounts", 0, 1)
def get_largest_accounts(node: Node, params: list[Any]) -> dict[str, Any]:
    """Return the accounts that hold most lamports."""
    config = struct(params[0], "RpcLargestAccountsConfig")
    flag(config, "sortResults")
    wanted = config.get("filter")
    locked = wanted is not None and variant(wanted, CIRCULATION) == "nonCirculating"
    block, _ = chosen_block(node, config)
    holdings = () if locked else _holdings(node, block.slot)
    largest = heapq.nlargest(LARGEST_ACCOUNTS, holdings)
    return with_context(
        block.slot, [{"address": str(key), "lamports": lamports} for lamports, key in largest]
    )


@table.method("getInflationGovernor", 0, 1)
def get_inflation_governor(node: Node, params: list[Any]) -> dict[str, float]:
    """Return the schedule of inflation that a cluster of Solana's begins with."""
    chosen_block(node, struct(params[0], "RpcContextConfig"))
    return {
        "foundation": FOUNDATION_SHARE,
        "foundationTerm": FOUNDATION_YEARS,
        "initial": INITIAL_INFLATION,
        "taper": INFLATION_TAPER,
        "terminal": TERMINAL_INFLATION,
    }


@table.method("getInflationRate")
def get_inflation_rate(node: Node, params: list[Any]) -> dict[str, float]:
    """Return what the schedule says of this epoch; without stake nobody is paid by it."""
    block, _ = chosen_block(node, {})
    epoch = block.slot // node.bank.slots_per_epoch
    years = epoch * node.bank.slots_per_epoch / SLOTS_PER_YEAR
    total = max(INITIAL_INFLATION * (1 - INFLATION_TAPER) ** years, TERMINAL_INFLATION)
    foundation = total * FOUNDATION_SHARE if years < FOUNDATION_YEARS else 0.0
    return {"epoch": epoch, "foundation": foundation, "total": total, "validator": total - foundation}


@table.method("getInflationReward", 1, 2)
def get_inflation_reward(node: Node, params: list[Any]) -> list[None]:
    """Return no reward for any address, once the first block after the epoch would have paid it."""
    addresses = sequence(params[0])
    for address in addresses:
        pubkey(address)
    config = struct(params[1], "RpcEpochConfig")
    block, level = chosen_block(node, config)
    asked = optional_unsigned(config, "epoch")
    epoch = max(block.slot // node.bank.slots_per_epoch - 1, 0) if asked is None else asked
    payday = (epoch + 1) * node.bank.slots_per_epoch
    if not node.bank.chain.slots_between(payday, node.bank.chain.slot_at(level)):
        raise block_not_available(payday)
    return [None] * len(addresses)
