"""Batch payouts: thousands of rewards, many to a transaction, each recipient paid exactly once.

Owns the lines of a batch and their proof, the packing of payments into transactions, the carriers that
hold several payments' bytes, and the reports. It never pays before every line is proven, never sends a
transaction that is not committed, and never pays a member anew before its last transaction is proven
to have failed or expired.
"""

from deal_sdk.payments.batches.accounts import RecipientAccounts
from deal_sdk.payments.batches.building import GroupSigner
from deal_sdk.payments.batches.carriers import CarrierStore
from deal_sdk.payments.batches.costs import BatchCost, CostEstimator
from deal_sdk.payments.batches.distributor import BatchDistributor, BatchOptions
from deal_sdk.payments.batches.driver import BatchDriver, Landing
from deal_sdk.payments.batches.files import read_batch_file
from deal_sdk.payments.batches.lines import RewardLine, check_reward_type
from deal_sdk.payments.batches.recipients import Recipients
from deal_sdk.payments.batches.recording import BatchRecorder
from deal_sdk.payments.batches.reports import BatchReport, RecipientReport
from deal_sdk.payments.batches.runs import BatchProgress
from deal_sdk.payments.batches.table_store import TableStore
from deal_sdk.payments.batches.tables import LookupTables, TableReport

__all__ = [
    "BatchCost",
    "BatchDistributor",
    "BatchDriver",
    "BatchOptions",
    "BatchProgress",
    "BatchRecorder",
    "BatchReport",
    "CarrierStore",
    "CostEstimator",
    "GroupSigner",
    "Landing",
    "LookupTables",
    "RecipientAccounts",
    "RecipientReport",
    "Recipients",
    "RewardLine",
    "TableReport",
    "TableStore",
    "check_reward_type",
    "read_batch_file",
]
