"""What a service costs in DEAL: rows of `token_pricing` by date, and defaults beneath them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

import sqlalchemy as sa

from deal_sdk.amounts import Amount, BaseUnits, parse_amount
from deal_sdk.clock import Clock
from deal_sdk.errors import InvalidInputError, UnknownServiceTypeError
from deal_sdk.records import Database
from deal_sdk.records.inputs import check_text, check_time
from deal_sdk.records.tables import token_pricing

DEFAULT_PRICES: Final[Mapping[str, BaseUnits]] = MappingProxyType(
    {
        "search": parse_amount("0.1"),
        "goal": parse_amount("1.0"),
        "analysis": parse_amount("0.5"),
        "notification": parse_amount("0.05"),
    }
)
MAX_SERVICE_TYPE_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class Price:
    """One row of `token_pricing`."""

    service_type: str
    amount_base_units: BaseUnits
    valid_from: datetime
    valid_to: datetime | None


class PricingService:
    """Answers what a service costs now; a service without a price is an error, never free."""

    def __init__(
        self, database: Database, clock: Clock, *, defaults: Mapping[str, BaseUnits] = DEFAULT_PRICES
    ) -> None:
        """Read prices from a database, with defaults for services that have no row.

        Args:
            database: where `token_pricing` lives.
            clock: says what "now" is.
            defaults: base units by service type.
        """
        self._database = database
        self._clock = clock
        self._defaults = defaults

    async def get_service_fee(self, service_type: str) -> BaseUnits:
        """Return the fee that is in force now, in base units.

        Among the rows with `valid_from` <= now and (`valid_to` null or > now), the latest
        `valid_from` wins, and of two with the same one, the row written last.

        Raises:
            UnknownServiceTypeError: when neither a row nor a default prices the service.
        """
        name = _check_service_type(service_type)
        now = self._clock.now()
        table = token_pricing.c
        query = (
            sa.select(table.price)
            .where(table.service_type == name, table.valid_from <= now)
            .where(sa.or_(table.valid_to.is_(None), table.valid_to > now))
            .order_by(table.valid_from.desc(), table.id.desc())
            .limit(1)
        )
        async with self._database.reading() as connection:
            price: int | None = (await connection.execute(query)).scalar_one_or_none()
        if price is not None:
            return BaseUnits(price)
        if name in self._defaults:
            return self._defaults[name]
        raise UnknownServiceTypeError(f"service type {name!r} has no price", service_type=name)

    async def set_price(
        self,
        service_type: str,
        price: Amount,
        *,
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
    ) -> Price:
        """Add a price from a date on; earlier rows stay, so that past fees can be explained.

        Args:
            service_type: 1 to 64 characters.
            price: whole DEAL as `str` or `Decimal`, greater than zero.
            valid_from: aware time; now by default.
            valid_to: aware time after `valid_from`; open by default.

        Raises:
            InvalidInputError: for a naive time, or a period that ends before it begins.
            InvalidAmountError: for a price that is no amount.
        """
        name = _check_service_type(service_type)
        begin = valid_from or self._clock.now()
        check_time("valid_from", begin)
        if valid_to is not None and check_time("valid_to", valid_to) <= begin:
            raise InvalidInputError("a price period must end after it begins")
        amount = parse_amount(price)
        row = {
            "service_type": name,
            "price": amount,
            "valid_from": begin,
            "valid_to": valid_to,
            "created_at": self._clock.now(),
        }
        async with self._database.transaction() as connection:
            await connection.execute(token_pricing.insert().values(row))
        return Price(name, amount, begin, valid_to)

    async def list_prices(self) -> list[Price]:
        """Return every stored price, by service and date, the defaults not included."""
        table = token_pricing.c
        query = sa.select(table.service_type, table.price, table.valid_from, table.valid_to).order_by(
            table.service_type, table.valid_from, table.id
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return [Price(name, BaseUnits(price), begin, end) for name, price, begin, end in rows]


def _check_service_type(service_type: str) -> str:
    try:
        return check_text("service_type", service_type, max_length=MAX_SERVICE_TYPE_LENGTH)
    except InvalidInputError as error:
        raise UnknownServiceTypeError(error.message) from None
