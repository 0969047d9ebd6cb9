"""Where the program is on this chain, and its accounts as they are read from there."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from solders.pubkey import Pubkey

from deal_sdk.chain import MintFacts, Rpc, associated_token_address, parse_address
from deal_sdk.chain.allowance import (
    EMBEDDED_PROGRAM_ID,
    AllowanceProgramClient,
    AllowanceState,
    MerchantState,
    RewardBatchState,
)
from deal_sdk.clock import Clock
from deal_sdk.errors import AllowanceError, ConfigurationError
from deal_sdk.records import Database, get_meta
from deal_sdk.settings import Commitment

PROGRAM_META: Final = "allowance_program"
"""Under which a database keeps where `dealctl program deploy` put the program."""
MERCHANT_META: Final = "allowance_merchant"
MERCHANT_KNOWN_SECONDS: Final = 10.0
"""How old what is known of the merchant may be; a charge by an authority that changed is refused on chain."""


class ProgramDeployment:
    """The program that this database's merchant uses; found on first use."""

    def __init__(
        self,
        *,
        rpc: Rpc,
        database: Database,
        clock: Clock,
        mint: MintFacts,
        creator: str,
        program: str | None,
    ) -> None:
        """Wire the parts; nothing is read yet.

        Args:
            rpc: reads accounts.
            database: knows what was deployed and initialized.
            clock: tells how old the merchant's state is.
            mint: what is charged.
            creator: whose merchant it is, the treasury's address.
            program: the setting; without one, what was deployed, or what the embedded chain has.
        """
        self.mint: Final = mint
        self.creator: Final = parse_address(creator)
        self._rpc = rpc
        self._database = database
        self._clock = clock
        self._program = program
        self._client: AllowanceProgramClient | None = None
        self._is_initialized = False
        self._looked_at_seconds = float("-inf")
        self._merchant: MerchantState | None = None
        self._read_at_seconds = float("-inf")

    async def client(self) -> AllowanceProgramClient:
        """Return what speaks to the program.

        Raises:
            ConfigurationError: when it is not deployed where it should be.
        """
        if self._client is None:
            named = self._program or await get_meta(self._database, PROGRAM_META)
            program_id = EMBEDDED_PROGRAM_ID if named is None else parse_address(named)
            account = await self._rpc.get_account(program_id)
            if account is None or not account.executable:
                raise ConfigurationError(
                    "the on-chain program is not deployed: deploy it with `dealctl program deploy`, or name "
                    "it by the setting allowance_program (DEAL_ALLOWANCE_PROGRAM)",
                    program=str(program_id),
                )
            self._client = AllowanceProgramClient(program_id)
        return self._client

    async def is_initialized(self) -> bool:
        """Return whether this database's merchant was initialized; kept for a while, for every fee asks."""
        now = self._clock.monotonic()
        if not self._is_initialized and now - self._looked_at_seconds > MERCHANT_KNOWN_SECONDS:
            self._is_initialized = await get_meta(self._database, MERCHANT_META) is not None
            self._looked_at_seconds = now
        return self._is_initialized

    async def merchant_address(self) -> Pubkey:
        """Return where the merchant is, initialized or not."""
        return (await self.client()).merchant_address(self.creator, self.mint.address)

    async def vault_address(self) -> Pubkey:
        """Return the merchant's reward vault."""
        merchant = await self.merchant_address()
        return associated_token_address(merchant, self.mint.address, self.mint.program_id)

    async def find_merchant(self) -> MerchantState | None:
        """Read the merchant at confirmed, or return None before it is initialized."""
        client = await self.client()
        account = await self._rpc.get_account(await self.merchant_address())
        if account is None or account.owner != client.program_id:
            return None
        self._merchant, self._read_at_seconds = client.merchant(account), self._clock.monotonic()
        return self._merchant

    async def merchant(self) -> MerchantState:
        """Return the merchant, as it was read at most ten seconds ago.

        Raises:
            AllowanceError: before it is initialized.
        """
        is_fresh = self._clock.monotonic() - self._read_at_seconds <= MERCHANT_KNOWN_SECONDS
        return _initialized(self._merchant if is_fresh else await self.find_merchant())

    async def merchant_now(self) -> MerchantState:
        """Read the merchant, whose authority another may have changed a moment ago; see `merchant`."""
        return _initialized(await self.find_merchant())

    async def allowance_address(self, owner: Pubkey) -> Pubkey:
        """Return where an owner's allowance is, open or not."""
        return (await self.client()).allowance_address(await self.merchant_address(), owner)

    async def allowance(
        self, address: Pubkey, commitment: Commitment = "confirmed", *, min_context_slot: int | None = None
    ) -> AllowanceState | None:
        """Read an allowance, or return None where none was ever opened."""
        client = await self.client()
        account = await self._rpc.get_account(address, commitment, min_context_slot=min_context_slot)
        if account is None or account.owner != client.program_id:
            return None
        return client.allowance(account)

    async def reward_batch(self, batch_id: UUID) -> RewardBatchState | None:
        """Read a batch of rewards, or return None where none was created."""
        client = await self.client()
        address = client.reward_batch_address(await self.merchant_address(), batch_id)
        account = await self._rpc.get_account(address)
        return None if account is None or account.owner != client.program_id else client.reward_batch(account)


def _initialized(merchant: MerchantState | None) -> MerchantState:
    if merchant is None:
        raise AllowanceError("the merchant is not initialized", problem="uninitialized")
    return merchant
