"""Wiring of credit packages: payments of DEAL that credits follow."""

from __future__ import annotations

from typing import Protocol

from deal_sdk.accounting import TokenAccountingService
from deal_sdk.chain import MintFacts
from deal_sdk.client.jobs import JobRunner
from deal_sdk.clock import Clock
from deal_sdk.payments import Admission, CreditPackages, PackageGrants, PartyResolver
from deal_sdk.records import Database


class PackageParts(Protocol):
    """What packages need of a `Deal`, and what they give it."""

    clock: Clock
    mint: MintFacts
    credits: TokenAccountingService
    jobs: JobRunner
    packages: CreditPackages


def open_packages(
    deal: PackageParts, database: Database, admission: Admission, parties: PartyResolver
) -> PackageGrants:
    """Give a `Deal` its packages, and the job that grants what was missed.

    Returns:
        What grants credits as soon as their payments are final.
    """
    deal.packages = CreditPackages(
        database,
        admission=admission,
        parties=parties,
        credits=deal.credits,
        decimals=deal.mint.decimals,
    )
    grants = PackageGrants(deal.packages, deal.clock)
    deal.jobs.register(grants)
    return grants
