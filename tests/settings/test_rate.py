"""All replicas agree on the time windows of a rate limit."""

from datetime import UTC, datetime

import pytest

from service.settings.rate import Rate


@pytest.mark.parametrize(
    ("rate", "moment", "end"),
    [
        ("1/second", (12, 34, 56, 789_000), (22, 12, 34, 57)),
        ("1/minute", (12, 34, 56, 0), (22, 12, 35, 0)),
        ("1/minute", (12, 34, 0, 0), (22, 12, 35, 0)),
        ("1/hour", (12, 34, 56, 0), (22, 13, 0, 0)),
        ("1/day", (12, 34, 56, 0), (23, 0, 0, 0)),
    ],
)
def test_a_window_ends_with_the_clock(
    rate: str, moment: tuple[int, int, int, int], end: tuple[int, int, int, int]
) -> None:
    hour, minute, second, microsecond = moment
    now = datetime(2026, 11, 22, hour, minute, second, microsecond, UTC)

    assert Rate.parse(rate).window_end(now) == datetime(2026, 11, *end, tzinfo=UTC)
