"""The Prometheus metrics of a process."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)
LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
CONFIRMATIONS = ("confirmed", "denied", "renewed", "expired", "unknown", "deleted")
OUTCOMES = ("sent", "failed", "deferred", "released")


# Name and help of each metric of a channel, by the attribute of `ChannelMetrics`.
ChannelTexts = Mapping[str, tuple[str, str]]
MAIL: ChannelTexts = {
    "outcomes": ("welcome_emails", "Deliveries by outcome."),
    "unknown_outcomes": (
        "welcome_emails_unknown_outcome",
        "Connections lost before the answer of the relay to what it had received: these emails may arrive "
        "twice.",
    ),
    "delivery_seconds": (
        "welcome_email_delivery_duration_seconds",
        "Time from the start of a delivery to the answer of the relay.",
    ),
    "paused": ("relay_paused", "1 while this process sends nothing because of trouble with the relay."),
    "in_flight": ("welcome_emails_in_hand", "Emails that this process has claimed and not finished."),
    "pending": ("welcome_emails_pending", "Emails that wait to be sent."),
    "failed": ("welcome_emails_failed", "Emails that have failed for good."),
    "oldest_seconds": (
        "welcome_emails_oldest_pending_seconds",
        "Time since the signup of the email that has waited longest.",
    ),
    "overdue_seconds": (
        "welcome_emails_oldest_overdue_seconds",
        "The same, without emails that wait because of a refusal or a limit.",
    ),
}
EVENTS: ChannelTexts = {
    "outcomes": ("webhook_events", "Deliveries by outcome."),
    "delivery_seconds": (
        "webhook_event_delivery_duration_seconds",
        "Time from the start of a delivery to the answer of the endpoint.",
    ),
    "paused": ("webhook_paused", "1 while this process sends nothing because of trouble with the endpoint."),
    "in_flight": ("webhook_events_in_hand", "Events that this process has claimed and not finished."),
    "pending": ("webhook_events_pending", "Events that wait to be sent."),
    "failed": ("webhook_events_failed", "Events that have failed for good."),
    "oldest_seconds": (
        "webhook_events_oldest_pending_seconds",
        "Time since the event that has waited longest.",
    ),
    "overdue_seconds": (
        "webhook_events_oldest_overdue_seconds",
        "The same, without events that wait because of a refusal or a limit.",
    ),
}


class ChannelMetrics:
    """What is counted and shown of one channel. `unknown_outcomes` is None for events."""

    def __init__(self, shared: CollectorRegistry, registry: CollectorRegistry, texts: ChannelTexts) -> None:
        self.outcomes = Counter(*texts["outcomes"], ["outcome"], registry=shared)
        self.unknown_outcomes = (
            Counter(*texts["unknown_outcomes"], registry=shared) if "unknown_outcomes" in texts else None
        )
        self.delivery_seconds = Histogram(*texts["delivery_seconds"], registry=shared, buckets=LATENCIES)
        self.paused = Gauge(*texts["paused"], registry=registry)
        self.in_flight = Gauge(*texts["in_flight"], registry=registry)
        self.pending = Gauge(*texts["pending"], registry=registry)
        self.failed = Gauge(*texts["failed"], registry=registry)
        self.oldest_seconds = Gauge(*texts["oldest_seconds"], registry=registry)
        self.overdue_seconds = Gauge(*texts["overdue_seconds"], registry=registry)
        for outcome in OUTCOMES:  # at zero, as in Metrics
            self.outcomes.labels(outcome)


class Metrics:
    """`shared` is summed over all processes; `registry` is of this process only.

    Each application has its own registries, so that two in one process do not mix. `confirms` is whether
    addresses are confirmed.
    """

    def __init__(self, *, confirms: bool = False) -> None:
        self.shared = CollectorRegistry()
        self.signups = Counter("signups", "Answers to POST /signup.", ["result"], registry=self.shared)
        self.confirmations = Counter(
            "confirmations",
            "What became of addresses that were asked to confirm, and of their links.",
            ["result"],
            registry=self.shared if confirms else None,
        )
        self.audit_entries = Counter("audit_entries", "Audit entries recorded.", registry=self.shared)
        self.audit_unspooled = Counter(
            "audit_entries_unspooled",
            "Audit entries that could not be written to DATA_DIR and are in the log instead.",
            registry=self.shared,
        )

        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.database_up = Gauge(
            "database_up", "1 if this scrape could read the database.", registry=self.registry
        )
        self.mail = ChannelMetrics(self.shared, self.registry, MAIL)
        self.events = ChannelMetrics(self.shared, self.registry, EVENTS)
        self.spool_bytes = Gauge(
            "audit_spool_bytes",
            "Size of the audit entries in DATA_DIR that wait for the table, dead processes included.",
            registry=self.registry,
        )
        self.batch_sizes = Histogram(
            "batch_sizes", "Items per commit.", ["of"], registry=self.registry, buckets=BATCH_SIZES
        )
        self.request_seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the start of a request to the last byte of its answer.",
            ["method", "route", "status"],
            registry=self.registry,
            buckets=LATENCIES,
        )
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """So that Prometheus sees the first event of each kind as an increase."""
        self.signups.labels("registered")
        for result in CONFIRMATIONS:
            self.confirmations.labels(result)
