"""The on-chain program deal_allowance, as the chain side knows it: its build, its IDL, and its bytes.

Owns where its accounts are, what its instructions, accounts and events look like, and what its error
numbers mean; all of that comes from the IDL, through anchorpy. Never sends anything and keeps no record.
"""

from deal_sdk.chain.allowance.build import (
    EMBEDDED_PROGRAM_ID,
    PROGRAM_NAME,
    ProgramRefusal,
    embedded_programs,
    idl_json,
    program_bytes,
    program_refusal,
    program_sha256,
)
from deal_sdk.chain.allowance.client import AllowanceEvent, AllowanceProgramClient
from deal_sdk.chain.allowance.states import (
    AllowanceState,
    AllowanceTerms,
    MerchantState,
    RewardBatchState,
)

__all__ = [
    "EMBEDDED_PROGRAM_ID",
    "PROGRAM_NAME",
    "AllowanceEvent",
    "AllowanceProgramClient",
    "AllowanceState",
    "AllowanceTerms",
    "MerchantState",
    "ProgramRefusal",
    "RewardBatchState",
    "embedded_programs",
    "idl_json",
    "program_bytes",
    "program_refusal",
    "program_sha256",
]
