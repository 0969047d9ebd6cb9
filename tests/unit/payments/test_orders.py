"""Fingerprints say what a key stands for; keys and reasons stay within what every database stores."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal_sdk.errors import InvalidInputError
from deal_sdk.limits import CalendarWindow
from deal_sdk.limits.purchase_listings import stored_terms
from deal_sdk.payments import Plan, PurchaseLimit
from deal_sdk.payments.orders import check_reason
from deal_sdk.records.fingerprint import fingerprint_of
from deal_sdk.records.inputs import check_idempotency_key

USER = UUID("00000000-0000-4000-8000-000000000001")

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.uuids()
inputs = st.dictionaries(st.text(min_size=1, max_size=8), scalars, max_size=6)


class TestFingerprints:
    def test_a_fingerprint_never_changes_between_releases(self) -> None:
        # Stored rows are compared with it, so another way of hashing would refuse every replay.
        written = f'{{"amount":150000000,"reason":null,"to":"{USER}","type":"transfer"}}'
        found = fingerprint_of(type="transfer", to=USER, amount=150_000_000, reason=None)
        assert found == hashlib.sha256(written.encode()).hexdigest()

    @given(values=inputs, seed=st.randoms())
    def test_the_order_of_inputs_does_not_matter(self, values: dict[str, Any], seed: Any) -> None:
        items = list(values.items())
        seed.shuffle(items)
        assert fingerprint_of(**dict(items)) == fingerprint_of(**values)

    @given(values=inputs, name=st.text(min_size=1, max_size=8), other=scalars)
    def test_another_input_is_another_fingerprint(
        self, values: dict[str, Any], name: str, other: Any
    ) -> None:
        changed = {**values, name: other}
        same = name in values and values[name] == other and type(values[name]) is type(other)
        text_of_uuid = name in values and str(values[name]) == str(other)
        if same:
            assert fingerprint_of(**changed) == fingerprint_of(**values)
        elif not text_of_uuid:
            assert fingerprint_of(**changed) != fingerprint_of(**values)

    def test_a_users_id_means_the_same_as_uuid_and_as_text(self) -> None:
        assert fingerprint_of(user=USER) == fingerprint_of(user=str(USER))

    def test_a_purchase_limit_is_part_of_the_input(self) -> None:
        prints = {
            fingerprint_of(limit=limit)
            for limit in (
                None,
                PurchaseLimit("Mint", 1),
                PurchaseLimit("Mint", 2),
                PurchaseLimit("Mint", 1, "subscription"),
            )
        }
        assert len(prints) == 4

    @pytest.mark.parametrize("bad", ["half\ud800", 2**64, {"nested": "\udfff"}])
    def test_what_cannot_be_recorded_is_refused(self, bad: Any) -> None:
        with pytest.raises(InvalidInputError):
            fingerprint_of(to=bad)


class TestTermsOfPurchases:
    def test_rows_remember_what_the_rules_are_made_of(self) -> None:
        day = CalendarWindow("day", "Europe/Berlin")
        remembered = {
            limit: stored_terms(limit.terms(5))
            for limit in (
                PurchaseLimit("Mint", 3, "subscription"),
                PurchaseLimit("Mint", 3, period_seconds=60, max_amount_base_units=9),
                # The rules go by the calendar where both are given, so the row must be no refusal.
                PurchaseLimit("Mint", 3, period_seconds=60, calendar=day),
                PurchaseLimit("Mint", 3, period_seconds=0),
            )
        }
        assert list(remembered.values()) == [
            None,
            {"period_seconds": 60, "max_amount": 9},
            {"calendar_unit": "day", "time_zone": "Europe/Berlin"},
            None,
        ]


class TestKeysAndReasons:
    @pytest.mark.parametrize("key", [None, "k", "x" * 255, "ключ 🔑", " "])
    def test_keys_that_are_kept_as_they_are(self, key: str | None) -> None:
        assert check_idempotency_key(key) == key

    @pytest.mark.parametrize("key", ["", "x" * 256, "a\x00b", "half\ud800", 5, b"key", True])
    def test_keys_that_are_refused(self, key: Any) -> None:
        with pytest.raises(InvalidInputError):
            check_idempotency_key(key)

    @pytest.mark.parametrize("reason", [None, "", "lunch", "x" * 1_000, "обед\n"])
    def test_reasons_that_are_kept_as_they_are(self, reason: str | None) -> None:
        assert check_reason(reason) == reason

    @pytest.mark.parametrize("reason", ["x" * 1_001, "a\x00b", "half\udfff", 5, b"why"])
    def test_reasons_that_are_refused(self, reason: Any) -> None:
        with pytest.raises(InvalidInputError):
            check_reason(reason)


@pytest.mark.parametrize(
    "plan",
    [
        Plan("transfer", "owner", "from", "to", "recipient"),
        Plan("mint", "authority", None, "to", "recipient"),
        Plan("burn", "owner", "from", None, None),
    ],
)
def test_a_plan_comes_back_from_its_row_as_it_was(plan: Plan) -> None:
    assert Plan.from_json(plan.to_json()) == plan
