"""What the Python peers sign: TransferChecked from one owner to the next, every one of its own bytes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import Transaction


class Transfers:
    """Signs the peers' transfers with the owners' keys."""

    def __init__(self, world: Mapping[str, Any], *, first_amount: int) -> None:
        """Read a `TokenWorld`.

        Args:
            world: as `TokenWorld.to_dict` gave it.
            first_amount: where the amounts begin; an amount of its own gives each transfer its own
                bytes, without a memo that would cost more. Peers on one chain begin far apart.
        """
        self._owners = [Keypair.from_base58_string(text) for text in world["owners"]]
        self._accounts = [Pubkey.from_string(text) for text in world["accounts"]]
        self._mint = Pubkey.from_string(world["mint"])
        self._program = Pubkey.from_string(world["token_program"])
        self._decimals = int(world["decimals"])
        self._numbers: Iterator[int] = itertools.count(first_amount)

    @property
    def owners(self) -> list[Pubkey]:
        """Return who pays, in the order of the token accounts."""
        return [owner.pubkey() for owner in self._owners]

    def sign(self, blockhash: Hash) -> Transaction:
        """Build and sign the next transfer."""
        number = next(self._numbers)
        payer = number % len(self._owners)
        owner = self._owners[payer]
        step = self._transfer(owner.pubkey(), payer, (payer + 1) % len(self._accounts), number)
        message = Message.new_with_blockhash([step], owner.pubkey(), blockhash)
        return Transaction([owner], message, blockhash)

    def _transfer(self, owner: Pubkey, source: int, destination: int, amount: int) -> Instruction:
        accounts = [
            AccountMeta(self._accounts[source], is_signer=False, is_writable=True),
            AccountMeta(self._mint, is_signer=False, is_writable=False),
            AccountMeta(self._accounts[destination], is_signer=False, is_writable=True),
            AccountMeta(owner, is_signer=True, is_writable=False),
        ]
        data = bytes([12]) + amount.to_bytes(8, "little") + bytes([self._decimals])
        return Instruction(self._program, data, accounts)
