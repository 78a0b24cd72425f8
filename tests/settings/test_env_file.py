"""`.env` is read strictly: what is ignored in it is told, with the line."""

from pathlib import Path

import pytest

from service.settings.env_file import find_line, find_problems
from service.settings.near_miss import find_near_miss

NAMES = ["SMTP_HOST", "SMTP_PORT", "MAIL_FROM", "PORT"]


def problems(folder: Path, text: str) -> list[str]:
    file = folder / ".env"
    file.write_text(text, encoding="utf-8")
    return [problem.removeprefix(f"{file}, ") for problem in find_problems(file, names=NAMES)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('PORT=80\nMAIL_FROM="Ada <ada@example.com>\n', "line 2: it cannot be read"),
        ("MAIL_FROM='Ada' <ada@example.com>\n", "line 1: it cannot be read"),
        ("SMTP_HOST: relay\n", "line 1: it cannot be read"),
        ("# a comment\n\nSMTP_HOST relay\n", "line 3: it cannot be read"),
        ("SMTP_HOST\n", "line 1: SMTP_HOST has no value: write SMTP_HOST=value."),
        ("SMPT_HOST=relay\n", "line 1: SMPT_HOST is no setting and is ignored: did you mean SMTP_HOST?"),
        ("smtp_hosts=relay\n", "line 1: smtp_hosts is no setting and is ignored: did you mean SMTP_HOST?"),
        ("SMTPHOST=relay\n", "line 1: SMTPHOST is no setting and is ignored: did you mean SMTP_HOST?"),
    ],
)
def test_a_line_that_is_ignored_is_told(tmp_path: Path, text: str, problem: str) -> None:
    [told] = problems(tmp_path, text)

    assert told.startswith(problem)
    assert "ada@example.com" not in told
    assert "relay" not in told


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# SMPT_HOST=x\n\nexport SMTP_HOST=relay # ours\nsmtp_port = 25\n",
        'MAIL_FROM="Ada <ada@example.com>"\n',
        "\ufeffSMTP_HOST=relay\r\nPORT=80\r\n",
        "POSTGRES_PASSWORD=x\nOTEL_SERVICE_NAME=x\nSMTP_RELAY=x\n",
    ],
)
def test_what_is_right_or_for_others_is_left_alone(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == []


def test_without_a_file_nothing_is_wrong(tmp_path: Path) -> None:
    assert find_problems(tmp_path / ".env", names=NAMES) == []
    assert find_line(tmp_path / ".env", "PORT") is None


def test_the_line_that_counts_is_found(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("port=1\n\nPORT=2\n")

    assert find_line(tmp_path / ".env", "PORT") == 3


@pytest.mark.parametrize(
    "name", ["wlcome.html", "welcom.html", "welccome.html", "ewlcome.html", "welcome.htm", "Welcome.html"]
)
def test_one_slip_is_a_near_miss(name: str) -> None:
    assert find_near_miss(name, ["page.html", "welcome.html"]) == "welcome.html"


@pytest.mark.parametrize(
    "name", ["welcome.html", "welcome.h", "emlcowe.html", "elwcmoe.html", "page.txt", ""]
)
def test_the_name_itself_and_two_slips_are_none(name: str) -> None:
    assert find_near_miss(name, ["page.html", "welcome.html"]) is None
