"""Which token accounts the reconciler goes on looking at after payments moved them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.payments.history_reach import HistoryReach, Progress
from deal_sdk.payments.history_sync import SyncReport
from deal_sdk.payments.reconcile import MAX_TRIES_PER_MARK, Reconciler

SENDER, RECIPIENT = "sender-account", "recipient-account"


class ScriptedHistory:
    """Says of each account what the test gave it, and notes which were asked for."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []
        self.shows: dict[str, Progress] = {}
        self.expected: dict[str, int] = {}
        self.reach = HistoryReach()

    async def sync(
        self, token_accounts: Collection[str] | None = None, *, expected: Mapping[str, int]
    ) -> SyncReport:
        self.asked.append(set(token_accounts or ()))
        self.expected = dict(expected)
        shown: Mapping[str, Progress] = {
            account: self.shows[account] for account in token_accounts or () if account in self.shows
        }
        return SyncReport(len(shown), 0, 0, 0, self.reach.note(shown), ())


@pytest.fixture
def history() -> ScriptedHistory:
    return ScriptedHistory()


@pytest.fixture
def reconciler(history: ScriptedHistory) -> Reconciler:
    parts: Any = {"payments": None, "prepared": None, "history": history}
    return Reconciler(**parts, clock=ManualClock(), poll_interval_seconds=1)


async def asked_next(reconciler: Reconciler, history: ScriptedHistory) -> set[str]:
    before = len(history.asked)
    await reconciler.sync_marked()
    return history.asked[-1] if len(history.asked) > before else set()


async def test_the_history_is_told_how_much_is_new(reconciler: Reconciler, history: ScriptedHistory) -> None:
    reconciler.mark([SENDER, RECIPIENT], "payment", 10)
    reconciler.mark([SENDER], "another", 11)
    await asked_next(reconciler, history)
    assert history.expected == {SENDER: 2, RECIPIENT: 1}


async def test_an_account_is_looked_at_until_its_own_history_shows_the_payment(
    reconciler: Reconciler, history: ScriptedHistory
) -> None:
    reconciler.mark([SENDER, RECIPIENT], "payment", 10)
    # The two were listed one after the other, and the payment became visible in between.
    history.shows = {SENDER: Progress(frozenset(), 9), RECIPIENT: Progress(frozenset({"payment"}), 10)}
    assert await asked_next(reconciler, history) == {SENDER, RECIPIENT}
    assert await asked_next(reconciler, history) == {SENDER}
    history.shows[SENDER] = Progress(frozenset({"payment"}), 10)
    assert await asked_next(reconciler, history) == {SENDER}
    assert await asked_next(reconciler, history) == set()


async def test_one_whose_history_is_past_the_payment_is_not_looked_at_again(
    reconciler: Reconciler, history: ScriptedHistory
) -> None:
    reconciler.mark([SENDER], "payment", 10)
    history.shows = {SENDER: Progress(frozenset(), 11)}
    assert await asked_next(reconciler, history) == {SENDER}
    assert await asked_next(reconciler, history) == set()


async def test_one_that_nobody_tracks_is_let_go(reconciler: Reconciler, history: ScriptedHistory) -> None:
    reconciler.mark([SENDER], "payment", 10)
    assert await asked_next(reconciler, history) == {SENDER}
    assert await asked_next(reconciler, history) == set()


async def test_one_that_never_shows_it_is_left_to_the_full_pass(
    reconciler: Reconciler, history: ScriptedHistory
) -> None:
    reconciler.mark([SENDER], "payment", 10)
    history.shows = {SENDER: Progress(frozenset(), 9)}
    for _ in range(MAX_TRIES_PER_MARK):
        assert await asked_next(reconciler, history) == {SENDER}
    assert await asked_next(reconciler, history) == set()


async def test_one_whose_history_was_read_past_the_payment_for_another_is_not_looked_at(
    reconciler: Reconciler, history: ScriptedHistory
) -> None:
    reconciler.mark([SENDER], "payment", 10)
    history.shows = {SENDER: Progress(frozenset({"payment", "neighbour"}), 10)}
    assert await asked_next(reconciler, history) == {SENDER}
    # What is final is noticed a little later for some than for others.
    reconciler.mark([SENDER], "neighbour", 10)
    reconciler.mark([SENDER], "earlier", 9)
    assert await asked_next(reconciler, history) == set()
    reconciler.mark([SENDER], "unread", 10)
    assert await asked_next(reconciler, history) == {SENDER}


async def test_one_that_lists_nothing_more_of_its_newest_slot_is_still_done_with_what_it_showed(
    reconciler: Reconciler, history: ScriptedHistory
) -> None:
    reconciler.mark([SENDER], "late", 10)
    history.shows = {SENDER: Progress(frozenset({"payment"}), 10)}
    assert await asked_next(reconciler, history) == {SENDER}
    reconciler.mark([SENDER], "payment", 10)
    history.shows = {SENDER: Progress(frozenset({"late"}), 10)}
    assert await asked_next(reconciler, history) == {SENDER}
    assert await asked_next(reconciler, history) == set()
