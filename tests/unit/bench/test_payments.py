"""The payments benchmark's own arithmetic: who pays when, what pending allows, where samples fell."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from deal_sdk.settings import DEFAULT_TIER_LIMITS
from scripts.bench.chains import Endpoint
from scripts.bench.counting_proxy import CountingProxy
from scripts.bench.payment_engine import fair_order
from scripts.bench.payments import parse_arguments
from scripts.bench.profiles import summarize

WEIGHTS = [DEFAULT_TIER_LIMITS[tier].per_minute for tier in sorted(DEFAULT_TIER_LIMITS)] * 100


@pytest.mark.parametrize("count", [1, 7, 1_000, 5_000])
def test_turns_are_spread_by_weight(count: int) -> None:
    order = list(fair_order(WEIGHTS, count))
    assert len(order) == count
    turns = Counter(order)
    for index, weight in enumerate(WEIGHTS):
        assert abs(turns[index] - count * weight / sum(WEIGHTS)) <= 1


def test_nobodys_turns_come_in_a_burst() -> None:
    places = defaultdict(list)
    for place, index in enumerate(fair_order(WEIGHTS, 5_000)):
        places[index].append(place)
    for index, found in places.items():
        fair_gap = sum(WEIGHTS) / WEIGHTS[index]
        gaps = [later - earlier for earlier, later in pairwise(found)]
        assert all(gap > fair_gap * 0.8 for gap in gaps)


def test_the_proxy_knows_what_is_pending() -> None:
    proxy = CountingProxy(Endpoint("x", "http://127.0.0.1:1", "ws://127.0.0.1:2", 0.4), sweep_seconds=0.1)
    sends = [{"id": number, "method": "sendTransaction", "params": ["..."]} for number in range(3)]
    proxy.observe(sends, [{"id": 2, "result": "c"}, {"id": 0, "result": "a"}, {"id": 1, "error": {}}])
    assert proxy.pending_count == 2
    statuses = [{"confirmationStatus": "finalized"}, {"confirmationStatus": "confirmed"}]
    ask = {"id": 9, "method": "getSignatureStatuses", "params": [["a", "c"]]}
    proxy.observe(ask, {"id": 9, "result": {"value": statuses}})
    assert (proxy.pending_count, proxy.status_calls) == (1, 1)


def test_samples_are_counted_by_frame_and_by_function() -> None:
    stacks = [
        "main (payments.py:1);drive (deal_sdk/a/b.py:10);select (selectors.py:468) 3",
        "main (payments.py:1);drive (deal_sdk/a/b.py:20) 1",
    ]
    text = summarize(stacks)
    assert "4 samples" in text
    assert " 75.00%  select (selectors.py:468)" in text
    assert "100.00%  drive (deal_sdk/a/b.py)" in text
    assert " 25.00%  deal_sdk/a\n" in text
    # The sample in the selector counts for the function of ours that waited there.
    assert text.count("100.00%  drive (deal_sdk/a/b.py)") == 2
    assert "main (payments.py)" not in text


def test_the_short_form_is_small_and_embedded() -> None:
    short = parse_arguments(["--short"])
    assert (short.chains, short.stores) == (["embedded"], ["sqlite+redis"])
    whole = parse_arguments([])
    assert whole.chains == ["embedded", "validator"]
    assert "memory" not in whole.parts
    assert "memory" in parse_arguments(["--full"]).parts
