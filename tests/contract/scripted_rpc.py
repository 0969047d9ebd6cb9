"""An endpoint with a chain that a test writes, of which it may show less than there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_sdk.chain import AddressSignature, LandedTransaction
from deal_sdk.chain.replies import TokenHolding

MINT, OTHER_MINT = str(Keypair().pubkey()), str(Keypair().pubkey())
OURS, SECOND, THEIRS, THIRD = (str(Keypair().pubkey()) for _ in range(4))
OWNERS = {OURS: "owner", SECOND: "second", THEIRS: "stranger", THIRD: "third"}

Moves = Mapping[str, tuple[int | None, int | None]]
"""Balances before and after by token account; None where the account is missing."""


class ScriptedRpc:
    """An endpoint with a chain of landed transactions, of which it may show less than there is."""

    def __init__(self) -> None:
        self.chain: list[LandedTransaction] = []
        self.memos: dict[str, str | None] = {}
        self.unlisted: set[str] = set()
        self.unreadable: set[str] = set()
        self.lost_blocks: set[int] = set()
        self.behind_slot: int | None = None
        self.asked: list[str] = []
        self.untils: list[str | None] = []

    def land(
        self,
        signature: str,
        slot: int,
        moves: Moves,
        *,
        error: Any = None,
        mint: str = MINT,
        names: tuple[str, ...] = (),
        memo: str | None = None,
        block_time: int | None = None,
    ) -> None:
        sides: list[dict[str, TokenHolding]] = [{}, {}]
        for account, amounts in moves.items():
            for side, amount in zip(sides, amounts, strict=True):
                if amount is not None:
                    side[account] = TokenHolding(OWNERS[account], mint, amount)
        at = 1_700_000_000 + slot if block_time is None else block_time
        found = LandedTransaction(signature, slot, at, error, 5_000, (*moves, *names), sides[0], sides[1], ())
        self.memos[signature] = memo
        self.chain.append(found)

    def _shown(self, one: LandedTransaction) -> bool:
        is_behind = self.behind_slot is not None and one.slot > self.behind_slot
        return one.signature not in self.unlisted and not is_behind

    async def get_signatures_for_address(
        self, address: Pubkey, *, before: str | None = None, until: str | None = None, limit: int = 1_000
    ) -> list[AddressSignature]:
        self.asked.append("list")
        self.untils.append(until)
        newest_first = [
            one for one in reversed(self.chain) if str(address) in one.account_keys and self._shown(one)
        ]
        signatures = [one.signature for one in newest_first]
        start = signatures.index(before) + 1 if before in signatures else 0
        end = signatures.index(until) if until in signatures else len(signatures)
        return [
            AddressSignature(
                one.signature, one.slot, one.error, one.block_time, "finalized", self.memos[one.signature]
            )
            for one in newest_first[start:end][:limit]
        ]

    async def get_transaction(self, signature: str, commitment: str) -> LandedTransaction | None:
        assert commitment == "finalized"
        self.asked.append(signature)
        if signature in self.unreadable:
            return None
        return next(one for one in self.chain if one.signature == signature)

    async def get_block_transactions(self, slot: int) -> tuple[LandedTransaction, ...] | None:
        self.asked.append(f"block {slot}")
        if slot in self.lost_blocks:
            return None
        return tuple(one for one in self.chain if one.slot == slot)
