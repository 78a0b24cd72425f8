"""Why a field of a signup is not accepted: a word for programs, and a sentence for people."""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """The fixed list of `errors[].type`. No sentence repeats what was sent."""

    sentence: str

    EMAIL_MISSING = "email_missing", "Please enter your email address."
    EMAIL_INVALID = "email_invalid", "Please enter a valid email address, such as ada@example.com."
    EMAIL_TOO_LONG = "email_too_long", "An email address has at most 254 characters."
    EMAIL_INVISIBLE = "email_invisible", "This address contains invisible characters. Please type it again."
    EMAIL_UNDELIVERABLE = (
        "email_undeliverable",
        "We can't send email to this address. Please use another one.",
    )
    EMAIL_NOT_TEXT = "email_not_text", "The email address must be text."
    NAME_TOO_LONG = "name_too_long", "A name has at most 100 characters."
    NAME_INVISIBLE = (
        "name_invisible",
        "This name contains invisible characters. Please type it again or leave it out.",
    )
    NAME_CONTROL_CHARACTERS = (
        "name_control_characters",
        "A name can't contain line breaks or control characters.",
    )
    NAME_TOO_MANY_MARKS = "name_too_many_marks", "This name has too many accents on one letter."
    NAME_NOT_TEXT = "name_not_text", "The name must be text."
    BODY_MISSING = "body_missing", "The request has no body. Please send an email address."
    BODY_NOT_AN_OBJECT = "body_not_an_object", "The body must be a JSON object with an email address."
    FIELD_UNKNOWN = "field_unknown", "Only an email address and a name are accepted, and no other fields."
    FIELD_REPEATED = "field_repeated", "Each field can be sent only once."
    NUMBER_NOT_FINITE = "number_not_finite", "A number must be finite."
    IDEMPOTENCY_KEY_INVALID = (
        "idempotency_key_invalid",
        "An idempotency key has 1 to 255 visible ASCII characters.",
    )

    def __new__(cls, value: str, sentence: str) -> Self:
        reason = str.__new__(cls, value)
        reason._value_ = value
        reason.sentence = sentence
        return reason


class Rejected(ValueError):
    """What it says is the reason's sentence."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.sentence)
        self.reason = reason
