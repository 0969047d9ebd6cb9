"""The Prometheus metrics of every area, by the names that dashboards and alerts rely on.

Owns a registry per `Metrics`, so that two `Deal` objects in one process never share a counter.
Labels are bounded: an id of a user is a label only where the operator asked for it.
"""

from __future__ import annotations

from collections import Counter as Multiset
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BREAKER_STATES: Final = {"closed": 0, "half_open": 1, "open": 2}
FOREIGN_ENDPOINT: Final = 3


class Metrics:
    """One registry with every metric that the package writes."""

    def __init__(self, *, balances_by_user: bool = False) -> None:
        """Register the metrics.

        Args:
            balances_by_user: also set `token_balances` per user; off by default, because the label
                grows with the number of users.
        """
        self.registry = CollectorRegistry()
        self.balances_by_user = balances_by_user
        self._register_payments()
        self._register_stores()
        self._register_credits()
        self._register_rpc()
        self._register_webhooks()

    def _register_payments(self) -> None:
        registry = self.registry
        self.token_transactions = Counter(
            "token_transactions", "Payments by type and final status.", ["type", "status"], registry=registry
        )
        self.token_balances = Gauge(
            "token_balances", "DEAL balance by user, in whole tokens.", ["user_id"], registry=registry
        )
        self.token_transaction_duration_seconds = Histogram(
            "token_transaction_duration_seconds",
            "From the recorded intent to the confirmed transaction.",
            registry=registry,
        )
        self.payments_in_flight = Gauge("payments_in_flight", "Payments not yet final.", registry=registry)
        self.payment_rebroadcasts = Counter(
            "payment_rebroadcasts", "Broadcasts of bytes that were broadcast before.", registry=registry
        )
        self.queue_depth = Gauge(
            "queue_depth", "Items that wait for their batch.", ["queue"], registry=registry
        )
        self.payments_waiting = Gauge(
            "payments_waiting", "Callers that wait for a payment in flight to make room.", registry=registry
        )
        self.payment_attempts = Counter(
            "payment_attempts", "Signed transactions by their outcome.", ["outcome"], registry=registry
        )
        self.job_runs = Counter(
            "job_runs", "Runs of recurring jobs by outcome.", ["job", "outcome"], registry=registry
        )
        self.lease_rounds = Counter(
            "lease_rounds",
            "Rounds of this process's lease: renewed, lapsed before, or failed.",
            ["outcome"],
            registry=registry,
        )
        self.payments_taken_over = Counter(
            "payments_taken_over", "Open payments taken over from other processes.", registry=registry
        )
        self.fee_payer_lamports = Gauge(
            "fee_payer_lamports", "Lamports of the fee payer when last looked at.", registry=registry
        )
        self.fee_payer_payments_left = Gauge(
            "fee_payer_payments_left", "About how many payments those lamports last for.", registry=registry
        )
        self.subscription_purchases = Counter(
            "subscription_purchases", "Purchases of subscriptions by outcome.", ["outcome"], registry=registry
        )
        self.watched_wallet_transactions = Counter(
            "watched_wallet_transactions", "Transactions counted for watched wallets.", registry=registry
        )

    def _register_stores(self) -> None:
        registry = self.registry
        self.limit_checks = Counter(
            "limit_checks", "Limit decisions by limit and outcome.", ["limit", "outcome"], registry=registry
        )
        self.cache_requests = Counter(
            "cache_requests", "Cache reads by cache and outcome.", ["cache", "outcome"], registry=registry
        )
        self.cache_staleness_seconds = Histogram(
            "cache_staleness_seconds", "Age of the cached values that were served.", registry=registry
        )

    def _register_credits(self) -> None:
        registry = self.registry
        self.credit_operations = Counter(
            "credit_operations", "Credit operations by success.", ["operation", "success"], registry=registry
        )
        self.credit_operation_duration_seconds = Histogram(
            "credit_operation_duration_seconds", "Duration of a credit operation.", registry=registry
        )
        self.renewals = Counter("renewals", "Monthly renewals by outcome.", ["outcome"], registry=registry)

    def _register_rpc(self) -> None:
        registry = self.registry
        self.rpc_requests = Counter(
            "rpc_requests",
            "RPC method calls by endpoint, method and outcome.",
            ["endpoint", "method", "outcome"],
            registry=registry,
        )
        self.rpc_request_duration_seconds = Histogram(
            "rpc_request_duration_seconds",
            "Duration of a request to an RPC endpoint, by each method that it carried.",
            ["endpoint", "method"],
            registry=registry,
        )
        self.rpc_endpoint_state = Gauge(
            "rpc_endpoint_state",
            "Circuit breaker of an endpoint: 0 closed, 1 half open, 2 open, 3 another cluster's.",
            ["endpoint"],
            registry=registry,
        )
        self.rpc_endpoint_slot_lag = Gauge(
            "rpc_endpoint_slot_lag", "Slots behind the best endpoint.", ["endpoint"], registry=registry
        )
        self.rpc_failovers = Counter(
            "rpc_failovers",
            "Calls that failed on an endpoint and that another may answer, by the one that failed.",
            ["endpoint"],
            registry=registry,
        )
        self.rpc_hedges = Counter(
            "rpc_hedges",
            "Slow reads that a second endpoint was asked, by whose answer came first.",
            ["winner"],
            registry=registry,
        )

        self.signature_hints = Counter(
            "signature_hints", "Notifications that there is news.", ["endpoint"], registry=registry
        )
        self.websocket_connections = Gauge(
            "websocket_connections", "Live WebSockets by endpoint.", ["endpoint"], registry=registry
        )

    def _register_webhooks(self) -> None:
        self.webhook_deliveries = Counter(
            "webhook_deliveries",
            "Tries of webhook deliveries by outcome: delivered, failed or dead.",
            ["outcome"],
            registry=self.registry,
        )

    def render(self) -> bytes:
        """Return the registry in Prometheus' text format."""
        return generate_latest(self.registry)


class CallTally:
    """Counts the RPC calls of one endpoint, keeping each label's counter at hand: a lookup takes a lock."""

    def __init__(self, metrics: Metrics, endpoint: str) -> None:
        """Count for one endpoint.

        Args:
            metrics: where to count.
            endpoint: the endpoint's name, without secrets.
        """
        self._metrics = metrics
        self._endpoint = endpoint
        self._counters: dict[tuple[str, str], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def count(self, calls: Sequence[tuple[str, str]], duration_seconds: float | None) -> None:
        """Count the calls of one request.

        Args:
            calls: each call's method and outcome; at least one.
            duration_seconds: how long the request took; None when it never left.
        """
        numbers = Multiset(calls) if len(calls) > 1 else {calls[0]: 1}
        for key, number in numbers.items():
            counter = self._counters.get(key)
            if counter is None:
                counter = self._counters[key] = self._metrics.rpc_requests.labels(self._endpoint, *key)
            counter.inc(number)
        if duration_seconds is not None:
            for method in {method for method, _ in numbers}:
                self._histogram(method).observe(duration_seconds)

    def _histogram(self, method: str) -> Histogram:
        found = self._histograms.get(method)
        if found is None:
            found = self._metrics.rpc_request_duration_seconds.labels(self._endpoint, method)
            self._histograms[method] = found
        return found
