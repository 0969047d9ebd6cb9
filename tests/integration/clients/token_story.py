"""A served chain on which tokens were minted, moved with a memo and delegated, all of it final."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from deal_localnet import Localnet, LocalnetServer
from tests.unit.localnet.support import MEMO, SOL, TOKEN, Driver, readonly, writable

FUNDED: Final = 100 * SOL
MINTED: Final = 500
MOVED: Final = 150
DELEGATED: Final = 40
NOTE: Final = "for the story"
TRANSACTIONS: Final = 7
SLOTS_TO_FINALITY: Final = 32
APPROVE: Final = 4


@dataclass(frozen=True)
class TokenStory:
    """What happened, and a client over TCP that may ask for it."""

    driver: Driver
    client: AsyncClient
    mint: Pubkey
    source: Pubkey
    target: Pubkey
    friend: Pubkey
    delegate: Pubkey
    minted: Signature
    moved: Signature
    moved_slot: int

    @classmethod
    async def tell(cls, localnet: Localnet, server: LocalnetServer) -> Self:
        """Let it happen and become final."""
        driver, friend, delegate = Driver(localnet), Keypair().pubkey(), Keypair().pubkey()
        await driver.fund(FUNDED)
        mint = await driver.create_mint()
        source = await driver.open_account(mint, driver.payer.pubkey())
        target = await driver.open_account(mint, friend)
        minted = await driver.mint_to(mint, source, MINTED)
        driver.advance()
        moved_slot = localnet.bank.chain.open.slot
        moved = await driver.run(
            driver.move(source, mint, target, MOVED), Instruction(MEMO, NOTE.encode(), [])
        )
        accounts = [writable(source), readonly(delegate), driver.authority]
        await driver.run(Instruction(TOKEN, bytes([APPROVE]) + DELEGATED.to_bytes(8, "little"), accounts))
        driver.advance(SLOTS_TO_FINALITY + 1)
        return cls(
            driver=driver,
            client=AsyncClient(server.rpc_url, Confirmed),
            mint=mint,
            source=source,
            target=target,
            friend=friend,
            delegate=delegate,
            minted=Signature.from_string(minted),
            moved=Signature.from_string(moved),
            moved_slot=moved_slot,
        )

    @property
    def payer(self) -> Keypair:
        """The wallet that pays for everything and owns the source."""
        return self.driver.payer

    async def payment(self, to: Pubkey, lamports: int) -> VersionedTransaction:
        """Sign a transfer of lamports with the client's own newest blockhash."""
        latest = (await self.client.get_latest_blockhash()).value
        pay = self.driver.pay(to, lamports)
        message = MessageV0.try_compile(self.payer.pubkey(), [pay], [], latest.blockhash)
        return VersionedTransaction(message, [self.payer])
