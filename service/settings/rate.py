"""A rate, such as 600/minute."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PERIODS = {unit: timedelta(**{f"{unit}s": 1}) for unit in ("second", "minute", "hour", "day")}
RATE = re.compile(rf"([1-9][0-9]{{0,8}})/({'|'.join(PERIODS)})")


@dataclass(frozen=True, slots=True)
class Rate:
    limit: int
    period: timedelta

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        match = RATE.fullmatch(text)
        if match is None:
            raise ValueError("not a rate")
        return cls(int(match[1]), PERIODS[match[2]])

    def window_end(self, moment: datetime) -> datetime:
        """Windows begin with a whole second, minute, hour or day of UTC, so all replicas agree on them."""
        return moment + self.period - (moment - EPOCH) % self.period
