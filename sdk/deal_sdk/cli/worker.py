"""`dealctl worker`: drives open payments and runs the jobs until it is told to stop."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deal_sdk.cli.commands import command
from deal_sdk.cli.output import Reply, fields
from deal_sdk.cli.renewals import MembershipOption, named_membership
from deal_sdk.cli.session import Session
from deal_sdk.cli.stopping import stop_signal
from deal_sdk.client.backends import GivenBackends
from deal_sdk.client.monitoring import MonitoringServer
from deal_sdk.garbage import collect_rarely
from deal_sdk.settings import load_settings
from deal_sdk.threads import switch_threads_sooner

DEFAULT_METRICS_PORT = 9464
"""Among the ports that Prometheus' list of exporters gives to applications' own metrics."""
DEFAULT_DRAIN_SECONDS = 5.0


def register(application: typer.Typer) -> None:
    """Add the command."""
    command(application, "worker")(worker)


async def worker(
    session: Session,
    metrics_port: Annotated[
        int, typer.Option(help="/metrics and /health; 0 picks a free one", min=0, max=65535)
    ] = DEFAULT_METRICS_PORT,
    metrics_host: Annotated[str, typer.Option(help="Address that they listen on")] = "127.0.0.1",
    drain_seconds: Annotated[
        float, typer.Option(help="How long to wait for its own payments when told to stop", min=0, max=3600)
    ] = DEFAULT_DRAIN_SECONDS,
    membership: MembershipOption = None,
) -> Reply:
    """Drive payments that other processes left, and run the jobs, until told to stop."""
    named = membership or load_settings(**session.overrides()).channel_membership
    given = GivenBackends(channel_membership=named_membership(named))
    with stop_signal() as stopped:
        async with session.deal(given=given, background_jobs=True, webhook_delivery=True) as deal:
            server = MonitoringServer(deal.metrics, deal.health, host=metrics_host, port=metrics_port)
            async with server:
                # A worker is a process of its own, and all that it needs is open by now.
                collect_rarely()
                switch_threads_sooner()
                document: dict[str, Any] = {
                    "worker": str(deal.leases.owner),
                    "metrics_url": f"{server.url}/metrics",
                    "health_url": f"{server.url}/health",
                    "jobs": list(deal.jobs.names),
                }
                session.output.reply(Reply(document, [fields("Worker", document)]))
                await stopped.wait()
                deal.leases.take_no_more()
                await deal.settled(timeout_seconds=drain_seconds)
    return Reply(document, is_shown=True)
