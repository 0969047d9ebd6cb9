"""Allowances: fees from users' own wallets by the on-chain program, within caps that the owners signed.

Owns where the program and the merchant are, what owners are asked to sign, which charge takes which
sequence, and which charges share a transaction. It never charges beyond what is recorded, and never gives a
payment another sequence before a finalized transaction shows that somebody else's charge took the one that
it had.
"""

from deal_sdk.payments.allowances.charges import ChargeInstructions
from deal_sdk.payments.allowances.deployment import ProgramDeployment
from deal_sdk.payments.allowances.owners import AllowanceOwners, PreparedAllowance
from deal_sdk.payments.allowances.prepared_rows import PreparedAllowanceStore
from deal_sdk.payments.allowances.publishing import ProgramPublisher, ProgramStatus
from deal_sdk.payments.allowances.service import AllowanceParts, AllowanceProgram, Charge
from deal_sdk.payments.allowances.sharing import SharedCharges
from deal_sdk.payments.allowances.terms import AllowanceRequest
from deal_sdk.payments.allowances.turns import ChargeTurns

__all__ = [
    "AllowanceOwners",
    "AllowanceParts",
    "AllowanceProgram",
    "AllowanceRequest",
    "Charge",
    "ChargeInstructions",
    "ChargeTurns",
    "PreparedAllowance",
    "PreparedAllowanceStore",
    "ProgramDeployment",
    "ProgramPublisher",
    "ProgramStatus",
    "SharedCharges",
]
