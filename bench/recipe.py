"""The usual recipe, written as well as it can be: an async session for each request, the email in
BackgroundTasks, the audit in an HTTP middleware.

    DATABASE_URL=… SMTP_PORT=… uvicorn bench.recipe:app
"""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import aiosmtplib
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from jinja2 import Environment, FileSystemLoader, select_autoescape
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.background import BackgroundTask

import service.mail
from service.database.models import User
from service.signup.schemas import SignupConfirmation, SignupRequest

DATABASE_URL = make_url(os.environ["DATABASE_URL"])
SMTP_PORT = int(os.environ["SMTP_PORT"])
# One connection for each of the bench's clients; no request needs two at once.
POOL_SIZE = 64
WAIT = 60  # s, for a connection and for SQLite's lock: a slow response can be measured, an error cannot

templates = Environment(
    loader=FileSystemLoader(Path(service.mail.__path__[0]) / "templates"),
    autoescape=select_autoescape(["html"]),
)
templates.globals.update(language="en", product="Our service", url="http://localhost:8000", color="#2563eb")


class RequestRecord(SQLModel, table=True):
    __tablename__ = "recipe_audit"

    id: int | None = Field(default=None, primary_key=True)
    occurred_at: datetime
    method: str
    path: str
    status: int
    duration_us: int
    client: str | None


def connected() -> AsyncEngine:
    options = {"pool_size": POOL_SIZE, "max_overflow": 0, "pool_timeout": WAIT}
    if DATABASE_URL.get_backend_name() != "sqlite":
        return create_async_engine(DATABASE_URL.set(drivername="postgresql+asyncpg"), **options)
    engine = create_async_engine(DATABASE_URL.set(drivername="sqlite+aiosqlite"), **options)

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # As durable as the service, and patient.
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {WAIT * 1000}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    return engine


engine = connected()
# Expired objects would be read again after the commit, and hold a connection while the email is sent.
sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened:
        yield opened


@app.middleware("http")
async def audit(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    began = time.perf_counter()
    response = await call_next(request)
    record = RequestRecord(
        occurred_at=datetime.now(UTC),
        method=request.method,
        path=request.url.path,
        status=response.status_code,
        duration_us=int((time.perf_counter() - began) * 1e6),
        client=request.client.host if request.client else None,
    )
    response.background = BackgroundTask(save, record)
    return response


@app.post("/signup", status_code=201)
async def signup(
    body: SignupRequest, session: Annotated[AsyncSession, Depends(session)], background: BackgroundTasks
) -> SignupConfirmation:
    user = User(
        id=uuid4(),
        email=body.email.typed,
        canonical_email=body.email.canonical,
        name=body.name,
        created_at=datetime.now(UTC),
    )
    session.add(user)
    try:
        await session.commit()
    except IntegrityError as exc:
        raise HTTPException(409, "This address has signed up before.") from exc
    background.add_task(send_welcome, user.id, body.email.recipient, user.name)
    return SignupConfirmation(id=user.id, email=user.email, name=user.name, created_at=user.created_at)


async def save(record: RequestRecord) -> None:
    async with sessions() as opened:
        opened.add(record)
        await opened.commit()


async def send_welcome(user_id: UUID, recipient: str, name: str | None) -> None:
    message = EmailMessage()
    message["From"] = "Welcome <welcome@example.com>"
    message["To"] = recipient
    message["Subject"] = templates.get_template("welcome.subject.txt").render().strip()
    message["Message-ID"] = f"<{user_id}@example.com>"
    message.set_content(templates.get_template("welcome.txt").render(name=name))
    message.add_alternative(templates.get_template("welcome.html").render(name=name), subtype="html")
    await aiosmtplib.send(message, hostname="127.0.0.1", port=SMTP_PORT)
