"""Mints on the chain: reading one, deploying DEAL once, and paying for it on test clusters.

Owns the deployment's proof: the mint's address can be created once, and the same transaction mints
the initial supply, so however often a deployment is tried there is one supply.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_sdk.amounts import DEAL_DECIMALS, MAX_TOKEN_DECIMALS, check_payment_amount
from deal_sdk.chain import instructions
from deal_sdk.chain.addresses import TOKEN_2022_PROGRAM, associated_token_address, token_program_id
from deal_sdk.chain.rpc import Rpc
from deal_sdk.chain.signers import Signer
from deal_sdk.chain.token_state import MintFacts, TokenAccountState, decode_mint, decode_token_account
from deal_sdk.chain.transactions import SignedTransaction, build_and_sign
from deal_sdk.errors import (
    ChainError,
    ConfigurationError,
    FeePayerError,
    InvalidInputError,
    MintNotFoundError,
    RpcRefusedError,
    TransactionFailedError,
)
from deal_sdk.settings import Commitment, TokenProgram

logger = logging.getLogger(__name__)

MAINNET_GENESIS_HASH: Final = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"
LAMPORTS_PER_SOL: Final = 1_000_000_000
MINT_DEPLOYMENT_LAMPORTS: Final = 20_000_000
"""Covers the rent of the mint and the treasury's token account, and the fees, with room to spare."""
MAX_NAME_BYTES: Final = 32
MAX_SYMBOL_BYTES: Final = 10
MAX_URI_BYTES: Final = 200

_POLL_SECONDS: Final = 0.05
_RESEND_EVERY_POLLS: Final = 40
_MAX_POLLS: Final = 2_400
_MAX_DEPLOYMENT_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class MintPlan:
    """What a deployment must produce, and what an existing mint is compared with."""

    address: Pubkey
    program_id: Pubkey
    decimals: int
    supply_base_units: int
    mint_authority: Pubkey
    name: str
    symbol: str
    uri: str

    @property
    def has_metadata(self) -> bool:
        """Return whether the mint itself carries name and symbol."""
        return self.program_id == TOKEN_2022_PROGRAM


async def load_mint(rpc: Rpc, address: Pubkey, *, commitment: Commitment = "confirmed") -> MintFacts:
    """Read a mint and refuse one under which amounts would not be what they say.

    Args:
        rpc: the chain.
        address: the mint.
        commitment: how certain its existence must be.

    Raises:
        MintNotFoundError: when there is no mint at the address.
        UnsupportedMintError: naming the Token-2022 extensions that are refused.
    """
    account = await rpc.get_account(address, commitment)
    if account is None:
        raise MintNotFoundError(f"there is no account at {address}", address=str(address))
    return decode_mint(account)


async def load_token_account(
    rpc: Rpc,
    address: Pubkey,
    *,
    commitment: Commitment = "confirmed",
    min_context_slot: int | None = None,
) -> TokenAccountState | None:
    """Read a token account with its delegate, state and extensions; None where there is none.

    Raises:
        RpcMalformedReplyError: when something else is at the address.
    """
    account = await rpc.get_account(address, commitment, min_context_slot=min_context_slot)
    if account is None or not account.data:
        return None
    return decode_token_account(account)


async def ensure_lamports(rpc: Rpc, address: Pubkey, minimum_lamports: int) -> int:
    """Have at least some lamports at an address, by the faucet where the cluster has one.

    Args:
        rpc: the chain.
        address: who needs them.
        minimum_lamports: what it must hold.

    Returns:
        The address's lamports.

    Raises:
        FeePayerError: saying how much to send to which address, where there is no faucet.
    """
    held = await rpc.get_balance(address)
    if held >= minimum_lamports:
        return held
    needed = minimum_lamports - held
    try:
        await rpc.request_airdrop(address, needed)
    except RpcRefusedError as error:
        raise _unfunded(address, needed) from error
    for _ in range(_MAX_POLLS):
        held = await rpc.get_balance(address)
        if held >= minimum_lamports:
            return held
        await rpc.clock.sleep(_POLL_SECONDS)
    raise _unfunded(address, minimum_lamports - held)


