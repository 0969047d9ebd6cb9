"""The Prometheus metrics of every area, by the names that dashboards and alerts rely on.

Owns a registry per `Metrics`, so that two `Deal` objects in one process never share a counter.
Labels are bounded: an id of a user is a label only where the operator asked for it.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


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
        self.payments_waiting = Gauge(
            "payments_waiting", "Callers that wait for a payment in flight to make room.", registry=registry
        )
        self.payment_attempts = Counter(
            "payment_attempts", "Signed transactions by their outcome.", ["outcome"], registry=registry
        )
        self.fee_payer_lamports = Gauge(
            "fee_payer_lamports", "Lamports of the fee payer when last looked at.", registry=registry
        )
        self.fee_payer_payments_left = Gauge(
            "fee_payer_payments_left", "About how many payments those lamports last for.", registry=registry
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
            "rpc_request_duration_seconds", "Duration of a request to an RPC endpoint.", registry=registry
        )

        self.signature_hints = Counter(
            "signature_hints", "Notifications that a transaction confirmed.", ["endpoint"], registry=registry
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
