"""Whose fault a refusal is: one email after another, without a relay."""

import pytest

from service.delivery import suspicion as module
from service.delivery.suspicion import DOMAIN_REFUSALS, MAX_STREAK, Suspicion
from service.outbox.row import Email
from service.runtime.ids import new_id
from tests.support.clock import Clock


def email(domain: str = "example.com", *, attempt: int = 2) -> Email:
    return Email(
        id=new_id(),
        recipient=f"ada@{domain}",
        name=None,
        request_id="r",
        attempt=attempt,
        deferrals=0,
        held_until=0.0,
    )


@pytest.fixture
def suspicion() -> Suspicion:
    return Suspicion()


def refuse(suspicion: Suspicion, refused: Email) -> bool:
    """Whether the email fails."""
    return suspicion.record_refusal(refused, accuses_relay=False) is None


def accuse(suspicion: Suspicion, refused: Email) -> bool:
    return suspicion.record_refusal(refused, accuses_relay=True) is None


def begin_doubt(suspicion: Suspicion, domain: str = "attacked.example") -> list[Email]:
    """Those who are held since."""
    held = [email(domain) for _ in range(DOMAIN_REFUSALS)]
    for each in held:
        accuse(suspicion, each)
    return held


def test_a_few_refusals_fail_and_the_next_ones_are_held(suspicion: Suspicion) -> None:
    fates = [refuse(suspicion, email()) for _ in range(MAX_STREAK + 5)]

    assert fates == [True] * MAX_STREAK + [False] * 5
    assert suspicion.in_doubt


def test_a_mail_that_is_taken_between_ends_the_streak(suspicion: Suspicion) -> None:
    for _ in range(50):
        assert refuse(suspicion, email())
        suspicion.record_acceptance()


def test_one_refusal_that_accuses_the_relay_is_reason_enough(suspicion: Suspicion) -> None:
    assert not accuse(suspicion, email())

    assert suspicion.in_doubt


def test_in_doubt_nothing_fails_however_often_it_is_refused(suspicion: Suspicion) -> None:
    [refused, *_] = begin_doubt(suspicion)

    assert not any(refuse(suspicion, refused) for _ in range(20))
    assert not any(refuse(suspicion, email(f"domain{number}.example")) for number in range(20))


def test_only_what_is_for_a_refused_domain_waits(suspicion: Suspicion) -> None:
    begin_doubt(suspicion)

    assert not suspicion.admit(email("attacked.example"))
    assert suspicion.admit(email("example.com"))
    assert list(suspicion.domains) == ["attacked.example"]


def test_one_recipient_who_is_always_refused_keeps_nobody_of_the_domain_waiting(suspicion: Suspicion) -> None:
    refused = email()
    for _ in range(20):
        accuse(suspicion, refused)

    assert suspicion.admit(email())
    assert list(suspicion.domains) == []


def test_the_first_mail_that_is_taken_clears_the_relay_and_refused_again_is_final(
    suspicion: Suspicion,
) -> None:
    held = begin_doubt(suspicion)

    suspicion.record_acceptance()

    assert not suspicion.in_doubt
    assert suspicion.admit(email("attacked.example"))
    assert suspicion.pop_cleared() == [(each.id, each.attempt) for each in held]
    assert suspicion.pop_cleared() == []
    assert all(accuse(suspicion, each) for each in held)
    assert not suspicion.in_doubt


def test_those_that_waited_for_their_domain_are_tried_twice_and_begin_no_doubt(suspicion: Suspicion) -> None:
    begin_doubt(suspicion)
    waited = [email("attacked.example") for _ in range(2 * MAX_STREAK)]
    suspicion.record_acceptance()

    assert not any(refuse(suspicion, each) for each in waited)
    assert all(accuse(suspicion, each) for each in waited)
    assert not suspicion.in_doubt

    new = [refuse(suspicion, email("attacked.example")) for _ in range(MAX_STREAK + 1)]
    assert new == [True] * MAX_STREAK + [False]


def test_those_held_wait_longer_each_time(suspicion: Suspicion) -> None:
    refused = email()

    holds = [suspicion.record_refusal(refused, accuses_relay=True) or 0.0 for _ in range(2000)]

    assert 0.5 <= holds[0] <= 1
    assert 30 <= holds[-1] <= 60


def test_now_and_then_an_email_that_waits_is_tried(suspicion: Suspicion, clock: Clock) -> None:
    begin_doubt(suspicion)
    probe, pauses = email("attacked.example"), []

    for _ in range(80):
        pauses.append(suspicion.seconds_until_probe)
        clock.now += suspicion.seconds_until_probe
        assert suspicion.seconds_until_probe == 0
        suspicion.begin_probe(probe)

    assert suspicion.admit(probe)
    assert not suspicion.admit(email("attacked.example"))
    assert sum(pauses[:25]) < 5
    assert pauses[-1] == pytest.approx(5)


def test_a_new_email_is_tried_too_and_need_not_wait_for_its_turn_among_the_others(
    suspicion: Suspicion, clock: Clock
) -> None:
    begin_doubt(suspicion)
    for _ in range(80):
        clock.now += suspicion.seconds_until_probe
        suspicion.begin_probe(email("attacked.example"))

    new = email("attacked.example", attempt=1)

    assert suspicion.admit(new)
    assert suspicion.admit(new), "a second time, after it found no connection"
    assert not suspicion.admit(email("attacked.example", attempt=1)), "at the same moment"


def test_new_emails_are_tried_seldom_if_all_are_refused(suspicion: Suspicion, clock: Clock) -> None:
    begin_doubt(suspicion)
    tried = 0

    for _ in range(60 * 20):
        clock.now += 1 / 20
        tried += suspicion.admit(email("attacked.example", attempt=1))

    assert 30 <= tried <= 60


def test_what_is_remembered_is_bounded(suspicion: Suspicion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 5)
    for _ in range(3):
        for number in range(20):
            accuse(suspicion, email(f"domain{number}.example"))
        suspicion.record_acceptance()

    assert len(suspicion.pop_cleared()) == 15
    assert len(suspicion._second_tries) == 5


def test_who_asks_to_be_left_alone_is_left_alone(suspicion: Suspicion) -> None:
    begin_doubt(suspicion)
    refused = email("attacked.example")

    held = suspicion.record_refusal(refused, accuses_relay=True, retry_after=300)

    assert held == 300
    assert suspicion.seconds_until_probe > 299
    suspicion.record_acceptance()
    assert refused.id not in dict(suspicion.pop_cleared())
