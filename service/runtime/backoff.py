"""Waits that double each time."""

MAX_DOUBLINGS = 64  # an outage can last for days, and a float overflows after 1,023


def double(first: float, *, times: int, at_most: float) -> float:
    """`first`, doubled so many times, but no more than `at_most`; in s."""
    return min(first * 2.0 ** min(times, MAX_DOUBLINGS), at_most)
