"""What a frontend sends, and what it gets."""

from datetime import datetime
from typing import Annotated, Literal, Self, cast
from uuid import UUID

from fastapi import Header
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from service.database.email_status import EmailStatus
from service.person import address, name
from service.person.reason import Reason
from service.signup.progress import AFTER_CONFIRMATION
from service.signup.registration import RegisteredUser


def _address(value: object) -> address.Address:
    if value is None:
        raise _error(Reason.EMAIL_MISSING)
    if not isinstance(value, str):
        raise _error(Reason.EMAIL_NOT_TEXT)
    try:
        return address.parse(value)
    except address.InvalidAddress as exc:
        raise _error(exc.reason) from exc


def _name(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _error(Reason.NAME_NOT_TEXT)
    try:
        return name.parse(value)
    except name.InvalidName as exc:
        raise _error(exc.reason) from exc


def _error(reason: Reason) -> PydanticCustomError:
    return PydanticCustomError(reason.value, "{sentence}", {"sentence": reason.sentence})


EmailField = Annotated[
    address.Address,
    PlainValidator(_address),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": 254, "examples": ["ada@example.com"]}),
]
NameField = Annotated[
    str | None,
    PlainValidator(_name),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "maxLength": name.MAX_LENGTH}, {"type": "null"}],
            "examples": ["Ada"],
        }
    ),
]

KEY_PATTERN = r"^[\x21-\x7e]{1,255}$"
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=KEY_PATTERN,
        description="Makes a repeated request safe: the same key and body get the same answer.",
    ),
]


ABOUT_TRAP = "A trap for bots. Leave it out, or leave it empty where people could see it."
ACCEPTED = "If this address is new to us, your welcome email is on its way."
ACCEPTED_TO_CONFIRM = (
    "If this address is new to us or not confirmed yet, an email with a link to confirm it is on its way."
)
ID = "0190b6d7-6d24-7a57-9f4a-0d8c6f2f2a11"
CONFIRMED: JsonDict = {
    "id": ID,
    "email": "ada@example.com",
    "name": "Ada",
    "created_at": "2026-11-22T12:49:25.683635Z",
    "welcome_email": "pending",
}
CONFIRMED_AT = "2026-11-22T12:51:07.120042Z"
TO_CONFIRM: JsonDict = {**CONFIRMED, "welcome_email": AFTER_CONFIRMATION, "confirmation_email": "pending"}
SENT: JsonDict = {"id": ID, "welcome_email": "sent", "sent_at": "2026-11-22T12:49:25.691204Z"}


def _describe_trap(schema: JsonDict) -> None:
    """It is read before the model, and whatever is in it, the answer is friendly."""
    schema["properties"] = {**cast(JsonDict, schema["properties"]), "website": {"description": ABOUT_TRAP}}
    schema["example"] = {"email": "ada@example.com", "name": "Ada"}  # of all fields a tool would fill in


class SignupRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, json_schema_extra=_describe_trap
    )

    email: EmailField = Field(repr=False)
    name: NameField = Field(default=None, repr=False)


class _StoredSignup(BaseModel):
    id: UUID
    email: Annotated[str, Field(description="As typed, trimmed.")]
    name: str | None
    created_at: datetime


class SignupConfirmation(_StoredSignup):
    model_config = ConfigDict(json_schema_extra={"example": CONFIRMED})

    welcome_email: Literal[EmailStatus.PENDING] = EmailStatus.PENDING

    @classmethod
    def of(cls, registered: RegisteredUser) -> Self:
        return cls(
            id=registered.id,
            email=registered.email,
            name=registered.name,
            created_at=registered.created_at,
        )


class SignupToConfirm(_StoredSignup):
    model_config = ConfigDict(json_schema_extra={"example": TO_CONFIRM})

    welcome_email: Literal["pending", "after_confirmation"]
    confirmation_email: Annotated[
        Literal["pending"] | None,
        Field(description="Null in the repeated answer to a signup from before addresses were confirmed."),
    ]

    @classmethod
    def of(cls, registered: RegisteredUser) -> Self:
        return cls(
            id=registered.id,
            email=registered.email,
            name=registered.name,
            created_at=registered.created_at,
            welcome_email="after_confirmation" if registered.is_asked else "pending",
            confirmation_email="pending" if registered.is_asked else None,
        )


class SignupAccepted(BaseModel):
    """The same for a new address and a known one."""

    model_config = ConfigDict(json_schema_extra={"example": {"message": ACCEPTED}})

    message: str


class AcceptedToConfirm(SignupAccepted):
    """The same for a new address and a known one."""

    model_config = ConfigDict(json_schema_extra={"example": {"message": ACCEPTED_TO_CONFIRM}})


class SignupState(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": SENT})

    id: UUID
    welcome_email: EmailStatus
    sent_at: datetime | None


class ConfirmableState(SignupState):
    model_config = ConfigDict(
        json_schema_extra={"example": {**SENT, "confirmation_email": "sent", "confirmed_at": CONFIRMED_AT}}
    )

    welcome_email: EmailStatus | Literal["after_confirmation"]  # type: ignore[assignment]  # one value more
    confirmation_email: Annotated[
        EmailStatus | None, Field(description="Null for users who were never asked to confirm.")
    ]
    confirmed_at: datetime | None


class ConfirmationLink(BaseModel):
    """What a confirmation link leads to."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": ID,
                "confirmed_at": CONFIRMED_AT,
                "expires_at": "2026-11-29T12:49:25.683635Z",
            }
        }
    )

    id: UUID
    confirmed_at: datetime | None
    expires_at: Annotated[datetime, Field(description="Of a link that has not been used.")]


class ConfirmedAddress(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"id": ID, "confirmed_at": CONFIRMED_AT}})

    id: UUID
    confirmed_at: datetime


class ErasedUser(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"id": ID}})

    id: UUID
