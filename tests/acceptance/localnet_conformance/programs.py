"""Agave's builds of the programs that LiteSVM has in another version, taken from a running validator."""

from __future__ import annotations

from base64 import b64decode
from typing import Any, Final

from solders.account import Account
from solders.pubkey import Pubkey

from deal_localnet import Localnet

from .instructions import ASSOCIATED, LOOKUP_TABLES, TOKEN_2022
from .nodes import Node

UPGRADEABLE_LOADER: Final = Pubkey.from_string("BPFLoaderUpgradeab1e11111111111111111111111")
STAKE: Final = Pubkey.from_string("Stake11111111111111111111111111111111111111")
CONFIG: Final = Pubkey.from_string("Config1111111111111111111111111111111111111")
PROGRAMS: Final = (TOKEN_2022, ASSOCIATED, LOOKUP_TABLES, STAKE, CONFIG)


async def adopt_programs(source: Node, localnet: Localnet) -> None:
    """Put the validator's builds in place of LiteSVM's, whose compute units and logs are others."""
    for program in PROGRAMS:
        data = Pubkey.find_program_address([bytes(program)], UPGRADEABLE_LOADER)[0]
        # The code has to be there before the account that points to it.
        for address in (data, program):
            config = {"encoding": "base64", "commitment": "processed"}
            found = (await source.call("getAccountInfo", str(address), config))["value"]
            if found is not None:
                localnet.set_account(address, _account(found))


def _account(found: dict[str, Any]) -> Account:
    return Account(
        found["lamports"],
        b64decode(found["data"][0]),
        Pubkey.from_string(found["owner"]),
        found["executable"],
        found["rentEpoch"],
    )
