"""The token accounts that the peers pay between: their own mint, owners with lamports and tokens.

Set up once by the parent and never timed. Each owner signs and pays for its own transfers, one signature
a transaction and no account that all of them write: the cheapest form there is, in the peers' favour.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any, Final

from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer

from deal_sdk.chain import (
    KeypairSigner,
    Rpc,
    associated_token_address,
    build_and_sign,
    create_deal_mint,
    ensure_lamports,
    instructions,
    open_transport,
)
from deal_sdk.clock import SystemClock
from deal_sdk.errors import ChainError
from deal_sdk.metrics import Metrics

OWNERS: Final = 256
OWNERS_PER_TRANSACTION: Final = 4
OWNER_LAMPORTS: Final = 200_000_000
OWNER_BASE_UNITS: Final = 10**14
SUPPLY_BASE_UNITS: Final = 10**17
POLL_SECONDS: Final = 0.05
LANDING_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class TokenWorld:
    """What a peer needs to know to pay; the keys exist on a throw-away chain only."""

    mint: str
    token_program: str
    decimals: int
    owners: tuple[str, ...]
    accounts: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it for a peer's process."""
        return {
            "mint": self.mint,
            "token_program": self.token_program,
            "decimals": self.decimals,
            "owners": list(self.owners),
            "accounts": list(self.accounts),
        }


async def make_token_world(rpc_url: str) -> TokenWorld:
    """Deploy a mint and give every owner lamports and tokens."""
    clock = SystemClock()
    transport = await open_transport(
        rpc_url, clock=clock, localnet_slot_seconds=1.0, localnet_finality_slots=1
    )
    rpc = Rpc(transport, clock=clock, metrics=Metrics())
    try:
        return await _make(rpc)
    finally:
        await rpc.close()


async def _make(rpc: Rpc) -> TokenWorld:
    payer, mint_key = Keypair(), Keypair()
    signer = KeypairSigner.from_bytes(bytes(payer))
    # A faucet may bound what it gives at once.
    for step in range(1, 11):
        await ensure_lamports(rpc, payer.pubkey(), step * 8_000_000_000)
    mint = await create_deal_mint(
        rpc,
        payer_signer=signer,
        treasury_signer=signer,
        mint_signer=KeypairSigner.from_bytes(bytes(mint_key)),
        token_program="classic",
        supply_base_units=SUPPLY_BASE_UNITS,
        name="Benchmark",
        symbol="BENCH",
    )
    owners = [Keypair() for _ in range(OWNERS)]

    def account_of(owner: Pubkey) -> Pubkey:
        return associated_token_address(owner, mint.address, mint.program_id)

    def funding(owner: Pubkey) -> list[Instruction]:
        lamports = TransferParams(from_pubkey=payer.pubkey(), to_pubkey=owner, lamports=OWNER_LAMPORTS)
        return [
            transfer(lamports),
            instructions.create_associated_account(
                payer=payer.pubkey(), owner=owner, mint=mint.address, program_id=mint.program_id
            ),
            instructions.transfer_checked(
                source=account_of(payer.pubkey()),
                mint=mint.address,
                destination=account_of(owner),
                authority=payer.pubkey(),
                amount_base_units=OWNER_BASE_UNITS,
                decimals=mint.decimals,
                program_id=mint.program_id,
            ),
        ]

    built = [
        [step for owner in owners[start : start + OWNERS_PER_TRANSACTION] for step in funding(owner.pubkey())]
        for start in range(0, OWNERS, OWNERS_PER_TRANSACTION)
    ]
    await asyncio.gather(*(_land(rpc, steps, signer) for steps in built))
    return TokenWorld(
        mint=str(mint.address),
        token_program=str(mint.program_id),
        decimals=mint.decimals,
        owners=tuple(str(owner) for owner in owners),
        accounts=tuple(str(account_of(owner.pubkey())) for owner in owners),
    )


async def _land(rpc: Rpc, steps: list[Instruction], payer: KeypairSigner) -> None:
    blockhash = await rpc.get_latest_blockhash("confirmed")
    signed = await build_and_sign(steps, payer=payer, signers=[], blockhash=blockhash)
    for _ in range(int(LANDING_SECONDS / POLL_SECONDS)):
        # What a node says to a second send of the same bytes is no verdict; its status is.
        with contextlib.suppress(ChainError):
            await rpc.send_transaction(signed.raw_bytes)
        await asyncio.sleep(POLL_SECONDS)
        status = (await rpc.get_signature_statuses([signed.signature])).statuses[0]
        if status is not None and status.commitment in ("confirmed", "finalized"):
            if status.error is not None:
                raise RuntimeError(f"a peer's set-up failed on chain: {status.error}")
            return
    raise RuntimeError(f"a peer's set-up did not land within {LANDING_SECONDS:.0f} s")
