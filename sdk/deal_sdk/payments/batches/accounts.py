"""What the chain says of the token accounts that a batch pays: which are missing, which want a memo."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from solders.pubkey import Pubkey

from deal_sdk.chain import TOKEN_2022_PROGRAM, AccountSnapshot, MintFacts, Rpc
from deal_sdk.chain.account_presence import hold_data
from deal_sdk.chain.token_state import decode_token_account
from deal_sdk.errors import RpcMalformedReplyError
from deal_sdk.payments.batches.shares import Share

MAX_KNOWN_ACCOUNTS: Final = 100_000
_EXISTS: Final = (False, False)
_MISSING: Final = (True, False)


class RecipientAccounts:
    """Reads token accounts, a hundred a call, and remembers those that were there."""

    def __init__(self, rpc: Rpc, mint: MintFacts) -> None:
        """Wire the parts; nothing is read yet."""
        self._rpc = rpc
        self._has_extensions = mint.program_id == TOKEN_2022_PROGRAM
        self._known: set[Pubkey] = set()

    async def recall(self, shares: Sequence[Share]) -> list[Share]:
        """Return the shares as `look` does, without asking about accounts that were there before.

        One that its owner closed meanwhile makes its transaction fail with proof; those who drive it
        then look again.

        Raises:
            ChainError: when the others could not be read.
        """
        new = [share for share in shares if share.account not in self._known]
        if not new:
            return list(shares)
        looked = {share.position: share for share in await self.look(new)}
        return [looked.get(share.position, share) for share in shares]

    async def look(self, shares: Sequence[Share]) -> list[Share]:
        """Return the shares as the chain's accounts want them paid.

        An account that appears or vanishes later does no harm: creating it is idempotent, and a transfer
        to one that is gone fails with proof.

        Raises:
            ChainError: when they could not be read.
        """
        wanted = list(dict.fromkeys(share.account for share in shares))
        if self._has_extensions:
            found = {one: _needs(account) for one, account in await self._contents(wanted)}
        else:
            # Nothing in a classic token account changes how it is paid, so its contents stay there.
            holding = await hold_data(self._rpc, wanted)
            found = {one: _EXISTS if holds else _MISSING for one, holds in zip(wanted, holding, strict=True)}
            self._remember(found)
        return [_looked(share, found[share.account]) for share in shares]

    def _remember(self, found: Mapping[Pubkey, tuple[bool, bool]]) -> None:
        for account, needs in found.items():
            if len(self._known) >= MAX_KNOWN_ACCOUNTS:
                self._known.clear()
            if needs == _EXISTS:
                self._known.add(account)
            else:
                self._known.discard(account)

    async def _contents(self, wanted: Sequence[Pubkey]) -> Iterable[tuple[Pubkey, AccountSnapshot | None]]:
        return zip(wanted, await self._rpc.get_accounts(wanted), strict=True)


def _looked(share: Share, needs: tuple[bool, bool]) -> Share:
    if needs == (share.creates_account, share.wants_memo):
        return share
    creates, wants_memo = needs
    return replace(share, creates_account=creates, wants_memo=wants_memo)


def _needs(account: AccountSnapshot | None) -> tuple[bool, bool]:
    """Return whether a Token-2022 account must be created, and whether it wants a memo."""
    # Lamports sent ahead to an address make a system account there, which holds no tokens.
    if account is None or not account.data:
        return _MISSING
    try:
        return False, decode_token_account(account).requires_memo
    except RpcMalformedReplyError:
        # Whatever is there, a transfer to it fails with proof.
        return _EXISTS
