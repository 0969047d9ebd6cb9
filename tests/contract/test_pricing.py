"""What a service costs: active rows, then defaults, never nothing; the same on every database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from deal_sdk.accounting import DEFAULT_PRICES, Price, PricingService
from deal_sdk.clock import ManualClock
from deal_sdk.errors import InvalidAmountError, InvalidInputError, UnknownServiceTypeError
from deal_sdk.records import Database

HOUR = timedelta(hours=1)


@pytest.fixture
def database_url(lasting_database_url: str) -> str:
    """SQLite and PostgreSQL; an ephemeral database is SQLite in a temporary file."""
    return lasting_database_url


@pytest.fixture
def pricing(database: Database, manual_clock: ManualClock) -> PricingService:
    return PricingService(database, manual_clock)


class TestWhichPriceHolds:
    async def test_the_defaults_hold_without_a_row(self, pricing: PricingService) -> None:
        wanted = {
            "search": 10_000_000,
            "goal": 100_000_000,
            "analysis": 50_000_000,
            "notification": 5_000_000,
        }
        assert {name: await pricing.get_service_fee(name) for name in wanted} == wanted
        assert dict(DEFAULT_PRICES) == wanted
        assert await pricing.list_prices() == []

    async def test_a_row_wins_over_its_default_from_its_first_moment_to_its_last(
        self, pricing: PricingService, manual_clock: ManualClock
    ) -> None:
        start = manual_clock.now()
        await pricing.set_price("search", "0.2", valid_from=start + HOUR, valid_to=start + 2 * HOUR)
        seen = []
        for seconds in (0, 3_599, 1, 3_599, 1):
            await manual_clock.advance(seconds)
            seen.append(await pricing.get_service_fee("search"))
        # Before, one second before, at valid_from, one second before valid_to, at valid_to.
        assert seen == [10_000_000, 10_000_000, 20_000_000, 20_000_000, 10_000_000]

    async def test_the_latest_valid_from_wins_where_rows_overlap(
        self, pricing: PricingService, manual_clock: ManualClock
    ) -> None:
        now = manual_clock.now()
        await pricing.set_price("search", "3", valid_from=now - HOUR)
        await pricing.set_price("search", "2", valid_from=now - 2 * HOUR)
        await pricing.set_price("search", "9", valid_from=now + HOUR)
        await pricing.set_price("search", "8", valid_from=now - HOUR / 2, valid_to=now - HOUR / 4)
        assert await pricing.get_service_fee("search") == 300_000_000

    async def test_an_open_row_holds_again_when_a_later_one_ends(
        self, pricing: PricingService, manual_clock: ManualClock
    ) -> None:
        now = manual_clock.now()
        await pricing.set_price("search", "3", valid_from=now - 2 * HOUR)
        await pricing.set_price("search", "1", valid_from=now, valid_to=now + HOUR)
        assert await pricing.get_service_fee("search") == 100_000_000
        await manual_clock.advance(3_600)
        assert await pricing.get_service_fee("search") == 300_000_000

    async def test_of_equal_beginnings_the_one_written_last_wins(
        self, pricing: PricingService, manual_clock: ManualClock
    ) -> None:
        for price in ("3", "1", "2"):
            await pricing.set_price("search", price, valid_from=manual_clock.now())
        assert await pricing.get_service_fee("search") == 200_000_000

    async def test_services_do_not_share_prices(self, pricing: PricingService) -> None:
        await pricing.set_price("teleport", "7")
        assert await pricing.get_service_fee("teleport") == 700_000_000
        assert await pricing.get_service_fee("search") == 10_000_000
        with pytest.raises(UnknownServiceTypeError):
            await pricing.get_service_fee("Teleport")

    async def test_zones_are_the_same_moment(
        self, pricing: PricingService, manual_clock: ManualClock
    ) -> None:
        east = timezone(timedelta(hours=9))
        await pricing.set_price("search", "2", valid_from=(manual_clock.now() + HOUR).astimezone(east))
        assert await pricing.get_service_fee("search") == 10_000_000
        await manual_clock.advance(3_600)
        assert await pricing.get_service_fee("search") == 200_000_000
        (row,) = await pricing.list_prices()
        assert row.valid_from == datetime(2026, 1, 1, 1, tzinfo=UTC)

    async def test_an_unknown_service_is_never_free(self, pricing: PricingService) -> None:
        with pytest.raises(UnknownServiceTypeError) as caught:
            await pricing.get_service_fee("teleport")
        assert caught.value.facts == {"service_type": "teleport"}

    async def test_a_service_whose_only_row_is_over_has_no_price(
        self, pricing: PricingService, manual_clock: ManualClock
    ) -> None:
        await pricing.set_price("teleport", "7", valid_to=manual_clock.now() + HOUR)
        await manual_clock.advance(3_600)
        with pytest.raises(UnknownServiceTypeError):
            await pricing.get_service_fee("teleport")

    async def test_other_defaults_replace_these(self, database: Database, manual_clock: ManualClock) -> None:
        pricing = PricingService(database, manual_clock, defaults={})
        with pytest.raises(UnknownServiceTypeError):
            await pricing.get_service_fee("search")


class TestSettingPrices:
    async def test_every_row_stays(self, pricing: PricingService, manual_clock: ManualClock) -> None:
        now = manual_clock.now()
        second = await pricing.set_price("search", Decimal("0.00000001"), valid_from=now, valid_to=now + HOUR)
        first = await pricing.set_price("search", "92233720368.54775807", valid_from=now - HOUR)
        other = await pricing.set_price("analysis", "1")
        assert second == Price("search", 1, now, now + HOUR)  # type: ignore[arg-type]
        assert await pricing.list_prices() == [other, first, second]

    async def test_bad_prices(self, pricing: PricingService) -> None:
        for price in ("0", "-1", "1.123456789", "92233720368.54775808", 1, 0.5, None, True, "free"):
            bad: Any = price
            with pytest.raises(InvalidAmountError):
                await pricing.set_price("search", bad)
        assert await pricing.list_prices() == []

    async def test_bad_periods(self, pricing: PricingService, manual_clock: ManualClock) -> None:
        now = manual_clock.now()
        periods: list[dict[str, Any]] = [
            {"valid_from": now.replace(tzinfo=None)},
            {"valid_to": (now + HOUR).replace(tzinfo=None)},
            {"valid_to": now},
            {"valid_to": now - HOUR},
            {"valid_from": now + HOUR, "valid_to": now + HOUR},
            {"valid_from": "2026-01-01T00:00:00Z"},
            {"valid_to": 5},
        ]
        for period in periods:
            with pytest.raises(InvalidInputError):
                await pricing.set_price("search", "1", **period)
        assert await pricing.list_prices() == []

    async def test_bad_service_types(self, pricing: PricingService) -> None:
        for name in ("", "x" * 65, None, 5, b"search", "nul\x00", "half\ud800"):
            bad: Any = name
            with pytest.raises(UnknownServiceTypeError):
                await pricing.get_service_fee(bad)
            with pytest.raises(UnknownServiceTypeError):
                await pricing.set_price(bad, "1")

    async def test_long_and_foreign_names_are_names(self, pricing: PricingService) -> None:
        for name in ("x" * 64, "поиск 🔎", "a'; DROP TABLE users; --"):
            await pricing.set_price(name, "2")
            assert await pricing.get_service_fee(name) == 200_000_000
