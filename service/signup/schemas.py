"""What a frontend sends, and what it gets."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import Header
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from service.database.email_status import EmailStatus
from service.person import address, name
from service.signup.registration import RegisteredUser


def _address(value: object) -> address.Address:
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "The email address must be a string.")
    try:
        return address.parse(value)
    except address.InvalidAddress as exc:
        raise PydanticCustomError("email", "{reason}", {"reason": str(exc)}) from exc


def _name(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "The name must be a string.")
    try:
        return name.parse(value)
    except name.InvalidName as exc:
        raise PydanticCustomError("name", "{reason}", {"reason": str(exc)}) from exc


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
            "anyOf": [{"type": "string", "minLength": 1, "maxLength": name.MAX_LENGTH}, {"type": "null"}],
            "examples": ["Ada"],
        }
    ),
]

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="Makes a repeated request safe: the same key and body get the same answer.",
    ),
]


class SignupRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    email: EmailField = Field(repr=False)
    name: NameField = Field(default=None, repr=False)


class SignupConfirmation(BaseModel):
    id: UUID
    email: Annotated[str, Field(description="As typed, trimmed.", examples=["ada@example.com"])]
    name: Annotated[str | None, Field(examples=["Ada"])]
    created_at: datetime
    welcome_email: Literal[EmailStatus.PENDING] = EmailStatus.PENDING

    @classmethod
    def of(cls, registered: RegisteredUser) -> Self:
        return cls(
            id=registered.id, email=registered.email, name=registered.name, created_at=registered.created_at
        )


class SignupAccepted(BaseModel):
    """The same for a new address and a known one."""

    message: Literal["Thank you. If this address is new to us, a welcome email is on its way."] = (
        "Thank you. If this address is new to us, a welcome email is on its way."
    )


class SignupState(BaseModel):
    id: UUID
    welcome_email: EmailStatus
    sent_at: datetime | None
