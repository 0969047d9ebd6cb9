"""Wiring of the on-chain program: what signs for payments knows it, and `deal.allowances` speaks to it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol

from deal_sdk.chain import BlockhashSource, Confirmer, Keystore, MintFacts, Rpc
from deal_sdk.clock import Clock
from deal_sdk.payments import (
    TREASURY,
    Admission,
    AllowanceOwners,
    AllowanceParts,
    AllowanceProgram,
    ChargeInstructions,
    ChargeTurns,
    Confirmations,
    Delegations,
    PartyResolver,
    PaymentSigner,
    PreparedAllowanceStore,
    ProgramDeployment,
    ProgramPublisher,
    SharedCharges,
    TransactionFees,
)
from deal_sdk.records import Database
from deal_sdk.settings import Settings


class ProgramSurroundings(Protocol):
    """What the program needs of a `Deal`."""

    settings: Settings
    clock: Clock
    rpc: Rpc
    mint: MintFacts
    keystore: Keystore


@dataclass(frozen=True, slots=True)
class ProgramWiring:
    """Where the program is, and what builds its instructions for payments."""

    database: Database
    deployment: ProgramDeployment
    charges: ChargeInstructions
    sharing: SharedCharges


def open_signer(
    stack: AsyncExitStack,
    deal: ProgramSurroundings,
    database: Database,
    fees: TransactionFees,
    operators: Mapping[str, str],
) -> tuple[PaymentSigner, ProgramWiring]:
    """Put together what signs payments, those of the on-chain program included; nothing is read yet.

    Args:
        stack: closes what reads blockhashes.
        deal: settings, clock, chain, mint and keys.
        database: keeps which charge has which sequence.
        fees: prices transactions.
        operators: addresses by name; the treasury's is the merchant's creator.
    """
    blockhashes = BlockhashSource(deal.rpc, clock=deal.clock)
    stack.push_async_callback(blockhashes.close)
    signer = PaymentSigner(
        mint=deal.mint, rpc=deal.rpc, keystore=deal.keystore, blockhashes=blockhashes, fees=fees
    )
    deployment = ProgramDeployment(
        rpc=deal.rpc,
        database=database,
        clock=deal.clock,
        mint=deal.mint,
        creator=operators[TREASURY],
        program=deal.settings.allowance_program,
    )
    turns = ChargeTurns(database, deal.clock)
    charges = ChargeInstructions(
        deployment=deployment, turns=turns, keystore=deal.keystore, rpc=deal.rpc, clock=deal.clock
    )
    signer.program = charges
    sharing = SharedCharges(charges=charges, signer=signer, clock=deal.clock)
    return signer, ProgramWiring(database, deployment, charges, sharing)


def make_confirmations(deal: ProgramSurroundings, confirmer: Confirmer) -> Confirmations:
    """Put together what waits for transactions that are no payments."""
    return Confirmations(confirmer, clock=deal.clock, timeout_seconds=deal.settings.confirm_timeout_seconds)


def make_delegations(deal: ProgramSurroundings, signer: PaymentSigner, confirmer: Confirmer) -> Delegations:
    """Put together what approves and revokes; nothing is read yet."""
    confirmations = make_confirmations(deal, confirmer)
    return Delegations(mint=deal.mint, rpc=deal.rpc, signer=signer, confirmations=confirmations)


def make_allowances(
    deal: ProgramSurroundings,
    wiring: ProgramWiring,
    admission: Admission,
    parties: PartyResolver,
    signer: PaymentSigner,
    confirmer: Confirmer,
) -> AllowanceProgram:
    """Put together `deal.allowances`; nothing is read yet."""
    confirmations = make_confirmations(deal, confirmer)
    prepared = PreparedAllowanceStore(wiring.database, deal.clock)
    owners = AllowanceOwners(prepared=prepared, signer=signer, confirmations=confirmations)
    publisher = ProgramPublisher(
        rpc=deal.rpc,
        database=wiring.database,
        signer=signer,
        confirmations=confirmations,
        program=deal.settings.allowance_program,
        mainnet_confirmed=deal.settings.mainnet_confirmed,
    )
    parts = AllowanceParts(
        mint=deal.mint,
        symbol=deal.mint.symbol or deal.settings.token_symbol,
        rpc=deal.rpc,
        database=wiring.database,
        clock=deal.clock,
        parties=parties,
        admission=admission,
        signer=signer,
        deployment=wiring.deployment,
        owners=owners,
        publisher=publisher,
        sharing=wiring.sharing,
    )
    return AllowanceProgram(parts)
