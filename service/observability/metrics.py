"""The Prometheus metrics of a process."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)
LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
OUTCOMES = ("sent", "failed", "deferred", "released")


class Metrics:
    """`shared` is summed over all processes; `registry` is of this process only.

    Each application has its own registries, so that two in one process do not mix.
    """

    def __init__(self) -> None:
        self.shared = CollectorRegistry()
        self.signups = Counter("signups", "Answers to POST /signup.", ["result"], registry=self.shared)
        self.emails = Counter("welcome_emails", "Deliveries by outcome.", ["outcome"], registry=self.shared)
        self.unknown_outcomes = Counter(
            "welcome_emails_unknown_outcome",
            "Connections lost before the relay's answer to a whole message: these emails may arrive twice.",
            registry=self.shared,
        )
        self.delivery_seconds = Histogram(
            "welcome_email_delivery_duration_seconds",
            "Time from the start of a delivery to the relay's answer.",
            registry=self.shared,
            buckets=LATENCIES,
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
        self.relay_paused = Gauge(
            "relay_paused",
            "1 while this process sends nothing because of relay trouble.",
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "welcome_emails_in_hand",
            "Emails that this process has claimed and not finished.",
            registry=self.registry,
        )
        self.pending = Gauge("welcome_emails_pending", "Emails that wait to be sent.", registry=self.registry)
        self.failed = Gauge(
            "welcome_emails_failed", "Emails that have failed for good.", registry=self.registry
        )
        self.oldest_seconds = Gauge(
            "welcome_emails_oldest_pending_seconds",
            "Time since the signup of the email that has waited longest.",
            registry=self.registry,
        )
        self.overdue_seconds = Gauge(
            "welcome_emails_oldest_overdue_seconds",
            "The same, without emails that wait because of a refusal or a limit.",
            registry=self.registry,
        )
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
        for outcome in OUTCOMES:
            self.emails.labels(outcome)
