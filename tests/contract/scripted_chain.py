"""A chain's history as the test writes it, told by the two calls that watching makes, with their faults."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from solders.pubkey import Pubkey
from solders.signature import Signature

from deal_sdk.chain import AddressSignature, LandedTransaction
from deal_sdk.chain.replies import TokenHolding
from deal_sdk.errors import RpcUnavailableError
from deal_sdk.settings import Commitment


@dataclass(frozen=True)
class Landed:
    transaction: LandedTransaction
    names: frozenset[str]


def signature_of(number: int) -> str:
    return str(Signature.from_bytes(hashlib.sha512(str(number).encode()).digest()))


class ScriptedChain:
    """Lists newest first, knows `before` and `until` as nodes do, and fails when told to."""

    def __init__(self) -> None:
        self.history: list[Landed] = []
        self.is_gone = False
        self.shows_up_to_slot: int | None = None
        """A node that is behind knows nothing later, not even by its signature."""
        self.hidden: set[str] = set()
        """Listed, but not shown by getTransaction."""
        self.failing: set[str] = set()
        """Addresses that cannot be listed."""
        self.listings = 0
        self.reads = 0

    def land(
        self,
        *names: str,
        slot: int | None = None,
        failed: bool = False,
        before: dict[str, TokenHolding] | None = None,
        after: dict[str, TokenHolding] | None = None,
        memos: tuple[str, ...] = (),
    ) -> str:
        number = len(self.history) + 1
        transaction = LandedTransaction(
            signature=signature_of(number),
            slot=number if slot is None else slot,
            block_time=1_767_225_600 + number,
            error={"InstructionError": [0, "Custom"]} if failed else None,
            fee_lamports=5_000,
            account_keys=names,
            token_balances_before=before or {},
            token_balances_after=after or {},
            logs=(),
            memos=memos,
        )
        self.history.append(Landed(transaction, frozenset(names)))
        return transaction.signature

    async def get_signatures_for_address(
        self,
        address: Pubkey,
        *,
        before: str | None = None,
        until: str | None = None,
        limit: int = 1_000,
        commitment: Commitment = "finalized",
    ) -> list[AddressSignature]:
        self.listings += 1
        self._answer()
        if str(address) in self.failing:
            raise RpcUnavailableError("the address cannot be listed")
        found = [item.transaction for item in self._known() if str(address) in item.names]
        found.reverse()
        signatures = [item.signature for item in found]
        first = signatures.index(before) + 1 if before in signatures else 0
        last = signatures.index(until) if until in signatures else len(found)
        return [
            AddressSignature(item.signature, item.slot, item.error, item.block_time, commitment)
            for item in found[first:last][:limit]
        ]

    async def get_transaction(
        self, signature: str, commitment: Commitment = "finalized"
    ) -> LandedTransaction | None:
        self.reads += 1
        self._answer()
        shown = {item.transaction.signature: item.transaction for item in self._known()}
        return None if signature in self.hidden else shown.get(signature)

    def _known(self) -> list[Landed]:
        most = self.shows_up_to_slot
        return [item for item in self.history if most is None or item.transaction.slot <= most]

    def _answer(self) -> None:
        if self.is_gone:
            raise RpcUnavailableError("the endpoint does not answer")
