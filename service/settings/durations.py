"""Reads durations such as 90m, 48h and 7d, in settings and in options of commands."""

import re
from datetime import timedelta

DURATION = re.compile(r"([1-9][0-9]{0,4})([mhd])")
UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str) -> timedelta | None:
    """None if it is none."""
    match = DURATION.fullmatch(text)
    return timedelta(**{UNITS[match[2]]: int(match[1])}) if match else None
