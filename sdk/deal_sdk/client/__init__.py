"""The client: the only place that wires the parts together.

Owns the order in which chain, database, store and mint are opened, and closes what it opened. It never
decides anything about a payment. Whatever is embedded is started here and ends with the `Deal`; servers
that were there before are only connected to.
"""

from deal_sdk.client.backends import GivenBackends
from deal_sdk.client.deal import Deal
from deal_sdk.client.health import Health, HealthCheck, HealthReport
from deal_sdk.client.jobs import JobRunner, WorkerJob
from deal_sdk.client.monitoring import MonitoringServer
from deal_sdk.client.opening import DealOpening

__all__ = [
    "Deal",
    "DealOpening",
    "GivenBackends",
    "Health",
    "HealthCheck",
    "HealthReport",
    "JobRunner",
    "MonitoringServer",
    "WorkerJob",
]
