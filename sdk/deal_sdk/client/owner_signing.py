"""Wires the payments that owners' wallets sign."""

from __future__ import annotations

from deal_sdk.chain import Rpc
from deal_sdk.clock import Clock
from deal_sdk.payments import (
    Admission,
    AttemptStore,
    IntentStore,
    OwnerMessages,
    OwnerSigning,
    PartyResolver,
    PaymentOutbox,
    PaymentPipeline,
    PaymentSigner,
    PreparedExpiry,
    PreparedStore,
)
from deal_sdk.records import Database


def open_prepared(
    database: Database,
    intents: IntentStore,
    attempts: AttemptStore,
    outbox: PaymentOutbox,
    pipeline: PaymentPipeline,
    rpc: Rpc,
    clock: Clock,
) -> PreparedExpiry:
    """Put together the prepared transactions and their end; nothing is read yet.

    Args:
        database: where they are kept.
        intents: admits what is prepared anew.
        attempts: takes what was signed.
        outbox: tells webhooks of what expired.
        pipeline: carries it on.
        rpc: whose finalized height ends them.
        clock: stamps the rows and spaces the sweeps.
    """
    store = PreparedStore(database, intents=intents, attempts=attempts, clock=clock, outbox=outbox)
    return PreparedExpiry(store=store, pipeline=pipeline, rpc=rpc, clock=clock)


def open_owner_signing(
    admission: Admission,
    parties: PartyResolver,
    intents: IntentStore,
    signer: PaymentSigner,
    prepared: PreparedExpiry,
    pipeline: PaymentPipeline,
) -> OwnerSigning:
    """Put together what `prepare_transfer` and `submit_signed` stand on; nothing is read yet."""
    return OwnerSigning(
        admission=admission,
        parties=parties,
        intents=intents,
        messages=OwnerMessages(signer),
        expiry=prepared,
        pipeline=pipeline,
    )
