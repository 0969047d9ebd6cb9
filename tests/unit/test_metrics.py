"""The metrics' names and labels, which dashboards and alerts rely on."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from deal_sdk.metrics import Metrics

PROMISED = {
    "token_transactions_total": ("type", "status"),
    "token_balances": ("user_id",),
    "token_transaction_duration_seconds": (),
    "limit_checks_total": ("limit", "outcome"),
    "cache_requests_total": ("cache", "outcome"),
    "cache_staleness_seconds": (),
    "credit_operations_total": ("operation", "success"),
    "credit_operation_duration_seconds": (),
    "renewals_total": ("outcome",),
    "watched_wallet_transactions_total": (),
    "rpc_requests_total": ("endpoint", "method", "outcome"),
    "signature_hints_total": ("endpoint",),
    "websocket_connections": ("endpoint",),
    "rpc_request_duration_seconds": ("endpoint", "method"),
    "rpc_endpoint_state": ("endpoint",),
    "rpc_endpoint_slot_lag": ("endpoint",),
    "rpc_failovers_total": ("endpoint",),
    "rpc_hedges_total": ("winner",),
    "payment_rebroadcasts_total": (),
    "queue_depth": ("queue",),
    "payments_in_flight": (),
    "payments_waiting": (),
    "payment_attempts_total": ("outcome",),
}


def registered(metrics: Metrics) -> dict[str, tuple[str, ...]]:
    found = {}
    for value in vars(metrics).values():
        if isinstance(value, (Counter, Gauge, Histogram)):
            suffix = "_total" if isinstance(value, Counter) else ""
            found[value._name + suffix] = value._labelnames
    return found


def test_every_promised_metric_is_there_by_its_name_and_labels() -> None:
    found = registered(Metrics())
    assert {name: found.get(name) for name in PROMISED} == PROMISED


def test_rendered_text_carries_what_was_counted() -> None:
    metrics = Metrics()
    metrics.token_transactions.labels(type="transfer", status="finalized").inc()
    metrics.payments_in_flight.set(3)
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }
    labels = (("status", "finalized"), ("type", "transfer"))
    assert samples[("token_transactions_total", labels)] == 1
    assert samples[("payments_in_flight", ())] == 3


def test_two_in_one_process_share_no_counter() -> None:
    one, other = Metrics(), Metrics()
    one.payments_in_flight.inc()
    assert one.payments_in_flight._value.get() == 1
    assert other.payments_in_flight._value.get() == 0
    assert isinstance(one.registry, CollectorRegistry)


def test_a_label_per_user_is_the_operators_choice() -> None:
    assert not Metrics().balances_by_user
    assert Metrics(balances_by_user=True).balances_by_user
