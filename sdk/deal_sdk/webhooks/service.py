"""`deal.webhooks`: endpoints added, changed and removed, and what became of their deliveries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.clock import Clock
from deal_sdk.errors import InvalidInputError, WebhookNotFoundError
from deal_sdk.records import Database, Page
from deal_sdk.records.inputs import check_choice, check_limit, check_text, optional_text, parse_uuid
from deal_sdk.records.paging import Keyset, parse_row_id
from deal_sdk.records.webhook_tables import (
    DELIVERY_STATES,
    EVENT_TYPE_LENGTH,
    SUBJECT_LENGTH,
    webhook_deliveries,
    webhook_endpoints,
    webhook_events,
)
from deal_sdk.webhooks.channels import check_endpoint
from deal_sdk.webhooks.deliveries import WebhookDelivery, bury
from deal_sdk.webhooks.endpoints import (
    MAX_ENDPOINTS,
    EndpointState,
    NewEndpoint,
    WebhookEndpoint,
    check_patterns,
)
from deal_sdk.webhooks.outbox import Outbox, endpoints_changed
from deal_sdk.webhooks.secrets import SigningSecrets, check_overlap, check_secret, make_secret

DEFAULT_OVERLAP_SECONDS: Final = 86_400.0
MAX_DESCRIPTION_LENGTH: Final = 255
MAX_REASON_LENGTH: Final = 255
_endpoint: Final = webhook_endpoints.c
_delivery: Final = webhook_deliveries.c
_NEWEST_FIRST: Final = Keyset("webhook_deliveries", (_delivery.id,), (parse_row_id,), descending=True)
_DELIVERIES: Final = (
    sa.select(
        _delivery.id,
        _delivery.event_id,
        webhook_events.c.type.label("event_type"),
        webhook_events.c.subject,
        webhook_events.c.sequence,
        _delivery.endpoint_id,
        _delivery.state,
        _delivery.attempts,
        _delivery.next_attempt_at,
        _delivery.last_status,
        _delivery.last_error,
        _delivery.created_at,
        _delivery.ended_at,
    )
    .select_from(webhook_deliveries)
    .join(webhook_events, webhook_events.c.id == _delivery.event_id)
)


class WebhookService:
    """Keeps the endpoints and shows the deliveries."""

    def __init__(
        self,
        database: Database,
        secrets: SigningSecrets,
        outbox: Outbox,
        *,
        clock: Clock,
        allow_private_networks: bool,
        takes_mail: bool = False,
    ) -> None:
        """Keep the parts; nothing is read yet.

        Args:
            database: holds endpoints and deliveries.
            secrets: encrypts the endpoints' secrets.
            outbox: told at once of what changes here; other processes see it within their poll interval.
            clock: stamps rows.
            allow_private_networks: accept URLs that lead to this machine or its neighbours.
            takes_mail: accept mailto: addresses, because a mail server is set.
        """
        self._database = database
        self._secrets = secrets
        self._outbox = outbox
        self._clock = clock
        self._allow_private_networks = allow_private_networks
        self._takes_mail = takes_mail

    @property
    def outbox(self) -> Outbox:
        """Return where other parts write events, in the transactions that they tell of."""
        return self._outbox

    async def add(
        self,
        url: str,
        events: Iterable[str] = ("*",),
        *,
        secret: str | None = None,
        description: str | None = None,
    ) -> NewEndpoint:
        """Register an endpoint, which is told of what happens from now on.

        Args:
            url: https://; http:// only where the settings allow private networks; `mailto:` and an
                address; or `log:` and info, warning or error.
            events: names of events, with `*` for any characters, such as "payment.*".
            secret: the receiver's, 16 to 255 characters; without one the setting's signs, and where that
                is missing too a secret is made.
            description: up to 255 characters.

        Returns:
            The endpoint and its secret, which is kept encrypted and never shown again.

        Raises:
            InvalidInputError: for a URL, a pattern or a secret that cannot be used.
            KeystoreError: when a secret cannot be encrypted here.
        """
        if secret is None and not self._secrets.has_fallback:
            secret = make_secret()
        now = self._clock.now()
        endpoint = WebhookEndpoint(
            id=uuid4(),
            url=check_endpoint(
                url, allow_private_networks=self._allow_private_networks, takes_mail=self._takes_mail
            ),
            patterns=check_patterns(events),
            description=optional_text("description", description, max_length=MAX_DESCRIPTION_LENGTH),
            state="enabled",
            state_reason=None,
            created_at=now,
            updated_at=now,
        )
        sealed = None if secret is None else await self._secrets.seal(endpoint.id, check_secret(secret))

        async def unit(connection: AsyncConnection) -> None:
            count = sa.select(sa.func.count()).where(_endpoint.state != "removed")
            if (await connection.scalar(count) or 0) >= MAX_ENDPOINTS:
                raise InvalidInputError(f"there are {MAX_ENDPOINTS} endpoints already", field="url")
            await connection.execute(webhook_endpoints.insert(), [_row(endpoint)])
            if sealed is not None:
                await self._secrets.add(connection, endpoint.id, sealed)
            await endpoints_changed(self._database, connection)

        await self._database.run(unit)
        await self._outbox.refresh()
        return NewEndpoint(endpoint, secret)

    async def list(self) -> Sequence[WebhookEndpoint]:
        """Return every endpoint that was not removed, oldest first."""
        query = sa.select(webhook_endpoints).where(_endpoint.state != "removed")
        async with self._database.reading() as connection:
            rows = await connection.execute(query.order_by(_endpoint.created_at, _endpoint.id))
            return [_endpoint_of(row) for row in rows]

    async def get(self, endpoint_id: UUID | str) -> WebhookEndpoint:
        """Return an endpoint.

        Raises:
            WebhookNotFoundError: when there is none, or it was removed.
        """
        async with self._database.reading() as connection:
            return await _find(connection, _parse_id(endpoint_id))

    async def remove(self, endpoint_id: UUID | str) -> WebhookEndpoint:
        """End an endpoint for good; what was not delivered becomes dead letters.

        Raises:
            WebhookNotFoundError: when there is none, or it was removed already.
        """
        return await self._change(endpoint_id, "removed", None)

    async def disable(self, endpoint_id: UUID | str, reason: str | None = None) -> WebhookEndpoint:
        """Stop telling an endpoint; what it was not told yet waits, and nothing new is kept for it.

        Raises:
            WebhookNotFoundError: when there is none, or it was removed.
        """
        return await self._change(
            endpoint_id, "disabled", optional_text("reason", reason, max_length=MAX_REASON_LENGTH)
        )

    async def enable(self, endpoint_id: UUID | str) -> WebhookEndpoint:
        """Tell an endpoint again, what had waited first.

        Raises:
            WebhookNotFoundError: when there is none, or it was removed.
        """
        return await self._change(endpoint_id, "enabled", None)

    async def rotate_secret(
        self,
        endpoint_id: UUID | str,
        *,
        secret: str | None = None,
        overlap_seconds: float = DEFAULT_OVERLAP_SECONDS,
    ) -> str:
        """Give an endpoint another secret; requests carry signatures by both until the overlap ends.

        Args:
            endpoint_id: which one.
            secret: the new one; made when not given.
            overlap_seconds: how long the old one still signs, 0 to 30 days.

        Returns:
            The new secret, which is never shown again.

        Raises:
            WebhookNotFoundError: when there is no such endpoint.
            InvalidInputError: for a secret or an overlap that cannot be used.
        """
        found_id = _parse_id(endpoint_id)
        new = make_secret() if secret is None else check_secret(secret)
        overlap = check_overlap(overlap_seconds)
        sealed = await self._secrets.seal(found_id, new)

        async def unit(connection: AsyncConnection) -> None:
            await _find(connection, found_id)
            await self._secrets.expire(connection, found_id, overlap_seconds=overlap)
            await self._secrets.add(connection, found_id, sealed)
            await endpoints_changed(self._database, connection)

        await self._database.run(unit)
        await self._outbox.refresh()
        return new

    async def deliveries(
        self,
        *,
        endpoint_id: UUID | str | None = None,
        state: str | None = None,
        event_type: str | None = None,
        subject: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[WebhookDelivery]:
        """Return deliveries, newest first; the dead letters are those with the state "dead".

        Args:
            endpoint_id: to one endpoint, removed ones included.
            state: "pending", "delivered" or "dead".
            event_type: of one event's name.
            subject: about one payment.
            limit: 1 to 1000.
            cursor: from the page before, with the same filters.

        Raises:
            InvalidInputError: for a filter that cannot be one.
        """
        conditions: list[sa.ColumnElement[bool]] = []
        if endpoint_id is not None:
            conditions.append(_delivery.endpoint_id == _parse_id(endpoint_id))
        if state is not None:
            conditions.append(_delivery.state == check_choice("state", state, DELIVERY_STATES))
        if event_type is not None:
            wanted = check_text("event_type", event_type, max_length=EVENT_TYPE_LENGTH)
            conditions.append(webhook_events.c.type == wanted)
        if subject is not None:
            about = check_text("subject", str(subject), max_length=SUBJECT_LENGTH)
            conditions.append(webhook_events.c.subject == about)
        if cursor is not None:
            conditions.append(_NEWEST_FIRST.after(cursor))
        query = _DELIVERIES.where(*conditions).order_by(*_NEWEST_FIRST.order_by())
        async with self._database.reading() as connection:
            rows = await connection.execute(query.limit(check_limit(limit) + 1))
            found = [WebhookDelivery(**row) for row in rows.mappings()]
        return _NEWEST_FIRST.page(found, limit, lambda delivery: (delivery.id,))

    async def replay(self, delivery_id: int | None = None, *, endpoint_id: UUID | str | None = None) -> int:
        """Deliver again: one delivery, whatever became of it, or all dead letters, or those of one endpoint.

        The event keeps its id, and the count of attempts begins anew.

        Args:
            delivery_id: one of `deliveries`.
            endpoint_id: with it, and without a delivery, only this endpoint's dead letters.

        Returns:
            How many will be delivered again.

        Raises:
            WebhookNotFoundError: when there is no such delivery or endpoint, or the endpoint was removed.
        """
        live = sa.select(_endpoint.id).where(_endpoint.state != "removed")
        conditions: list[sa.ColumnElement[bool]] = [_delivery.endpoint_id.in_(live)]
        if delivery_id is not None:
            conditions += [_delivery.id == _parse_delivery_id(delivery_id), _delivery.state != "pending"]
        else:
            conditions.append(_delivery.state == "dead")
        found_id = None if endpoint_id is None else _parse_id(endpoint_id)
        if found_id is not None:
            conditions.append(_delivery.endpoint_id == found_id)
        now = self._clock.now()
        fresh: dict[str, Any] = {"state": "pending", "attempts": 0, "next_attempt_at": now}
        # Its age counts from now, or it would be too old at once.
        fresh |= {"lease": None, "ended_at": None, "created_at": now}

        async def unit(connection: AsyncConnection) -> int:
            if found_id is not None:
                await _find(connection, found_id)
            update = webhook_deliveries.update().where(*conditions).values(fresh)
            return int((await connection.execute(update)).rowcount)

        count = await self._database.run(unit)
        if count == 0 and delivery_id is not None:
            raise WebhookNotFoundError(
                "no such delivery, or it waits already, or its endpoint was removed", delivery_id=delivery_id
            )
        self._outbox.committed()
        return count

    async def _change(
        self, endpoint_id: UUID | str, state: EndpointState, reason: str | None
    ) -> WebhookEndpoint:
        found_id = _parse_id(endpoint_id)
        now = self._clock.now()
        update = webhook_endpoints.update().where(_endpoint.id == found_id, _endpoint.state != "removed")

        async def unit(connection: AsyncConnection) -> WebhookEndpoint:
            values = update.values(state=state, state_reason=reason, updated_at=now)
            row = (await connection.execute(values.returning(webhook_endpoints))).one_or_none()
            if row is None:
                raise _not_found(found_id)
            if state == "removed":
                await bury(connection, _delivery.endpoint_id == found_id, "endpoint removed", now)
            await endpoints_changed(self._database, connection)
            return _endpoint_of(row)

        changed = await self._database.run(unit)
        await self._outbox.refresh()
        self._outbox.committed()
        return changed


async def _find(connection: AsyncConnection, endpoint_id: UUID) -> WebhookEndpoint:
    query = sa.select(webhook_endpoints).where(_endpoint.id == endpoint_id, _endpoint.state != "removed")
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise _not_found(endpoint_id)
    return _endpoint_of(row)


def _not_found(endpoint_id: UUID) -> WebhookNotFoundError:
    return WebhookNotFoundError("there is no such webhook endpoint", endpoint_id=str(endpoint_id))


def _parse_id(endpoint_id: UUID | str) -> UUID:
    return parse_uuid("webhook endpoint", endpoint_id)


def _parse_delivery_id(delivery_id: int) -> int:
    if isinstance(delivery_id, bool) or not isinstance(delivery_id, int) or not 0 < delivery_id < 2**63:
        raise InvalidInputError("a delivery's id is a positive number", value=repr(delivery_id)[:64])
    return delivery_id


def _row(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "patterns": list(endpoint.patterns),
        "description": endpoint.description,
        "state": endpoint.state,
        "created_at": endpoint.created_at,
        "updated_at": endpoint.updated_at,
    }


def _endpoint_of(row: sa.Row[Any]) -> WebhookEndpoint:
    return WebhookEndpoint(
        id=row.id,
        url=row.url,
        patterns=tuple(row.patterns),
        description=row.description,
        state=row.state,
        state_reason=row.state_reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
