"""Payments: admitted once, recorded before they are sent, driven to a proven end.

Owns intents and their attempts, the pipeline that drives them, the services that callers use, and the
checks that records and chain agree. It never sends bytes that are not committed, never signs again
before the last attempt's end is proven, and never gives back a limit or a reservation without proof.
"""

from deal_sdk.payments.accruals import AccrualStore, AccruedFee, AccruedTotal
from deal_sdk.payments.admission import Admission, LimitSettlement
from deal_sdk.payments.allowances import (
    AllowanceOwners,
    AllowanceParts,
    AllowanceProgram,
    AllowanceRequest,
    Charge,
    ChargeInstructions,
    ChargeTurns,
    PreparedAllowance,
    PreparedAllowanceStore,
    ProgramDeployment,
    ProgramPublisher,
    ProgramStatus,
    SharedCharges,
)
from deal_sdk.payments.attempts import AttemptStore
from deal_sdk.payments.balances import BalanceInvalidation, BalanceReads
from deal_sdk.payments.batches import (
    BatchCost,
    BatchDistributor,
    BatchDriver,
    BatchOptions,
    BatchProgress,
    BatchRecorder,
    BatchReport,
    CarrierStore,
    CostEstimator,
    GroupSigner,
    Landing,
    LookupTables,
    RecipientAccounts,
    RecipientReport,
    Recipients,
    RewardLine,
    TableReport,
    TableStore,
    check_reward_type,
    read_batch_file,
)
from deal_sdk.payments.confirmations import Confirmations
from deal_sdk.payments.delegation import Delegations
from deal_sdk.payments.deliveries import DeliveryNotes
from deal_sdk.payments.deposits import Deposit, DepositBook
from deal_sdk.payments.fee_payer import FeePayer, FeePayerBounds
from deal_sdk.payments.fees import TransactionFees
from deal_sdk.payments.history_sync import HistorySync, SyncReport
from deal_sdk.payments.intents import IntentStore
from deal_sdk.payments.invoice_values import Invoice, InvoicePayment
from deal_sdk.payments.invoices import InvoiceJob, Invoices
from deal_sdk.payments.lease_keeper import LeaseKeeper
from deal_sdk.payments.leases import LeaseHolder, Leases
from deal_sdk.payments.micro_fees import (
    MicroFees,
    SettlementBounds,
    SettlementJob,
    SettlementReport,
    UnsettledFees,
)
from deal_sdk.payments.orders import Funds, Party, Plan, PurchaseLimit
from deal_sdk.payments.outbox import PAYMENT_EVENTS, PaymentOutbox
from deal_sdk.payments.own_wallet import PreparedTransaction
from deal_sdk.payments.owner_messages import OwnerMessages
from deal_sdk.payments.owner_signing import OwnerSigning
from deal_sdk.payments.package_values import CreditPackage
from deal_sdk.payments.packages import CreditPackages, PackageGrants
from deal_sdk.payments.parties import TREASURY, PartyReference, PartyResolver
from deal_sdk.payments.pipeline import PaymentPipeline
from deal_sdk.payments.pipeline_seams import PipelineBounds
from deal_sdk.payments.policies import StoredPolicies
from deal_sdk.payments.prepared_expiry import PreparedExpiry
from deal_sdk.payments.prepared_store import PreparedStore
from deal_sdk.payments.rails import PauseSwitch, RailBounds, SafetyRails
from deal_sdk.payments.reconcile import Reconciler, ReconcileReport
from deal_sdk.payments.rewards import REWARD_WALLET, RewardDistributor
from deal_sdk.payments.service import TokenService
from deal_sdk.payments.signing import PaymentSigner
from deal_sdk.payments.transaction_monitor import TransactionMonitor
from deal_sdk.payments.verify import CheckResult, Verifier, VerifyReport

__all__ = [
    "PAYMENT_EVENTS",
    "REWARD_WALLET",
    "TREASURY",
    "AccrualStore",
    "AccruedFee",
    "AccruedTotal",
    "Admission",
    "AllowanceOwners",
    "AllowanceParts",
    "AllowanceProgram",
    "AllowanceRequest",
    "AttemptStore",
    "BalanceInvalidation",
    "BalanceReads",
    "BatchCost",
    "BatchDistributor",
    "BatchDriver",
    "BatchOptions",
    "BatchProgress",
    "BatchRecorder",
    "BatchReport",
    "CarrierStore",
    "Charge",
    "ChargeInstructions",
    "ChargeTurns",
    "CheckResult",
    "Confirmations",
    "CostEstimator",
    "CreditPackage",
    "CreditPackages",
    "Delegations",
    "DeliveryNotes",
    "Deposit",
    "DepositBook",
    "FeePayer",
    "FeePayerBounds",
    "Funds",
    "GroupSigner",
    "HistorySync",
    "IntentStore",
    "Invoice",
    "InvoiceJob",
    "InvoicePayment",
    "Invoices",
    "Landing",
    "LeaseHolder",
    "LeaseKeeper",
    "Leases",
    "LimitSettlement",
    "LookupTables",
    "MicroFees",
    "OwnerMessages",
    "OwnerSigning",
    "PackageGrants",
    "Party",
    "PartyReference",
    "PartyResolver",
    "PauseSwitch",
    "PaymentOutbox",
    "PaymentPipeline",
    "PaymentSigner",
    "PipelineBounds",
    "Plan",
    "PreparedAllowance",
    "PreparedAllowanceStore",
    "PreparedExpiry",
    "PreparedStore",
    "PreparedTransaction",
    "ProgramDeployment",
    "ProgramPublisher",
    "ProgramStatus",
    "PurchaseLimit",
    "RailBounds",
    "RecipientAccounts",
    "RecipientReport",
    "Recipients",
    "ReconcileReport",
    "Reconciler",
    "RewardDistributor",
    "RewardLine",
    "SafetyRails",
    "SettlementBounds",
    "SettlementJob",
    "SettlementReport",
    "SharedCharges",
    "StoredPolicies",
    "SyncReport",
    "TableReport",
    "TableStore",
    "TokenService",
    "TransactionFees",
    "TransactionMonitor",
    "UnsettledFees",
    "Verifier",
    "VerifyReport",
    "check_reward_type",
    "read_batch_file",
]
