"""The RPC methods that read what happened: transactions, blocks, an address's history, a mint's holders.

Owns their parameters. What a history means for records is not decided here.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from solders.pubkey import Pubkey

from deal_sdk.chain.replies import (
    TOKEN_AMOUNT_BYTES,
    TOKEN_AMOUNT_OFFSET,
    AddressSignature,
    LandedTransaction,
    PrioritizationFee,
    TokenAmount,
    TokenSupply,
    parse_address_signatures,
    parse_block,
    parse_largest_accounts,
    parse_prioritization_fees,
    parse_supply,
    parse_token_amounts,
    parse_transaction,
)
from deal_sdk.errors import RpcRefusedError
from deal_sdk.settings import Commitment

MAX_ADDRESS_SIGNATURES_PER_CALL: Final = 1000
_MAX_TRANSACTION_VERSION: Final = 0
# A skipped slot, one that the ledger jumped over, and one that is only in long-term storage.
_SKIPPED_SLOT_CODES: Final = frozenset({-32007, -32009})

Value = TypeVar("Value")


class HistoryReads(ABC):
    """Reads landed transactions and token holders through any `call`."""

    @abstractmethod
    async def call(
        self,
        method: str,
        params: Sequence[Any] = (),
        *,
        turn: int = 0,
        parse: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Call a method and return its `result`, read by `parse`."""

    async def get_transaction(
        self, signature: str, commitment: Commitment = "finalized"
    ) -> LandedTransaction | None:
        """Return a landed transaction, or None when the node does not have it at that commitment.

        Args:
            signature: in base58.
            commitment: "confirmed" or "finalized"; nodes keep no history of processed ones.
        """
        options = {
            "encoding": "json",
            "commitment": commitment,
            "maxSupportedTransactionVersion": _MAX_TRANSACTION_VERSION,
        }
        return await self._read(
            "getTransaction", [signature, options], lambda reply: parse_transaction(signature, reply)
        )

    async def get_transaction_bytes(
        self, signature: str, commitment: Commitment = "finalized"
    ) -> bytes | None:
        """Return a landed transaction as it was sent, or None when the node does not have it.

        Args:
            signature: in base58.
            commitment: "confirmed" or "finalized".
        """
        options = {
            "encoding": "base64",
            "commitment": commitment,
            "maxSupportedTransactionVersion": _MAX_TRANSACTION_VERSION,
        }
        return await self._read("getTransaction", [signature, options], _transaction_bytes)

    async def get_signatures_for_address(
        self,
        address: Pubkey,
        *,
        before: str | None = None,
        until: str | None = None,
        limit: int = MAX_ADDRESS_SIGNATURES_PER_CALL,
        commitment: Commitment = "finalized",
        min_context_slot: int | None = None,
    ) -> list[AddressSignature]:
        """List the transactions that name an address, newest first.

        Args:
            address: for token history, the token account.
            before: start with the one before this signature.
            until: stop before this signature.
            limit: 1 to 1,000.
            commitment: "confirmed" or "finalized".
            min_context_slot: the slot that the node must have reached.

        Raises:
            RpcRefusedError: when the node has not reached `min_context_slot`.
        """
        options: dict[str, Any] = {"limit": limit, "commitment": commitment}
        if min_context_slot is not None:
            options["minContextSlot"] = min_context_slot
        if before is not None:
            options["before"] = before
        if until is not None:
            options["until"] = until
        return await self._read("getSignaturesForAddress", [str(address), options], parse_address_signatures)

    async def get_block_transactions(
        self, slot: int, commitment: Commitment = "finalized"
    ) -> tuple[LandedTransaction, ...] | None:
        """Return a block's transactions in their order, without logs; None for a skipped slot.

        Args:
            slot: the block's slot.
            commitment: "confirmed" or "finalized".
        """
        options = {
            "encoding": "json",
            "transactionDetails": "accounts",
            "rewards": False,
            "commitment": commitment,
            "maxSupportedTransactionVersion": _MAX_TRANSACTION_VERSION,
        }
        try:
            return await self._read("getBlock", [slot, options], lambda reply: parse_block(slot, reply))
        except RpcRefusedError as error:
            if error.rpc_code in _SKIPPED_SLOT_CODES:
                return None
            raise

    async def get_token_supply(self, mint: Pubkey, commitment: Commitment = "confirmed") -> TokenSupply:
        """Return a mint's supply."""
        return await self._read("getTokenSupply", [str(mint), {"commitment": commitment}], parse_supply)

    async def get_token_largest_accounts(
        self, mint: Pubkey, commitment: Commitment = "confirmed"
    ) -> list[TokenAmount]:
        """Return up to twenty of a mint's largest token accounts."""
        params = [str(mint), {"commitment": commitment}]
        return await self._read("getTokenLargestAccounts", params, parse_largest_accounts)

    async def get_token_accounts_by_mint(
        self, mint: Pubkey, program_id: Pubkey, commitment: Commitment = "confirmed"
    ) -> tuple[int, list[TokenAmount]]:
        """Return the amount in every token account of a mint and the answer's slot, to check sums by.

        Public endpoints refuse this for large programs; the refusal is raised as it came.

        Args:
            mint: the mint's address, which token accounts begin with.
            program_id: the token program that owns the mint.
            commitment: how certain the state must be.
        """
        options = {
            "encoding": "base64",
            "commitment": commitment,
            "withContext": True,
            "dataSlice": {"offset": TOKEN_AMOUNT_OFFSET, "length": TOKEN_AMOUNT_BYTES},
            "filters": [{"memcmp": {"offset": 0, "bytes": str(mint)}}],
        }
        return await self._read("getProgramAccounts", [str(program_id), options], parse_token_amounts)

    async def get_recent_prioritization_fees(
        self, writable_accounts: Sequence[Pubkey] = ()
    ) -> list[PrioritizationFee]:
        """Return the fees per compute unit that recently landed, where these accounts are locked."""
        params = [[str(address) for address in writable_accounts]]
        return await self._read("getRecentPrioritizationFees", params, parse_prioritization_fees)

    async def _read(
        self, method: str, params: Sequence[Any], parse: Callable[[Any], Value], *, turn: int = 0
    ) -> Value:
        value: Value = await self.call(method, params, turn=turn, parse=parse)
        return value


def _transaction_bytes(reply: Any) -> bytes | None:
    if reply is None:
        return None
    encoded, encoding = reply["transaction"]
    if encoding != "base64":
        raise ValueError(f"the transaction is encoded as {encoding}")
    return base64.b64decode(encoded, validate=True)