async def create_deal_mint(
    rpc: Rpc,
    *,
    payer_signer: Signer,
    treasury_signer: Signer,
    mint_signer: Signer,
    token_program: TokenProgram,
    supply_base_units: int,
    name: str,
    symbol: str,
    uri: str = "",
    decimals: int = DEAL_DECIMALS,
    allow_mainnet: bool = False,
) -> MintFacts:
    """Deploy the token once: a mint that is there already with the right facts is returned as it is.

    Mint, metadata, the treasury's token account and the initial supply are one transaction. Creating
    the mint's address is what can happen only once, so trying again after any failure is safe. Keep
    the mint's key before calling: a deployment that is tried with another key makes another token.

    Args:
        rpc: the chain.
        payer_signer: pays rent and fees; funded by the faucet where there is one.
        treasury_signer: receives the supply and becomes the mint authority.
        mint_signer: the mint's own address.
        token_program: which program owns the mint.
        supply_base_units: the initial supply, 1 to 2**63-1.
        name: up to 32 bytes; on chain with Token-2022 only.
        symbol: up to 10 bytes; on chain with Token-2022 only.
        uri: where more metadata is, up to 200 bytes.
        decimals: 0 to 19.
        allow_mainnet: whether this may happen on mainnet.

    Raises:
        ConfigurationError: on mainnet without `allow_mainnet`, or when the address holds a mint of
            other facts.
        FeePayerError: for a payer without lamports, saying how much to send it.
        TransactionFailedError: when the chain refused the deployment, with its error.
    """
    plan = MintPlan(
        address=mint_signer.address,
        program_id=token_program_id(token_program),
        decimals=decimals,
        supply_base_units=check_payment_amount(supply_base_units),
        mint_authority=treasury_signer.address,
        name=name,
        symbol=symbol,
        uri=uri,
    )
    _check_plan(plan)
    if not allow_mainnet and await rpc.get_genesis_hash() == MAINNET_GENESIS_HASH:
        raise ConfigurationError("this is mainnet; deploying there needs an explicit confirmation")
    existing = await _existing(rpc, plan)
    if existing is not None:
        return existing
    await ensure_lamports(rpc, payer_signer.address, MINT_DEPLOYMENT_LAMPORTS)
    return await _deploy(rpc, plan, payer_signer, (treasury_signer, mint_signer))


def _check_plan(plan: MintPlan) -> None:
    if not 0 <= plan.decimals <= MAX_TOKEN_DECIMALS:
        raise InvalidInputError(f"decimals are 0 to {MAX_TOKEN_DECIMALS}", decimals=plan.decimals)
    bounds = (("name", plan.name, MAX_NAME_BYTES), ("symbol", plan.symbol, MAX_SYMBOL_BYTES))
    for field, text, max_bytes in bounds:
        if not 0 < len(text.encode()) <= max_bytes:
            raise InvalidInputError(f"a token's {field} is 1 to {max_bytes} bytes", field=field)
    if len(plan.uri.encode()) > MAX_URI_BYTES:
        raise InvalidInputError(f"a token's uri is at most {MAX_URI_BYTES} bytes", field="uri")


async def _existing(rpc: Rpc, plan: MintPlan) -> MintFacts | None:
    account = await rpc.get_account(plan.address, "confirmed")
    if account is None:
        return None
    facts = decode_mint(account)
    wrong = [
        field
        for field, found, wanted in (
            ("program", facts.program_id, plan.program_id),
            ("decimals", facts.decimals, plan.decimals),
            ("mint authority", facts.mint_authority, plan.mint_authority),
            ("name", facts.name, plan.name if plan.has_metadata else None),
            ("symbol", facts.symbol, plan.symbol if plan.has_metadata else None),
        )
        if found != wanted
    ]
    if wrong:
        raise ConfigurationError(
            f"{plan.address} is a mint of another {', '.join(wrong)}", mint=str(plan.address), differs=wrong
        )
    return facts


async def _deploy(rpc: Rpc, plan: MintPlan, payer: Signer, signers: Sequence[Signer]) -> MintFacts:
    steps = await _deployment(rpc, plan, payer.address)
    for _ in range(_MAX_DEPLOYMENT_ATTEMPTS):
        blockhash = await rpc.get_latest_blockhash("confirmed")
        signed = await build_and_sign(steps, payer=payer, signers=signers, blockhash=blockhash)
        facts = await _land(rpc, plan, signed)
        if facts is not None:
            return facts
    raise TransactionFailedError(
        f"the deployment of {plan.address} did not land in {_MAX_DEPLOYMENT_ATTEMPTS} attempts",
        mint=str(plan.address),
        endpoint=rpc.endpoint,
    )


