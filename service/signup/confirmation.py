"""Confirms an address by its link, or deletes its user, who says that somebody else signed up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import RowMapping, Select, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.engine import Database
from service.database.group_commit import GroupCommit
from service.database.models import USERS
from service.mail.links import Links
from service.observability.metrics import Metrics
from service.outbox.confirmation_emails import ConfirmationEmails
from service.outbox.events import Events
from service.signup.renewals import IS_UNCONFIRMED
from service.signup.users import Users


class LinkUnknown(Exception):
    """The link is not ours, or its user has been erased."""


class LinkExpired(Exception):
    """The address has not been confirmed in time."""


class AlreadyConfirmed(Exception):
    """The address has been confirmed, so whoever has the link can no longer erase its user."""


@dataclass(frozen=True, slots=True)
class LinkState:
    user_id: UUID
    expires_at: datetime
    confirmed_at: datetime | None
    is_expired: bool


class _Click(NamedTuple):
    user_id: UUID
    request_id: str


class Confirmation:
    """Every method raises LinkUnknown and DatabaseUnavailable."""

    def __init__(
        self,
        database: Database,
        *,
        links: Links,
        events: Events | None,
        within: timedelta,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._links = links
        self._events = events
        self._users = Users(database, events)
        self._emails = ConfirmationEmails(database)
        self._within = within
        self._results = metrics.confirmations
        self._clicks: GroupCommit[_Click, LinkState | None] = GroupCommit(self._write)

    async def find(self, token: str) -> LinkState:
        """Raises LinkExpired too."""
        user_id = await self._links.read(token)
        async with self._database.read_only() as connection:
            found = await self._find(connection, [user_id])
        state = self._check_known(found.get(user_id))
        if state.is_expired:
            self._results.labels("expired").inc()
            raise LinkExpired
        return state

    async def confirm(self, token: str, *, request_id: str) -> LinkState:
        """The first time the welcome email and the event are owed as well, in the same transaction; whoever
        asks again gets the same result. Raises LinkExpired, and Overloaded as `GroupCommit.submit` does."""
        state = await self.find(token)
        if state.confirmed_at:
            return state
        return self._check_known(await self._clicks.submit(_Click(state.user_id, request_id)))

    async def deny(self, token: str) -> UUID:
        """Erases the user and returns the id. Raises LinkExpired and AlreadyConfirmed."""
        state = await self.find(token)
        if state.confirmed_at or not await self._users.erase_unconfirmed(state.user_id):
            await self.find(token)  # raises LinkUnknown if somebody else has erased the user
            raise AlreadyConfirmed
        self._results.labels("denied").inc()
        return state.user_id

    async def _write(self, clicks: Sequence[_Click]) -> Sequence[LinkState | None]:
        request_ids = {click.user_id: click.request_id for click in clicks}
        async with self._database.transaction() as connection:
            confirmed = await self._confirm(connection, request_ids)
            found = await self._find(connection, list(request_ids))
        self._results.labels("confirmed").inc(confirmed)
        return [found.get(click.user_id) for click in clicks]

    async def _confirm(self, connection: AsyncConnection, request_ids: Mapping[UUID, str]) -> int:
        """This statement decides who is first, in whichever process. Returns how many users are confirmed."""
        # Locked in one order, as for renewals, so that two replicas cannot deadlock.
        unconfirmed = (
            select(USERS.c.id)
            .where(USERS.c.id.in_(request_ids), IS_UNCONFIRMED)
            .order_by(USERS.c.canonical_email)
            .with_for_update()
            .cte("unconfirmed")
        )
        confirmed = await connection.execute(
            update(USERS)
            .where(USERS.c.id.in_(select(unconfirmed.c.id)), IS_UNCONFIRMED)
            .values(confirmed_at=self._database.clock())
            .returning(USERS.c.id)
        )
        first = {user_id: request_ids[user_id] for user_id in confirmed.scalars()}
        if first:
            await self._emails.enqueue_welcome(connection, first)
            if self._events:
                await self._events.add_confirmed(connection, first)
        return len(first)

    async def _find(self, connection: AsyncConnection, user_ids: Sequence[UUID]) -> dict[UUID, LinkState]:
        rows = await connection.execute(self._select(user_ids))
        return {row["id"]: self._state(row) for row in rows.mappings()}

    def _select(self, user_ids: Sequence[UUID]) -> Select[Any]:
        return select(
            USERS.c.id,
            USERS.c.confirmed_at,
            USERS.c.confirmation_asked_at,
            self._database.clock().label("now"),
        ).where(USERS.c.id.in_(user_ids), USERS.c.confirmation_asked_at.is_not(None))

    def _state(self, row: RowMapping) -> LinkState:
        expires_at = row["confirmation_asked_at"] + self._within
        is_expired = row["confirmed_at"] is None and expires_at <= row["now"]
        return LinkState(row["id"], expires_at, row["confirmed_at"], is_expired)

    def _check_known(self, state: LinkState | None) -> LinkState:
        if state is None:
            self._results.labels("unknown").inc()
            raise LinkUnknown
        return state
