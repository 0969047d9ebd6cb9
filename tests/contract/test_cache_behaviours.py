"""The 25 behaviours of the cache and the 19 of the user cache that the specification implies, by their tests.

An index for readers: each line says what must hold and which test proves it, on every store.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.contract import (
    test_cache_balances,
    test_cache_batches,
    test_cache_leases,
    test_cache_manager,
    test_cache_outages,
    test_cache_tags,
    test_cache_tier,
    test_cache_users,
)
from tests.contract.behaviour_index import Proof, assert_each_is_proven

_manager, _batches, _tags = test_cache_manager, test_cache_batches, test_cache_tags
_leases, _outages, _tier, _users = test_cache_leases, test_cache_outages, test_cache_tier, test_cache_users

CACHE: Final[dict[str, Proof]] = {
    "01 what was set is got": (_manager, "TestValues.test_come_back_as_they_were"),
    "02 None is a value": (_manager, "TestValues.test_none_is_a_value_and_no_miss"),
    "03 a missing one gives the default": (_manager, "TestValues.test_missing_ones_give_the_default"),
    "04 an entry ends with its TTL": (_manager, "TestValues.test_end_with_their_lifetime"),
    "05 no entry is without a TTL": (_manager, "TestValues.test_never_live_without_an_end"),
    "06 batches set, get and delete": (_manager, "TestValues.test_go_in_and_out_in_bulk"),
    "07 namespaces are apart": (_manager, "TestValues.test_of_namespaces_are_apart"),
    "08 what cannot be cached is refused": (_manager, "TestValues.test_that_cannot_be_cached_are_refused"),
    "09 what cannot be read is a miss": (_manager, "TestValues.test_of_another_program_are_a_miss"),
    "10 many who miss load once": (_manager, "TestSingleFlight.test_many_who_miss_load_once"),
    "11 errors reach all who wait": (
        _manager,
        "TestSingleFlight.test_an_error_reaches_all_who_wait_and_is_not_cached",
    ),
    "12 one who gives up stops nobody": (
        _manager,
        "TestSingleFlight.test_one_who_gives_up_stops_nobody_else",
    ),
    "13 hits and misses are counted": (_manager, "test_requests_are_counted"),
    "14 processes wait for one load": (
        _leases,
        "TestAcrossProcesses.test_a_second_process_waits_for_the_load_of_the_first",
    ),
    "15 no stale set": (
        _leases,
        "TestStaleSetRace.test_the_old_value_does_not_land_after_a_write_and_a_delete",
    ),
    "16 no older version": (_leases, "TestVersions.test_an_older_version_never_replaces_a_newer_one"),
    "17 stale while revalidated": (
        _leases,
        "TestStaleWhileRevalidate.test_a_stale_value_is_served_at_once_and_loaded_again_behind_it",
    ),
    "18 a tag ends its entries": (_tags, "test_all_entries_of_a_tag_end_with_it_and_no_others"),
    "19 a tag outlives its members": (_tags, "test_a_tag_outlives_the_last_of_its_members"),
    "20 a batch loads what is missing": (_batches, "test_only_what_is_missing_is_loaded_and_in_one_call"),
    "21 the source is read while Redis is down": (
        _outages,
        "TestWithoutStore.test_callers_see_the_sources_value_and_one_line_is_logged",
    ),
    "22 a circuit breaker": (
        _outages,
        "TestWithoutStore.test_after_three_failures_nobody_waits_for_the_store",
    ),
    "23 changes made meanwhile are kept in mind": (
        _outages,
        "test_what_changed_meanwhile_is_not_served_when_it_is_back",
    ),
    "24 hits in this process": (_tier, "test_a_second_read_does_without_the_store"),
    "25 which a change elsewhere ends": (_tier, "test_a_change_elsewhere_ends_it"),
}

USER_CACHE: Final[dict[str, Proof]] = {
    "01 profiles for 5 minutes": (_users, "TestLifetimes.test_a_profile_is_served_for_five_minutes"),
    "02 credits for 1 minute": (_users, "TestLifetimes.test_credits_are_served_for_one_minute"),
    "03 channels for 10 minutes": (
        _users,
        "TestLifetimes.test_a_channel_subscription_is_served_for_ten_minutes",
    ),
    "04 DEAL for 5 minutes": (_users, "TestLifetimes.test_a_deal_balance_is_served_for_five_minutes"),
    "05 other lifetimes": (_users, "TestLifetimes.test_other_lifetimes_can_be_chosen"),
    "06 one read for many": (_users, "TestSingleReads.test_many_who_ask_for_one_user_read_once"),
    "07 users who are not there": (
        _users,
        "TestSingleReads.test_a_user_who_is_not_there_is_an_error_and_seen_as_soon_as_created",
    ),
    "08 ids that are none": (_users, "TestSingleReads.test_what_is_no_user_id_is_refused"),
    "09 a channel that fails": (
        _users,
        "TestSingleReads.test_a_membership_that_fails_is_no_answer_and_asked_again",
    ),
    "10 no channel": (_users, "TestSingleReads.test_without_a_membership_it_says_what_is_missing"),
    "11 credits of another source": (
        _users,
        "TestSingleReads.test_credits_of_another_source_can_be_plugged_in",
    ),
    "12 batch reads": (_users, "TestBatches.test_a_hundred_users_are_one_read_of_the_source_and_then_none"),
    "13 batches fail one by one": (
        _users,
        "TestBatches.test_a_membership_that_fails_for_one_leaves_that_one_out",
    ),
    "14 a user's data ends together": (
        _users,
        "TestInvalidation.test_a_users_data_ends_together_in_every_process_and_nobody_elses",
    ),
    "15 the caller's entries too": (
        _users,
        "TestInvalidation.test_the_callers_own_entries_end_with_their_user_by_tag",
    ),
    "16 credits end alone": (_users, "TestInvalidation.test_credits_end_alone"),
    "17 warming with progress": (_users, "TestWarming.test_very_many_users_are_warmed_with_progress"),
    "18 warming what is cold": (
        _users,
        "TestWarming.test_what_is_warm_is_not_read_again_and_what_fails_fails_alone",
    ),
    "19 no older balance": (test_cache_balances, "TestSlots.test_an_older_slot_never_replaces_a_newer"),
}


@pytest.mark.parametrize(("behaviours", "count"), [(CACHE, 25), (USER_CACHE, 19)], ids=["cache", "users"])
def test_each_behaviour_has_its_test(behaviours: dict[str, Proof], count: int) -> None:
    assert [int(name[:2]) for name in behaviours] == list(range(1, count + 1))
    assert_each_is_proven(behaviours)
