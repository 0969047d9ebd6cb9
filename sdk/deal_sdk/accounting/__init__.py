"""Prices, and the off-chain side of billing: users' credits and the ledger behind them.

Owns what a service costs, and every credit that a user has. Each change of a balance commits together
with its entries, which sum to zero, are never altered, and form a chain of hashes in each account. It
never moves DEAL: payments asks for a price and does the moving.
"""

from deal_sdk.accounting.auditing import AuditCallback, AuditRecord
from deal_sdk.accounting.billing import BilledOperation, TokenBilling
from deal_sdk.accounting.commands import LedgerEntry, OperationResult
from deal_sdk.accounting.credits import Affordability, Charge, CreditBalance, TokenAccountingService
from deal_sdk.accounting.erasure import ErasureReport
from deal_sdk.accounting.folding import FoldReport
from deal_sdk.accounting.invariants import CREDIT_INVARIANTS, broken_links
from deal_sdk.accounting.journal import Journal, Operation
from deal_sdk.accounting.ledger import EntryFilters, Opening, TokenLedger, UserStatistics
from deal_sdk.accounting.lot_listing import CreditLot
from deal_sdk.accounting.membership import AnswerCache, ChannelMembership, Member, Memberships
from deal_sdk.accounting.periods import Period
from deal_sdk.accounting.plans import (
    DEFAULT_COSTS,
    DEFAULT_PLANS,
    OperationCosts,
    OperationType,
    SubscriptionTier,
    TierPlan,
    TierPlans,
)
from deal_sdk.accounting.pricing import DEFAULT_PRICES, Price, PricingService
from deal_sdk.accounting.renewal_results import (
    Eligibility,
    RenewalError,
    RenewalReport,
    RenewalResult,
    RenewalStatus,
    SubscriptionResult,
)
from deal_sdk.accounting.renewal_rows import DueUser
from deal_sdk.accounting.renewal_watching import RENEWAL_EVENTS, RenewalObserver, RenewalWatch
from deal_sdk.accounting.renewals import MonthlyRenewalService
from deal_sdk.accounting.report_periods import ReportInterval, ReportPeriod
from deal_sdk.accounting.series import Terms
from deal_sdk.accounting.statements import Statement, StatementHold
from deal_sdk.accounting.subscriptions import sold_plan
from deal_sdk.accounting.usage import (
    CreditUsageReport,
    PaymentUsageReport,
    UsageFilters,
    UsageReport,
    UsageReports,
)
from deal_sdk.accounting.usage_rows import CreditUsage, PaymentUsage
from deal_sdk.accounting.watching import CREDIT_EVENTS, CreditOutbox, CreditWatch

__all__ = [
    "CREDIT_EVENTS",
    "CREDIT_INVARIANTS",
    "DEFAULT_COSTS",
    "DEFAULT_PLANS",
    "DEFAULT_PRICES",
    "RENEWAL_EVENTS",
    "Affordability",
    "AnswerCache",
    "AuditCallback",
    "AuditRecord",
    "BilledOperation",
    "ChannelMembership",
    "Charge",
    "CreditBalance",
    "CreditLot",
    "CreditOutbox",
    "CreditUsage",
    "CreditUsageReport",
    "CreditWatch",
    "DueUser",
    "Eligibility",
    "EntryFilters",
    "ErasureReport",
    "FoldReport",
    "Journal",
    "LedgerEntry",
    "Member",
    "Memberships",
    "MonthlyRenewalService",
    "Opening",
    "Operation",
    "OperationCosts",
    "OperationResult",
    "OperationType",
    "PaymentUsage",
    "PaymentUsageReport",
    "Period",
    "Price",
    "PricingService",
    "RenewalError",
    "RenewalObserver",
    "RenewalReport",
    "RenewalResult",
    "RenewalStatus",
    "RenewalWatch",
    "ReportInterval",
    "ReportPeriod",
    "Statement",
    "StatementHold",
    "SubscriptionResult",
    "SubscriptionTier",
    "Terms",
    "TierPlan",
    "TierPlans",
    "TokenAccountingService",
    "TokenBilling",
    "TokenLedger",
    "UsageFilters",
    "UsageReport",
    "UsageReports",
    "UserStatistics",
    "broken_links",
    "sold_plan",
]
