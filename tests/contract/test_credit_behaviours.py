"""The behaviours of credits that the specification names, by their tests.

An index for readers: each line says what must hold and which test proves it; a test that vanishes breaks it.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.acceptance import test_recognition
from tests.acceptance import test_renewals as test_renewing_processes
from tests.contract import (
    test_cache_users,
    test_credit_billing,
    test_credit_folds,
    test_credit_lot_pages,
    test_credit_lots,
    test_credit_telling,
    test_credit_watching,
    test_credits,
    test_credits_model,
    test_erasure_refusals,
    test_invoices,
    test_limits_gate,
    test_renewals,
    test_usage,
)
from tests.contract.behaviour_index import Proof, assert_each_is_proven
from tests.integration import test_personal_data
from tests.integration.cache import test_user_cache
from tests.integration.payments import test_packages
from tests.unit.accounting import test_plans
from tests.unit.client import test_scheduling

_credits, _billing, _lots, _watching = (
    test_credits,
    test_credit_billing,
    test_credit_lots,
    test_credit_watching,
)
_renewals, _packages, _invoices, _personal = test_renewals, test_packages, test_invoices, test_personal_data

ACCOUNTING: Final[dict[str, Proof]] = {
    "tiers have their credits and prices": (test_plans, "test_tiers_grant_and_cost_what_was_promised"),
    "operations have their costs": (test_plans, "test_operations_cost_what_was_promised"),
    "an operation is charged at its cost": (_credits, "TestCosts.test_an_operation_is_charged_at_its_cost"),
    "users have their columns": (test_plans, "test_a_user_has_the_columns_that_were_promised"),
    "a balance says what there is": (_credits, "TestBalances.test_a_new_user_has_nothing"),
    "debits and credits": (_credits, "TestBalances.test_a_debit_takes_and_a_credit_gives"),
    "an entry has before, after and metadata": (_credits, "TestBalances.test_an_entry_says_what_changed"),
    "a reset sets the balance": (_credits, "TestBalances.test_a_reset_goes_both_ways"),
    "text of too few tokens": (_credits, "TestRefusals.test_what_is_not_there_is_not_spent"),
    "text of an amount": (_credits, "TestRefusals.test_amounts_are_positive"),
    "text of a negative balance": (_credits, "TestRefusals.test_a_balance_is_not_set_below_zero"),
    "text of an unknown user": (_credits, "TestRefusals.test_an_unknown_user_is_refused"),
    "an overdraft is allowed by name": (_credits, "TestRefusals.test_an_overdraft_has_to_be_allowed"),
    "what is affordable, and the deficit": (_credits, "TestCosts.test_what_can_be_afforded"),
    "a refund is bounded by its debit": (
        _credits,
        "TestRefunds.test_a_debit_is_given_back_in_parts_and_never_beyond",
    ),
    "also by two at once": (_credits, "TestRefunds.test_two_refunds_at_once_never_exceed_the_debit"),
    "no infrastructure failure is a result": (
        _watching,
        "TestADatabaseThatIsGone.test_the_key_tells_whether_it_was_spent",
    ),
    "balance and entry commit together": (
        _watching,
        "test_a_connection_that_is_cut_in_the_middle_leaves_nothing",
    ),
    "no overdraft by debits at once": (_credits, "TestManyAtOnce.test_two_services_never_overdraw"),
    "credits as in a plain model": (test_credits_model, "test_credits_are_the_model_s"),
    "a callback that fails is logged": (
        _credits,
        "TestManyAtOnce.test_a_callback_that_fails_changes_nothing",
    ),
    "metrics after the commit": (_watching, "TestEvents.test_every_operation_is_counted_and_timed"),
    "the cache ends with the commit": (test_user_cache, "test_spent_credits_are_seen_at_once"),
    "token_spend and insufficient_tokens": (
        _watching,
        "TestEvents.test_what_is_spent_and_what_could_not_be_is_told",
    ),
    "rate_limit_hit and purchase_limit_reached": (
        test_limits_gate,
        "TestTelling.test_publishes_each_limit_that_refused",
    ),
    "told to webhooks in their commit": (
        test_credit_telling,
        "test_a_process_that_dies_tells_of_what_it_committed",
    ),
    "metadata that is no JSON, or too large": (_credits, "TestRefusals.test_metadata_is_json_of_64_kib"),
    "dates that are reversed": (_watching, "TestWhatCannotBeAskedFor.test_reversed_dates_are_refused"),
    "a tier that is unknown": (
        _watching,
        "TestWhatCannotBeAskedFor.test_a_tier_without_a_plan_is_no_empty_run",
    ),
    "a callback that hangs": (
        _watching,
        "TestEvents.test_a_change_of_tier_that_hangs_when_told_is_not_waited_for",
    ),
}

LEDGER_AND_BILLING: Final[dict[str, Proof]] = {
    "entries by user, type and period": (_credits, "TestLedger.test_entries_by_user_type_and_period"),
    "spent, earned and statistics": (_credits, "TestLedger.test_totals_and_statistics"),
    "old entries go and all holds": (test_credit_folds, "test_balances_statistics_and_chains_hold"),
    "a deduction is given back on failure": (_billing, "TestOperations.test_an_operation_that_fails_is_free"),
    "both checks must pass": (_billing, "TestOperations.test_both_checks_must_pass"),
    "what cannot be afforded does not begin": (
        _billing,
        "TestOperations.test_what_cannot_be_afforded_does_not_begin",
    ),
    "deduct and add by name": (_billing, "TestOperations.test_tokens_are_deducted_and_added_by_name"),
    "balances are cached for a minute": (
        test_cache_users,
        "TestLifetimes.test_credits_are_served_for_one_minute",
    ),
    "an audit callback": (_watching, "TestEvents.test_an_audit_has_a_record_of_every_operation"),
    "holds are reserved": (_billing, "TestHolds.test_what_is_held_is_not_spent_by_others"),
    "posted": (_billing, "TestHolds.test_a_part_is_posted_and_the_rest_is_free"),
    "voided": (_billing, "TestHolds.test_a_voided_hold_gives_back_and_ends"),
    "and end by a timeout": (_billing, "TestHolds.test_a_hold_ends_by_itself"),
    "lots burn in their order": (_lots, "TestOrder.test_priority_then_expiry_then_age"),
    "thousands of lots cost what a page does": (
        test_credit_lot_pages,
        "test_an_operation_reads_no_more_lots_than_it_can_spend",
    ),
    "usage per user and period": (
        test_usage,
        "TestCredits.test_rows_are_the_sums_of_the_entries_of_each_period_of_a_place",
    ),
    "export of one user's data": (_personal, "test_all_that_is_kept_is_handed_over"),
    "erasure that keeps the books": (_personal, "test_what_is_personal_is_erased_and_the_books_hold"),
    "which waits for what is under way": (
        test_erasure_refusals,
        "TestInvoicesAndPackages.test_an_open_invoice_refuses_until_it_is_granted",
    ),
}

RENEWALS_AND_PACKAGES: Final[dict[str, Proof]] = {
    "eligibility, its reason and the next date": (
        _renewals,
        "TestOneUser.test_gift_grants_100_once_a_period",
    ),
    "each tier grants its credits": (_renewals, "TestOneUser.test_each_tier_grants_its_credits"),
    "a renewal adds, as monthly_reset": (
        _renewals,
        "TestOneUser.test_a_renewal_adds_an_entry_monthly_reset",
    ),
    "or resets": (_renewals, "TestTerms.test_a_reset_sets_the_balance"),
    "a rollover cap": (_renewals, "TestTerms.test_a_cap_bounds_what_is_carried_over"),
    "anchored calendar months": (_renewals, "TestTerms.test_months_keep_the_day_of_their_anchor"),
    "Gift needs the channel": (_renewals, "TestChannel.test_gift_needs_the_channel"),
    "whose answer is cached 600 s": (_renewals, "TestChannel.test_answers_are_cached_600_seconds"),
    "and whose error means not now": (_renewals, "TestChannel.test_its_error_means_not_now"),
    "a run by tier and limit": (_renewals, "TestAllUsers.test_a_tier_and_a_limit_narrow_it"),
    "a dry run": (_renewals, "TestAllUsers.test_a_dry_run_writes_nothing"),
    "a run that goes on after errors": (
        _renewals,
        "TestAllUsers.test_errors_are_listed_and_the_others_renewed",
    ),
    "or ends at the first": (_renewals, "TestAllUsers.test_without_going_on_the_first_error_ends_it"),
    "users due for renewal": (_renewals, "TestAllUsers.test_due_users_are_streamed_in_pages"),
    "daily at two": (test_scheduling, "test_it_is_daily_and_one_at_a_time"),
    "two workers renew once": (_renewals, "TestManyAtOnce.test_two_workers_renew_each_user_once"),
    "a killed one too": (
        test_renewing_processes,
        "test_a_killed_worker_beside_another_credits_each_user_once",
    ),
    "a renewal is told if it was committed": (
        test_credit_telling,
        "test_a_renewal_that_dies_is_told_of_if_it_was_committed",
    ),
    "missed periods are caught up": (_renewals, "TestOutage.test_each_missed_period_is_caught_up"),
    "a subscription is begun once": (
        _renewals,
        "TestSubscriptions.test_it_sets_the_tier_and_grants_once",
    ),
    "on expiry the tier is Gift": (
        _renewals,
        "TestSubscriptions.test_on_expiry_the_tier_becomes_gift",
    ),
    "an expired tier does not renew": (
        _renewals,
        "TestSubscriptions.test_a_paid_tier_past_its_expiry_does_not_renew",
    ),
    "credits come with a final payment": (_packages, "test_credits_arrive_with_finality"),
    "once, after an outage too": (
        _packages,
        "test_credits_missed_in_an_outage_are_granted_later_and_once",
    ),
    "the purchase limit applies": (_packages, "test_purchase_limits_bind"),
    "payments from outside are recognised": (
        _invoices,
        "TestWhatArrives.test_a_payment_with_the_reference_key_is_granted_once",
    ),
    "once, whoever is killed": (test_recognition, "test_credits_arrive_once_whoever_is_killed"),
}


@pytest.mark.parametrize(
    "behaviours",
    [ACCOUNTING, LEDGER_AND_BILLING, RENEWALS_AND_PACKAGES],
    ids=["accounting", "ledger and billing", "renewals and packages"],
)
def test_each_behaviour_has_its_test(behaviours: dict[str, Proof]) -> None:
    assert_each_is_proven(behaviours)