async def _deployment(rpc: Rpc, plan: MintPlan, payer: Pubkey) -> list[Instruction]:
    size_bytes, final_size_bytes = _mint_sizes(plan)
    common: dict[str, Any] = {"mint": plan.address, "program_id": plan.program_id}
    treasury_account = associated_token_address(plan.mint_authority, plan.address, plan.program_id)
    steps = [
        instructions.create_program_account(
            payer=payer,
            address=plan.address,
            lamports=await rpc.get_minimum_balance_for_rent_exemption(final_size_bytes),
            size_bytes=size_bytes,
            owner=plan.program_id,
        ),
        instructions.initialize_mint(**common, decimals=plan.decimals, mint_authority=plan.mint_authority),
        instructions.create_associated_account(**common, payer=payer, owner=plan.mint_authority),
        instructions.mint_to_checked(
            **common,
            destination=treasury_account,
            authority=plan.mint_authority,
            amount_base_units=plan.supply_base_units,
            decimals=plan.decimals,
        ),
    ]
    if plan.has_metadata:
        metadata = instructions.initialize_metadata(
            **common, authority=plan.mint_authority, name=plan.name, symbol=plan.symbol, uri=plan.uri
        )
        pointer = instructions.initialize_metadata_pointer(**common, authority=plan.mint_authority)
        # The program wants the pointer before the mint is initialized, and the metadata after.
        return [steps[0], pointer, steps[1], metadata, *steps[2:]]
    return steps


def _mint_sizes(plan: MintPlan) -> tuple[int, int]:
    if not plan.has_metadata:
        return instructions.MINT_SIZE_BYTES, instructions.MINT_SIZE_BYTES
    size_bytes = (
        instructions.EXTENDED_BASE_SIZE_BYTES
        + instructions.EXTENSION_HEADER_BYTES
        + instructions.METADATA_POINTER_BYTES
    )
    # The program grows the account when it writes the metadata, but only within rent paid ahead.
    growth = instructions.metadata_size_bytes(name=plan.name, symbol=plan.symbol, uri=plan.uri)
    return size_bytes, size_bytes + growth


async def _land(rpc: Rpc, plan: MintPlan, signed: SignedTransaction) -> MintFacts | None:
    """Send until the mint is there; None when this blockhash ran out, after which another may be tried."""
    for poll in range(_MAX_POLLS):
        if poll % _RESEND_EVERY_POLLS == 0:
            await _send_once(rpc, signed)
        facts = await _existing(rpc, plan)
        if facts is not None:
            return facts
        status = (await rpc.get_signature_statuses([signed.signature])).statuses[0]
        if status is not None and status.error is not None and status.commitment == "finalized":
            return await _after_failure(rpc, plan, signed, status.error)
        if await rpc.get_block_height("finalized") > signed.last_valid_block_height:
            return await _existing(rpc, plan)
        await rpc.clock.sleep(_POLL_SECONDS)
    return None


async def _send_once(rpc: Rpc, signed: SignedTransaction) -> None:
    try:
        await rpc.send_transaction(signed.raw_bytes)
    except ChainError as error:
        # Only the mint's existence or the height decides; the refusal may come from a lagging node.
        logger.info("a send of the mint's deployment was not accepted: %s", error.message)


async def _after_failure(rpc: Rpc, plan: MintPlan, signed: SignedTransaction, error: object) -> MintFacts:
    # A rival deployment of the same address makes this one fail, and is just as good.
    facts = await _existing(rpc, plan)
    if facts is not None:
        return facts
    raise TransactionFailedError(
        f"the chain refused the deployment of {plan.address}",
        mint=str(plan.address),
        signature=signed.signature,
        error=error,
        endpoint=rpc.endpoint,
    )


def _unfunded(address: Pubkey, needed_lamports: int) -> FeePayerError:
    sol = needed_lamports / LAMPORTS_PER_SOL
    return FeePayerError(
        f"{address} needs {sol:.9f} SOL more for rent and fees; send it there and try again",
        address=str(address),
        needed_lamports=needed_lamports,
    )
