"""Reads the settings from the environment, `.env` and secrets, and says what is wrong with them."""

import os
import warnings
from collections.abc import Iterable, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from service.settings import ENV_FILE, SECRETS_DIR, InvalidSettings, Settings, env_file

# Our words for errors of pydantic, by its name for them.
MESSAGES: dict[str, str] = {
    "bool_parsing": "it takes true or false",
    "int_parsing": "it takes a whole number",
    "path_not_directory": "there is no such folder",
}


def load(**overrides: object) -> Settings:
    """The settings of this process. Raises InvalidSettings."""
    try:
        with warnings.catch_warnings():
            # Of a folder in the place of a secret. Docker makes one where the file to mount does not exist.
            warnings.simplefilter("error", UserWarning)
            if os.path.isdir(ENV_FILE):  # which would be ignored as well
                raise IsADirectoryError(ENV_FILE)
            return Settings(**overrides)  # type: ignore[arg-type]  # names and types are checked by pydantic
    except (OSError, UnicodeDecodeError, SettingsError, UserWarning) as exc:
        raise InvalidSettings(_find_unreadable_file() or f"The settings cannot be read: {exc}.") from exc
    except ValidationError as exc:
        lines = [_sentence(error) for error in exc.errors(include_url=False, include_context=False)]
        names = frozenset(name for error in exc.errors() for name in _names(error))
        raise InvalidSettings("\n".join(dict.fromkeys(lines)), names=names) from exc


def load_without(wrong: Iterable[str]) -> Settings:
    """The settings with their defaults in place of these, so that the others can be tested."""
    return load(**{name: Settings.model_fields[name].default for name in wrong})


def find_env_file_problems() -> list[str]:
    """A sentence for each line of `.env` that is ignored, and was probably meant for us."""
    return env_file.find_problems(ENV_FILE, names=[name.upper() for name in Settings.model_fields])


def _find_unreadable_file() -> str | None:
    secrets = (SECRETS_DIR / name for name in Settings.model_fields)
    for path in (ENV_FILE, *secrets):
        try:
            path.read_text(encoding=env_file.ENCODING)
        except UnicodeDecodeError:
            return f"{path} is not a text file in UTF-8."
        except (FileNotFoundError, NotADirectoryError):
            continue
        except IsADirectoryError:
            return f"{path} is a folder: put the file in its place, or remove it."
        except OSError as exc:
            if path.is_absolute():
                place, way_out = f"{path}", "move it away"
            else:
                place, way_out = f"{path} in the working directory", "start in another"
            return f"{place} cannot be read ({exc.strerror}): give this user the right to, or {way_out}."
    return None


def _names(error: ErrorDetails) -> Sequence[str]:
    if error["loc"]:
        return [str(error["loc"][0])]
    # Settings that do not fit together: the sentence names them, or some of those that a login is made of.
    about_login = "SMTP_" in error["msg"]
    return [
        name
        for name in Settings.model_fields
        if name.upper() in error["msg"] or (about_login and name.startswith("smtp_"))
    ]


def _sentence(error: ErrorDetails) -> str:
    theirs = error["msg"].removeprefix("Value error, ").replace("Input", "it", 1)
    message = MESSAGES.get(error["type"], theirs)
    if not error["loc"]:
        return f"{message}."
    name = str(error["loc"][0]).upper()
    return f"{name} is not valid: {message[0].lower()}{message[1:]}{_source(name)}."


def _source(name: str) -> str:
    """Where a wrong value comes from, if that is not the environment."""
    if name in os.environ:
        return ""
    if line := env_file.find_line(ENV_FILE, name):
        return f" ({ENV_FILE}, line {line})"
    secret = SECRETS_DIR / name.lower()
    return f" ({secret})" if os.path.isfile(secret) else ""
