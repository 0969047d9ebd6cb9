"""The rules that SQL alone can prove, each a query for the rows that break it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from deal_sdk.payments.invoice_invariants import (
    invoices_are_paid_by_deposits,
    invoices_count_their_payments,
    invoices_grant_what_was_bought,
)
from deal_sdk.records.accrual_tables import service_fee_accruals, service_fee_settlements
from deal_sdk.records.credit_tables import token_operations
from deal_sdk.records.invariants import BrokenRows, broken
from deal_sdk.records.package_tables import credit_package_grants, credit_packages
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.tables import (
    ENDED_ATTEMPT_STATUSES,
    LIVE_ATTEMPT_STATUSES,
    balance_reservations,
    payment_attempts,
    prepared_transactions,
    token_balance_history,
    token_rewards,
    token_transactions,
    token_wallets,
)

_payment = token_transactions.c
_attempt = payment_attempts.c
_prepared = prepared_transactions.c
_reservation = balance_reservations.c
_purchase = token_purchases.c
_reward = token_rewards.c
_wallet = token_wallets.c
_history = token_balance_history.c
_accrual = service_fee_accruals.c
_settlement = service_fee_settlements.c
_package_grant = credit_package_grants.c

_OPEN: Final = ("pending", "confirmed")
_ENDED_WITHOUT_PAYING: Final = ("failed", "expired")
_ANY_ATTEMPT: Final = LIVE_ATTEMPT_STATUSES + ENDED_ATTEMPT_STATUSES
_OURS: Final = _payment.instruction.is_not(None)


def _attempts(statuses: tuple[str, ...]) -> sa.Exists:
    return (
        sa.select(_attempt.id)
        .where(_attempt.payment_id == _payment.id, _attempt.status.in_(statuses))
        .exists()
    )


def _finalized_with_proof() -> BrokenRows:
    proof = (
        sa.select(_attempt.id)
        .where(_attempt.payment_id == _payment.id, _attempt.status == "finalized")
        .where(_attempt.signature == _payment.signature)
        .exists()
    )
    return broken(
        "token_transactions", _payment.id, "finalized without a finalized attempt of its signature"
    ).where(_OURS, _payment.status == "finalized", sa.or_(~proof, _payment.slot.is_(None)))


def _failed_with_evidence() -> BrokenRows:
    return broken("token_transactions", _payment.id, "failed or expired without evidence").where(
        _payment.status.in_(_ENDED_WITHOUT_PAYING), _payment.evidence.is_(None)
    )


def _ended_without_live_attempt() -> BrokenRows:
    return broken("token_transactions", _payment.id, "ended while an attempt may still land").where(
        _payment.status.not_in(_OPEN), _attempts(LIVE_ATTEMPT_STATUSES)
    )


def _open_not_ended() -> BrokenRows:
    return broken("token_transactions", _payment.id, "open although an attempt was finalized").where(
        _payment.status.in_(_OPEN), _attempts(("finalized",))
    )


def _prepared_follow() -> BrokenRows:
    problem = sa.literal("is ") + _prepared.status + " although its payment is " + _payment.status
    return (
        broken("prepared_transactions", _prepared.id, problem)
        .join_from(prepared_transactions, token_transactions, _payment.id == _prepared.payment_id)
        .where(
            sa.or_(
                sa.and_(_prepared.status == "open", _payment.status != "pending"),
                sa.and_(_prepared.status == "signed", ~_attempts(_ANY_ATTEMPT)),
                sa.and_(_prepared.status == "expired", _prepared.evidence.is_(None)),
            )
        )
    )


def _one_live_attempt() -> BrokenRows:
    return (
        broken("payment_attempts", sa.func.max(_attempt.id), "a second live attempt of its payment")
        .where(_attempt.status.in_(LIVE_ATTEMPT_STATUSES))
        .group_by(_attempt.payment_id)
        .having(sa.func.count() > 1)
    )


def _ended_attempts_with_evidence() -> BrokenRows:
    return broken("payment_attempts", _attempt.id, "ended without evidence").where(
        _attempt.status.in_(ENDED_ATTEMPT_STATUSES), _attempt.evidence.is_(None)
    )


def _reservations_follow() -> BrokenRows:
    wanted = sa.case(
        (_payment.status == "pending", "live"),
        (_payment.status.in_(("confirmed", "finalized")), "landed"),
        else_="released",
    )
    problem = sa.literal("is ") + _reservation.state + " although its payment is " + _payment.status
    return (
        broken("balance_reservations", _reservation.payment_id, problem)
        .join_from(balance_reservations, token_transactions, _payment.id == _reservation.payment_id)
        .where(_reservation.state != wanted)
    )


def _reservations_amount() -> BrokenRows:
    return (
        broken("balance_reservations", _reservation.payment_id, "holds another amount than its payment")
        .join_from(balance_reservations, token_transactions, _payment.id == _reservation.payment_id)
        .where(_reservation.amount != _payment.amount)
    )


def _reservations_name_delegates() -> BrokenRows:
    kind, authority, allowance = (
        sa.type_coerce(_payment.instruction[name].as_string(), sa.String)
        for name in ("kind", "authority", "allowance")
    )
    # A charge draws on its allowance's approval; the vault's owner is an address without a key.
    owner = _payment.from_address
    is_of_vault = kind.in_(("vault_reward", "vault_withdrawal"))
    mover = sa.case((kind == "charge", allowance), (is_of_vault, owner), else_=authority)
    return (
        broken("balance_reservations", _reservation.payment_id, "names another delegate than its payment")
        .join_from(balance_reservations, token_transactions, _payment.id == _reservation.payment_id)
        .where(_OURS, sa.func.coalesce(_reservation.delegate, owner) != mover)
    )


def _debits_reserved() -> BrokenRows:
    reserved = sa.select(_reservation.payment_id).where(_reservation.payment_id == _payment.id).exists()
    return broken("token_transactions", _payment.id, "debits a wallet without a reservation").where(
        _OURS, _payment.from_address.is_not(None), ~reserved
    )


def _payments_in_history() -> BrokenRows:
    """Compare each history row with the sum of our payments in its transaction."""
    source = sa.type_coerce(_payment.instruction["source"].as_string(), sa.String)
    destination = sa.type_coerce(_payment.instruction["destination"].as_string(), sa.String)
    moved = sa.func.sum(
        sa.case((destination == _history.token_account, _payment.amount), else_=-_payment.amount)
    )
    return (
        broken("token_balance_history", _history.id, "its change is not what its payments moved")
        .join_from(
            token_balance_history,
            token_transactions,
            sa.and_(
                _payment.signature == _history.signature,
                _payment.status == "finalized",
                _OURS,
                sa.or_(source == _history.token_account, destination == _history.token_account),
            ),
        )
        .group_by(_history.id, _history.change)
        .having(moved != sa.cast(_history.change, sa.BigInteger))
    )


def _purchases_follow() -> BrokenRows:
    wanted = sa.case(
        (_payment.status.in_(_OPEN), "reserved"),
        (_payment.status == "finalized", "counted"),
        else_="cancelled",
    )
    return (
        broken("token_purchases", _purchase.reservation_id, "its state is not what its payment says")
        .join_from(token_purchases, token_transactions, _payment.id == _purchase.payment_id)
        .where(_purchase.state != wanted)
    )


def _rewards_recorded() -> BrokenRows:
    matching = (
        sa.select(_reward.payment_id)
        .where(_reward.payment_id == _payment.id, _reward.amount == _payment.amount)
        .exists()
    )
    return broken("token_transactions", _payment.id, "a reward without its row of the same amount").where(
        _OURS, _payment.type == "reward", ~matching
    )


def _keys_have_fingerprints() -> BrokenRows:
    return broken("token_transactions", _payment.id, "has a key and no fingerprint of its input").where(
        _OURS, _payment.idempotency_key.is_not(None), _payment.fingerprint.is_(None)
    )


def _refunds_within() -> BrokenRows:
    refund = token_transactions.alias("refund")
    return (
        broken("token_transactions", _payment.id, "more is refunded than was paid")
        .join_from(
            token_transactions,
            refund,
            sa.and_(refund.c.refund_of == _payment.id, refund.c.status.not_in(_ENDED_WITHOUT_PAYING)),
        )
        .group_by(_payment.id, _payment.amount)
        .having(sa.func.sum(refund.c.amount) > _payment.amount)
    )


def _wallets_consistent() -> BrokenRows:
    return broken("token_wallets", _wallet.id, "inactive and primary, or without its time").where(
        _wallet.status == "inactive",
        sa.or_(_wallet.is_primary, _wallet.disconnected_at.is_(None)),
    )


def _active_addresses_unique() -> BrokenRows:
    return (
        broken("token_wallets", _wallet.address, "active more than once")
        .where(_wallet.status == "active")
        .group_by(_wallet.address)
        .having(sa.func.count() > 1)
    )


def _settlements_pay_their_fees() -> BrokenRows:
    mine = _accrual.payment_id == _settlement.payment_id
    fees = sa.select(sa.func.count()).where(mine).scalar_subquery()
    amount = sa.select(sa.func.coalesce(sa.func.sum(_accrual.amount), 0)).where(mine).scalar_subquery()
    return (
        broken("service_fee_settlements", _settlement.payment_id, "does not pay the fees that it took on")
        .join_from(service_fee_settlements, token_transactions, _payment.id == _settlement.payment_id)
        .where(_payment.status.not_in(_ENDED_WITHOUT_PAYING))
        .where(sa.or_(fees != _settlement.fees, amount != _payment.amount))
    )


def _unpaid_fees_given_back() -> BrokenRows:
    return (
        broken("service_fee_accruals", _accrual.id, "is settled by a payment that did not happen")
        .join_from(service_fee_accruals, token_transactions, _payment.id == _accrual.payment_id)
        .where(_payment.status.in_(_ENDED_WITHOUT_PAYING))
    )


def _fees_settled_by_their_owner() -> BrokenRows:
    return (
        broken("service_fee_accruals", _accrual.id, "is settled out of another wallet")
        .join_from(
            service_fee_accruals,
            service_fee_settlements,
            _settlement.payment_id == _accrual.payment_id,
        )
        .join(token_transactions, _payment.id == _settlement.payment_id)
        .where(
            sa.or_(
                _settlement.token_account != _accrual.token_account,
                _payment.from_user_id.is_distinct_from(_accrual.user_id),
            )
        )
    )


def _packages_paid_for() -> BrokenRows:
    """Credits were granted for final payments alone, as many as the package has."""
    return (
        broken("credit_package_grants", _package_grant.payment_id, "granted without its payment")
        .join_from(
            credit_package_grants, token_transactions, _payment.id == _package_grant.payment_id, isouter=True
        )
        .join(credit_packages, credit_packages.c.id == _package_grant.package_id, isouter=True)
        .join(token_operations, token_operations.c.id == _package_grant.entry_id, isouter=True)
        .where(
            sa.or_(
                _payment.status != "finalized",
                _payment.amount != credit_packages.c.price,
                token_operations.c.amount != credit_packages.c.credits,
                token_operations.c.user_id != _payment.from_user_id,
            )
        )
    )


SQL_INVARIANTS: Final[Mapping[str, BrokenRows]] = {
    "finalized_payments_have_proof": _finalized_with_proof(),
    "failed_payments_have_evidence": _failed_with_evidence(),
    "ended_payments_have_no_live_attempt": _ended_without_live_attempt(),
    "open_payments_have_no_finalized_attempt": _open_not_ended(),
    "prepared_transactions_follow_their_payments": _prepared_follow(),
    "one_live_attempt_per_payment": _one_live_attempt(),
    "ended_attempts_have_evidence": _ended_attempts_with_evidence(),
    "reservations_follow_their_payments": _reservations_follow(),
    "reservations_hold_the_amount": _reservations_amount(),
    "reservations_name_their_delegates": _reservations_name_delegates(),
    "debits_are_reserved": _debits_reserved(),
    "history_is_what_payments_moved": _payments_in_history(),
    "purchases_follow_their_payments": _purchases_follow(),
    "rewards_are_recorded": _rewards_recorded(),
    "packages_are_paid_for": _packages_paid_for(),
    "invoices_count_their_payments": invoices_count_their_payments(),
    "invoices_are_paid_by_deposits": invoices_are_paid_by_deposits(),
    "invoices_grant_what_was_bought": invoices_grant_what_was_bought(),
    "keys_have_fingerprints": _keys_have_fingerprints(),
    "refunds_are_within_their_payments": _refunds_within(),
    "settlements_pay_their_fees": _settlements_pay_their_fees(),
    "unpaid_fees_are_given_back": _unpaid_fees_given_back(),
    "fees_are_settled_by_their_owner": _fees_settled_by_their_owner(),
    "wallets_are_consistent": _wallets_consistent(),
    "active_addresses_are_unique": _active_addresses_unique(),
}
