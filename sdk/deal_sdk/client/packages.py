"""Wiring of credit packages: payments of DEAL that credits follow, through the backend or from outside."""

from __future__ import annotations

from typing import Protocol

from deal_sdk.accounting import MonthlyRenewalService, TokenAccountingService
from deal_sdk.chain import MintFacts
from deal_sdk.client.jobs import JobRunner
from deal_sdk.clock import Clock
from deal_sdk.payments import (
    Admission,
    CreditPackages,
    HistorySync,
    InvoiceJob,
    Invoices,
    PackageGrants,
    PartyResolver,
)
from deal_sdk.records import Database


class PackageParts(Protocol):
    """What packages need of a `Deal`, and what they give it."""

    clock: Clock
    mint: MintFacts
    credits: TokenAccountingService
    renewals: MonthlyRenewalService
    jobs: JobRunner
    packages: CreditPackages


def open_packages(
    deal: PackageParts,
    database: Database,
    admission: Admission,
    parties: PartyResolver,
    sync: HistorySync,
) -> PackageGrants:
    """Give a `Deal` its packages and invoices, and the jobs that grant what was missed.

    Returns:
        What grants credits as soon as their payments are final.
    """
    invoices = Invoices(
        database, parties=parties, credits=deal.credits, subscriptions=deal.renewals, mint=deal.mint
    )
    deal.packages = CreditPackages(
        database,
        admission=admission,
        parties=parties,
        credits=deal.credits,
        invoices=invoices,
        decimals=deal.mint.decimals,
    )
    grants = PackageGrants(deal.packages, deal.clock)
    deal.jobs.register(grants)
    recognition = InvoiceJob(invoices, sync)
    sync.deposits.on_paid = recognition.paid
    deal.jobs.register(recognition)
    return grants
