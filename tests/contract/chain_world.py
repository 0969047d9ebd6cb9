"""One chain after another for the suite that must hold on every one, with a deployed token on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_localnet import Localnet, LocalnetConfig
from deal_localnet.server import LocalnetServer
from deal_sdk.chain import (
    BlockhashSource,
    Confirmer,
    HttpTransport,
    KeypairSigner,
    LocalnetTransport,
    MintFacts,
    Rpc,
    SignedTransaction,
    TokenAccountState,
    Transport,
    Verdict,
    associated_token_address,
    build_and_sign,
    create_deal_mint,
    ensure_lamports,
    instructions,
    load_token_account,
)
from deal_sdk.chain.token import LAMPORTS_PER_SOL
from deal_sdk.clock import SystemClock
from deal_sdk.metrics import Metrics
from deal_sdk.settings import TokenProgram

SUPPLY = 100_000_000_000_000_000
CLOCK = SystemClock()
# One payer for all tests of a session: a validator's faucet takes its time.
PAYER = KeypairSigner.generate()
CHAINS = [
    pytest.param("embedded", id="embedded"),
    pytest.param("tcp", id="localnet-over-tcp", marks=pytest.mark.slow),
    pytest.param("validator", id="validator", marks=pytest.mark.validator),
]
PROGRAMS: list[TokenProgram] = ["classic", "token-2022"]


def localnet(*, auto_advance: bool = True) -> Localnet:
    """Return a localnet that is final after 0.64 s."""
    return Localnet(LocalnetConfig(slot_seconds=0.02, auto_advance=auto_advance))


@asynccontextmanager
async def open_chain(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    """Open one of `CHAINS`."""
    async with AsyncExitStack() as stack:
        if kind == "embedded":
            chain = await stack.enter_async_context(localnet())
            transport: Transport = LocalnetTransport(chain, clock=CLOCK)
        elif kind == "tcp":
            chain = await stack.enter_async_context(localnet())
            server = await stack.enter_async_context(LocalnetServer(chain, rpc_port=0))
            transport = HttpTransport(server.rpc_url, clock=CLOCK)
        else:
            transport = HttpTransport(request.getfixturevalue("validator_url"), clock=CLOCK)
        yield transport
        await transport.close()


@dataclass
class World:
    """A chain with a token on it and somebody who pays the fees."""

    rpc: Rpc
    confirmer: Confirmer
    blockhashes: BlockhashSource
    payer: KeypairSigner
    treasury: KeypairSigner
    mint_signer: KeypairSigner
    mint: MintFacts

    @property
    def treasury_account(self) -> Pubkey:
        return self.account_of(self.treasury)

    def account_of(self, owner: KeypairSigner) -> Pubkey:
        return associated_token_address(owner.address, self.mint.address, self.mint.program_id)

    async def sign(self, *steps: Instruction, signers: tuple[KeypairSigner, ...]) -> SignedTransaction:
        return await build_and_sign(
            steps, payer=self.payer, signers=signers, blockhash=await self.blockhashes.get()
        )

    async def land(self, *steps: Instruction, signers: tuple[KeypairSigner, ...]) -> Verdict:
        signed = await self.sign(*steps, signers=signers)
        return await self.confirmer.follow(signed).reached("confirmed")

    def open_account(self, owner: KeypairSigner) -> Instruction:
        return instructions.create_associated_account(
            payer=self.payer.address,
            owner=owner.address,
            mint=self.mint.address,
            program_id=self.mint.program_id,
        )

    def transfer(
        self,
        source: KeypairSigner,
        destination: KeypairSigner,
        amount: int,
        *,
        by: KeypairSigner | None = None,
    ) -> Instruction:
        return instructions.transfer_checked(
            source=self.account_of(source),
            mint=self.mint.address,
            destination=self.account_of(destination),
            authority=(by or source).address,
            amount_base_units=amount,
            decimals=self.mint.decimals,
            program_id=self.mint.program_id,
        )

    async def user(self, amount: int) -> KeypairSigner:
        """Return a new owner with some tokens and no lamports."""
        user = KeypairSigner.generate()
        verdict = await self.land(
            self.open_account(user), self.transfer(self.treasury, user, amount), signers=(self.treasury,)
        )
        assert verdict.succeeded, verdict
        return user

    async def state(self, owner: KeypairSigner) -> TokenAccountState:
        state = await load_token_account(self.rpc, self.account_of(owner))
        assert state is not None
        return state


@asynccontextmanager
async def deployed(transport: Transport, program: TokenProgram) -> AsyncIterator[World]:
    """Deploy a token on a chain."""
    metrics = Metrics()
    rpc = Rpc(transport, clock=CLOCK, metrics=metrics)
    treasury, mint_signer = KeypairSigner.generate(), KeypairSigner.generate()
    if await rpc.get_balance(PAYER.address) < LAMPORTS_PER_SOL:
        await ensure_lamports(rpc, PAYER.address, 10 * LAMPORTS_PER_SOL)
    mint = await create_deal_mint(
        rpc,
        payer_signer=PAYER,
        treasury_signer=treasury,
        mint_signer=mint_signer,
        token_program=program,
        supply_base_units=SUPPLY,
        name="Deals Token",
        symbol="DEAL",
    )
    confirmer = Confirmer(rpc, clock=CLOCK, metrics=metrics)
    blockhashes = BlockhashSource(rpc, clock=CLOCK)
    yield World(rpc, confirmer, blockhashes, PAYER, treasury, mint_signer, mint)
    await confirmer.close()
    await blockhashes.close()
