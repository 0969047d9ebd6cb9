"""The behaviours of wallets and of their watching that the specification names, by their tests.

An index for readers: each line says what must hold and which test proves it; a test that vanishes breaks it.
What is seen on the page is proven in a browser, by tests/acceptance/dashboard, under the scenarios' names.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.contract import (
    test_channels,
    test_mail_tls,
    test_wallet_ownership,
    test_wallets,
    test_watch_cleanup,
    test_watch_histories,
    test_watch_retention,
    test_watch_rounds,
    test_watched_wallets,
    test_webhooks,
)
from tests.contract.behaviour_index import Proof, assert_each_is_proven
from tests.integration.dashboard import test_access_over_http, test_api, test_live_over_websocket
from tests.integration.monitor import test_restart, test_watching
from tests.unit.cli import test_wallets as test_wallet_commands

_wallets, _proof, _watched, _rounds = (
    test_wallets,
    test_wallet_ownership,
    test_watched_wallets,
    test_watch_rounds,
)
_api, _live, _access = test_api, test_live_over_websocket, test_access_over_http

WALLETS: Final[dict[str, Proof]] = {
    "an address is valid and on the curve": (_wallets, "TestConnecting.test_addresses_that_are_none"),
    "one that is active is taken": (
        _wallets,
        "TestConnecting.test_an_active_address_is_taken_for_its_own_user_too",
    ),
    "also when two race": (_wallets, "TestRaces.test_of_many_that_connect_one_address_exactly_one_wins"),
    "only an own active wallet is disconnected": (
        _wallets,
        "TestDisconnecting.test_only_a_users_own_active_wallet_can_be_left",
    ),
    "whose row stays": (
        _wallets,
        "TestDisconnecting.test_the_row_stays_and_another_user_may_have_the_address",
    ),
    "and is connected again": (_wallets, "TestDisconnecting.test_a_reconnected_wallet_is_the_same_row"),
    "a message that the wallet signs": (
        _proof,
        "test_a_wallet_is_proven_by_its_signature_over_the_message",
    ),
    "which is used once": (_proof, "test_a_replay_is_refused_also_when_two_come_at_once"),
    "and expires": (_proof, "test_a_challenge_expires_and_a_nonce_that_never_was_is_unknown"),
    "a primary wallet": (_wallets, "TestPrimary.test_another_primary_can_be_chosen"),
    "a proven claim displaces an unproven one": (_proof, "test_a_proven_claim_displaces_a_squatter"),
    "all of it from a shell": (
        test_wallet_commands,
        "test_a_wallet_is_proven_by_its_signature_or_its_key_file",
    ),
}

COUNTING: Final[dict[str, Proof]] = {
    "three wallets, and no fourth": (
        _watched,
        "test_a_fourth_wallet_is_refused_and_only_active_ones_fill_the_slots",
    ),
    "polled every sixty seconds": (_rounds, "test_it_polls_every_sixty_seconds_and_not_before"),
    "five new ones a poll": (_rounds, "test_a_poll_counts_at_most_five"),
    "exactly at the limit, and others go on": (
        _rounds,
        "test_stops_exactly_at_the_limit_while_others_go_on",
    ),
    "a person stops it": (_watched, "test_a_stop_by_a_person_and_a_re_watch"),
    "200, then 201/200": (_rounds, "test_stops_at_200_and_shows_201_of_200_after_a_re_watch"),
    "again at each multiple": (_rounds, "test_stops_again_at_each_multiple_of_the_limit"),
    "a warning from 90 % of the window": (
        _watched,
        "test_a_wallet_warns_from_nine_tenths_of_its_window",
    ),
    "which is told once": (_rounds, "test_warns_once_at_nine_tenths"),
    "99999 is unlimited": (_rounds, "test_99999_never_stops"),
    "limits by wallet type": (_watched, "test_a_limit_comes_from_the_wallet_its_type_or_the_settings"),
    "polling stops with the last active one": (
        _rounds,
        "test_polling_ends_with_the_last_active_wallet_and_begins_with_a_re_watch",
    ),
    "nothing is skipped or counted twice": (test_watch_histories, "test_each_transaction_counts_once"),
    "a thousand between two polls": (
        _rounds,
        "test_a_thousand_between_two_polls_are_all_counted_once",
    ),
    "nor after a clean-up": (test_watch_cleanup, "test_an_endpoint_that_lists_all_again_adds_nothing"),
    "state survives a restart": (test_restart, "test_kill_9_neither_skips_nor_repeats"),
    "each wallet is polled by one": (
        _rounds,
        "test_each_wallet_is_polled_by_one_process_and_taken_over_from_a_dead_one",
    ),
    "an endpoint that is gone for minutes": (
        _rounds,
        "test_an_endpoint_that_is_gone_for_minutes_costs_time_alone",
    ),
    "transfers are decoded": (test_watching, "test_transfers_are_counted_decoded_and_in_the_history"),
    "inner ones too": (
        test_watching,
        "test_a_transfer_that_a_program_makes_within_its_instruction_is_decoded",
    ),
    "news comes at once": (
        test_watching,
        "test_a_transfer_is_counted_at_once_because_the_chain_tells_of_it",
    ),
}

OPERATING: Final[dict[str, Proof]] = {
    "a limit of its own": (_watched, "test_a_higher_limit_moves_the_next_stop"),
    "a reset, with its export": (_watched, "test_a_reset_hands_out_what_was_counted_and_begins_anew"),
    "a scheduled stop": (_rounds, "test_a_scheduled_stop_comes_at_its_time"),
    "an override that is audited": (
        _watched,
        "test_an_override_grants_more_once_and_is_kept_with_who_and_why",
    ),
    "whatever is cleaned up": (
        test_watch_retention,
        "test_what_is_old_goes_and_the_audit_and_the_counts_stay",
    ),
    "600 calls are 0.6 % of the quota": (
        _watched,
        "test_the_quota_shows_six_hundred_calls_as_six_tenths_of_a_percent",
    ),
    "an export that goes on counting": (_api, "test_what_was_counted_is_exported"),
    "events in their own commit": (
        test_watching,
        "test_what_happens_to_a_wallet_is_told_to_webhooks_in_its_own_commit",
    ),
    "webhooks are retried, then dead letters": (
        test_webhooks,
        "TestDelivery.test_failures_are_retried_with_growing_waits_and_end_as_a_dead_letter",
    ),
    "mail is": (test_channels, "test_mail_that_fails_is_retried_then_dead_then_replayed"),
    "over TLS to whom it is meant for": (
        test_mail_tls,
        "test_a_certificate_of_another_authority_is_refused_and_told_nothing",
    ),
    "addresses malformed": (_watched, "test_a_malformed_address_is_refused_everywhere"),
    "addresses twice": (_watched, "test_a_duplicate_is_refused_and_a_stopped_one_as_well"),
    "a limit of 0 or less": (_watched, "test_a_limit_that_is_none_is_refused"),
    "a database that is gone": (_api, "test_a_database_that_is_gone_is_a_typed_refusal"),
    "frames oversized and malformed": (
        _live,
        "test_frames_that_are_none_end_the_connection_with_a_reason",
    ),
    "200 connections": (_live, "test_two_hundred_pages_are_live_and_one_too_many_is_told_so"),
    "slow readers": (_live, "test_a_slow_reader_is_dropped_and_delays_nobody"),
    "a disconnect loses nothing": (_live, "test_a_disconnect_loses_nothing"),
    "roles": (_access, "test_only_an_operator_changes_anything"),
    "CSRF and Origin": (_access, "test_a_change_that_another_site_made_is_refused"),
}


@pytest.mark.parametrize(
    "behaviours", [WALLETS, COUNTING, OPERATING], ids=["wallets", "counting", "operating"]
)
def test_each_behaviour_has_its_test(behaviours: dict[str, Proof]) -> None:
    assert_each_is_proven(behaviours)
