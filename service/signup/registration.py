"""Stores a user and the email to send, in one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Insert, RowMapping, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.engine import Database
from service.database.group_commit import GroupCommit
from service.database.json_rows import encode_rows, rows_from_json
from service.database.models import USERS, User
from service.database.outbox_kinds import Kind
from service.limits.per_mailbox import MailboxLimit, MailboxLimitExceeded
from service.observability.metrics import Metrics
from service.outbox.repository import Outbox
from service.outbox.row import Email, NewEmail, NewEvent
from service.outbox.sql import enqueue_statement
from service.person.address import Address
from service.runtime.ids import new_id
from service.settings import DuplicatePolicy
from service.signup.renewals import Renewals

UNSENT = "Not sent: too many signups for this mailbox in a short time."


class AddressTaken(Exception):
    """Some spelling of this address has signed up before."""


class KeyReused(Exception):
    """The idempotency key stands for another signup."""


@dataclass(frozen=True, slots=True)
class Signup:
    address: Address
    name: str | None = field(repr=False)
    request_id: str
    locale: str | None = None
    idempotency_key: str | None = None
    # Made before the first try, so that a retry meets its own row and not a stranger's.
    id: UUID = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class RegisteredUser:
    id: UUID
    email: str = field(repr=False)
    name: str | None = field(repr=False)
    created_at: datetime
    claimed: Email | None  # for this process, which is to deliver it
    is_asked: bool = False  # to confirm the address


Result = RegisteredUser | AddressTaken | KeyReused | MailboxLimitExceeded


class Registration:
    """`claims_at_once` returns, for each signup, whether this process will send the email itself.
    `adds_event` is whether each signup also adds the event `user.created`. With `renewals`, the email asks to
    confirm the address, and a repeat sends it again.

    A signup too many for its mailbox is refused. With `DuplicatePolicy.UNIFORM` a refusal would reveal who
    signed up before: the signup is stored, and its email is not sent.
    """

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        mailboxes: MailboxLimit | None,
        policy: DuplicatePolicy,
        claims_at_once: Callable[[], bool],
        adds_event: bool = False,
        renewals: Renewals | None = None,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._adds_event = adds_event
        self._renewals = renewals
        self._outbox = outbox
        self._mailboxes = mailboxes
        self._policy = policy
        self._claims_at_once = claims_at_once
        self._statements = _store_statements(database, asks_to_confirm=renewals is not None)
        self._batcher: GroupCommit[Signup, Result] = GroupCommit(
            self._write,
            sizes=metrics.batch_sizes.labels("signups"),
            writers=1 if database.is_sqlite else 2,  # SQLite has one itself
        )

    async def register(self, signup: Signup) -> RegisteredUser:
        """On disk when it returns.

        Raises AddressTaken, Unconfirmed, KeyReused, MailboxLimitExceeded, and what `GroupCommit.submit`
        raises.
        """
        result = await self._batcher.submit(signup)
        if isinstance(result, RegisteredUser):
            return result
        # With UNIFORM the link has been renewed in the same transaction.
        renews = self._renewals if self._policy is DuplicatePolicy.CONFLICT else None
        if renews and isinstance(result, AddressTaken):
            raise await renews.ask_again(signup.address) or result
        raise result

    async def _write(self, signups: Sequence[Signup]) -> Sequence[Result]:
        limit = self._mailboxes if any(signup.address.untagged for signup in signups) else None
        if self._policy is DuplicatePolicy.UNIFORM:
            return await self._write_uniformly(signups, limit)
        if limit is None:
            async with self._database.single_statement() as connection:
                return await self._register(connection, signups, too_many={})
        async with self._database.transaction() as connection:
            too_many = await limit.find_excess(connection, [signup.address for signup in signups])
            return await self._register(connection, signups, too_many=too_many)

    async def _write_uniformly(
        self, signups: Sequence[Signup], limit: MailboxLimit | None
    ) -> Sequence[Result]:
        """The same statements for all, and for a known address the rows of a new user, deleted before the
        commit. If it wrote nothing, a full disk, a standby that is away or a slow commit would show it."""
        async with self._database.transaction() as connection:
            addresses = [signup.address for signup in signups]
            if self._renewals:
                await self._renewals.lock(connection, addresses)
            too_many = await limit.find_excess(connection, addresses) if limit else {}
            added = await self._store(connection, signups)
            decoys = [_decoy(signup) for signup in signups if signup.id not in added]
            await self._store(connection, decoys)
            if limit:
                unsent = {signup.id for signup in signups if signup.address.canonical in too_many}
                await self._outbox.fail(connection, unsent & set(added), reason=UNSENT)
            await connection.execute(delete(USERS).where(USERS.c.id.in_([decoy.id for decoy in decoys])))
            renewed = await self._renewals.renew(connection, addresses) if self._renewals else {}
        if self._renewals:
            self._renewals.count(renewed)
        return [added.get(signup.id) or AddressTaken() for signup in signups]

    async def _register(
        self, connection: AsyncConnection, signups: Sequence[Signup], *, too_many: Mapping[str, timedelta]
    ) -> Sequence[Result]:
        added = await self._store(
            connection, [signup for signup in signups if signup.address.canonical not in too_many]
        )
        keys = [signup.idempotency_key for signup in signups if signup.id not in added]
        earlier = await self._users_by_key(connection, [key for key in keys if key])
        return [
            added.get(signup.id) or _earlier_registration(signup, earlier) or _refusal(signup, too_many)
            for signup in signups
        ]

    async def _store(
        self, connection: AsyncConnection, signups: Sequence[Signup]
    ) -> Mapping[UUID, RegisteredUser]:
        """Those who are new, by their id."""
        emails = [self._email(signup) for signup in signups]
        owed = [email.row() for email in emails]
        if self._adds_event:
            owed += [NewEvent(user_id=signup.id, request_id=signup.request_id).row() for signup in signups]
        documents = {"users": encode_rows(map(_user, signups)), "emails": encode_rows(owed)}
        for statement, parameters in self._statements:
            added = await connection.execute(statement, {name: documents[name] for name in parameters})
        created_at = {user_id: moment for user_id, moment in added}
        return {
            signup.id: RegisteredUser(
                signup.id,
                signup.address.typed,
                signup.name,
                moment,
                email.to_claimed(),
                is_asked=self._renewals is not None,
            )
            for signup, email in zip(signups, emails, strict=True)
            if (moment := created_at.get(signup.id))
        }

    def _email(self, signup: Signup) -> NewEmail:
        return NewEmail(
            user_id=signup.id,
            recipient=signup.address.recipient,
            name=signup.name,
            locale=signup.locale,
            request_id=signup.request_id,
            claimed=self._claims_at_once(),
            kind=Kind.CONFIRMATION if self._renewals else Kind.WELCOME,
        )

    async def _users_by_key(self, connection: AsyncConnection, keys: Sequence[str]) -> dict[str, RowMapping]:
        if not keys:
            return {}
        found = await connection.execute(
            select(
                USERS.c.id,
                USERS.c.email,
                USERS.c.name,
                USERS.c.created_at,
                USERS.c.idempotency_key,
                USERS.c.confirmation_asked_at,
            ).where(USERS.c.idempotency_key.in_(keys))
        )
        return {row["idempotency_key"]: row for row in found.mappings()}


def _store_statements(database: Database, *, asks_to_confirm: bool) -> Sequence[tuple[Insert, Sequence[str]]]:
    """The statements that store users and their emails, and the documents that each takes.

    The unique constraints decide who is new: a select before would race.
    """
    users = rows_from_json(
        database,
        USERS.c.id,
        USERS.c.email,
        USERS.c.canonical_email,
        USERS.c.untagged_email,
        USERS.c.name,
        USERS.c.locale,
        USERS.c.idempotency_key,
        parameter="users",
    )
    moments = ["created_at", "confirmation_asked_at"] if asks_to_confirm else ["created_at"]
    adding = (
        database.insert(User)
        .from_select(
            [*users.c.keys(), *moments],
            # In one order, so that two replicas with the same addresses cannot deadlock.
            select(*users.c, *(database.clock() for _ in moments)).order_by(users.c.canonical_email),
        )
        .on_conflict_do_nothing()
    )
    if database.is_sqlite:  # which cannot insert within a query
        return (adding, ["users"]), (enqueue_statement(database, USERS), ["emails"])
    added = adding.returning(USERS.c.id, USERS.c.created_at).cte("added")
    return [(enqueue_statement(database, added), ["users", "emails"])]


def _user(signup: Signup) -> tuple[object, ...]:
    return (
        signup.id.hex,
        signup.address.typed,
        signup.address.canonical,
        signup.address.untagged,
        signup.name,
        signup.locale,
        signup.idempotency_key,
    )


def _decoy(known: Signup) -> Signup:
    # The end of an id is random: so this falls anywhere in the index, as addresses do, but none ends in "@".
    # It is in the index of untagged addresses if the known one is.
    end = "+@" if known.address.untagged else "@"
    canonical = known.id.hex[::-1].ljust(len(known.address.canonical) - len(end), "-") + end
    return replace(known, address=replace(known.address, canonical=canonical))


def _earlier_registration(
    signup: Signup, earlier: dict[str, RowMapping]
) -> RegisteredUser | KeyReused | None:
    """The key is looked at before the address: a repeated request is no second signup."""
    user = earlier.get(signup.idempotency_key or "")
    if user is None:
        return None
    if (user["email"], user["name"]) != (signup.address.typed, signup.name):
        return KeyReused()
    return RegisteredUser(
        user["id"],
        user["email"],
        user["name"],
        user["created_at"],
        claimed=None,
        is_asked=user["confirmation_asked_at"] is not None,
    )


def _refusal(signup: Signup, too_many: Mapping[str, timedelta]) -> AddressTaken | MailboxLimitExceeded:
    retry_after = too_many.get(signup.address.canonical)
    return AddressTaken() if retry_after is None else MailboxLimitExceeded(retry_after)
