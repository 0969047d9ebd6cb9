"""What the chain says of the token accounts that a batch pays: which are missing, which want a memo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deal_sdk.chain import TOKEN_2022_PROGRAM, AccountSnapshot, MintFacts, Rpc
from deal_sdk.chain.token_state import decode_token_account
from deal_sdk.errors import RpcMalformedReplyError
from deal_sdk.payments.batches.shares import Share


class RecipientAccounts:
    """Reads token accounts, a hundred a call."""

    def __init__(self, rpc: Rpc, mint: MintFacts) -> None:
        """Wire the parts; nothing is read yet."""
        self._rpc = rpc
        self._has_extensions = mint.program_id == TOKEN_2022_PROGRAM

    async def look(self, shares: Sequence[Share]) -> list[Share]:
        """Return the shares as the chain's accounts want them paid.

        An account that appears or vanishes later does no harm: creating it is idempotent, and a transfer
        to one that is gone fails with proof.

        Raises:
            ChainError: when they could not be read.
        """
        wanted = list(dict.fromkeys(share.account for share in shares))
        found = dict(zip(wanted, await self._rpc.get_accounts(wanted), strict=True))
        return [self._looked(share, found[share.account]) for share in shares]

    def _looked(self, share: Share, account: AccountSnapshot | None) -> Share:
        creates, wants_memo = _is_missing(account), self._wants_memo(account)
        if (creates, wants_memo) == (share.creates_account, share.wants_memo):
            return share
        return replace(share, creates_account=creates, wants_memo=wants_memo)

    def _wants_memo(self, account: AccountSnapshot | None) -> bool:
        if not self._has_extensions or account is None or _is_missing(account):
            return False
        try:
            return decode_token_account(account).requires_memo
        except RpcMalformedReplyError:
            # Whatever is there, a transfer to it fails with proof.
            return False


def _is_missing(account: AccountSnapshot | None) -> bool:
    # Lamports sent ahead to an address make a system account there, which holds no tokens.
    return account is None or not account.data
