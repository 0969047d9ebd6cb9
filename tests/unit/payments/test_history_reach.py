"""What is known of how far histories are read, so that nothing is read for a payment that is in them."""

from __future__ import annotations

import pytest

from deal_sdk.chain import AddressSignature
from deal_sdk.payments.history_reach import HistoryReach, Progress, progress_of
from deal_sdk.records import TrackedAccount

ACCOUNT = "account"


def tracked(signature: str | None, slot: int) -> TrackedAccount:
    return TrackedAccount(ACCOUNT, "owner", None, signature, slot)


def listed(signature: str, slot: int) -> AddressSignature:
    return AddressSignature(signature, slot, None, None, "finalized", None)


@pytest.mark.parametrize(
    ("recorded", "read", "known", "slot"),
    [
        pytest.param((None, 0), [], set(), 0, id="nothing ever"),
        pytest.param(("old", 7), [], {"old"}, 7, id="nothing new"),
        pytest.param(("old", 7), [("a", 8), ("b", 9), ("c", 9)], {"b", "c"}, 9, id="newer ones"),
        pytest.param(("old", 7), [("a", 7)], {"old", "a"}, 7, id="another of the same slot"),
    ],
)
def test_progress_tells_what_was_read_of_the_newest_slot(
    recorded: tuple[str | None, int], read: list[tuple[str, int]], known: set[str], slot: int
) -> None:
    assert progress_of(tracked(*recorded), [listed(*one) for one in read]) == Progress(frozenset(known), slot)


def test_a_history_holds_what_is_before_its_slot_and_what_it_names() -> None:
    progress = Progress(frozenset({"a"}), 9)
    assert progress.holds("unknown", 8)
    assert progress.holds("a", 9)
    assert not progress.holds("b", 9)
    assert not progress.holds("b", 10)


def test_what_was_read_of_one_slot_adds_up() -> None:
    reach = HistoryReach()
    assert not reach.holds(ACCOUNT, "a", 9)
    reach.note({ACCOUNT: Progress(frozenset({"a"}), 9)})
    assert reach.note({ACCOUNT: Progress(frozenset({"b"}), 9)})[ACCOUNT] == Progress(frozenset("ab"), 9)
    assert reach.holds(ACCOUNT, "a", 9)
    assert reach.holds(ACCOUNT, "b", 9)
    reach.note({ACCOUNT: Progress(frozenset({"c"}), 10)})
    assert reach.holds(ACCOUNT, "unknown", 9)
    assert not reach.holds(ACCOUNT, "b", 10)


def test_the_accounts_that_were_read_long_ago_are_forgotten() -> None:
    reach = HistoryReach(max_accounts=2)
    for account in ("first", "second", "first", "third"):
        reach.note({account: Progress(frozenset(), 9)})
    held = [account for account in ("first", "second", "third") if reach.holds(account, "a", 8)]
    assert held == ["first", "third"]
