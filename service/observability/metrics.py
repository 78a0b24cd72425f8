"""The Prometheus metrics of a process."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)
LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
CONFIRMATIONS = ("confirmed", "denied", "renewed", "expired", "unknown", "deleted")
OUTCOMES = ("sent", "failed", "deferred", "released")


class ChannelMetrics:
    """What is counted and shown of one channel."""

    def __init__(
        self,
        shared: CollectorRegistry,
        registry: CollectorRegistry,
        *,
        one: str,
        paused: str,
        words: str,
        receiver: str,
        since: str,
        counts_unknown: bool = False,
    ) -> None:
        many = f"{one}s"
        self.outcomes = Counter(many, "Deliveries by outcome.", ["outcome"], registry=shared)
        self.unknown_outcomes = Counter(
            f"{many}_unknown_outcome",
            f"Connections lost before the answer of {receiver} to what it had received: "
            f"these {words} may arrive twice.",
            registry=shared if counts_unknown else None,
        )
        self.delivery_seconds = Histogram(
            f"{one}_delivery_duration_seconds",
            f"Time from the start of a delivery to the answer of {receiver}.",
            registry=shared,
            buckets=LATENCIES,
        )
        self.paused = Gauge(
            paused,
            f"1 while this process sends nothing because of trouble with {receiver}.",
            registry=registry,
        )
        self.in_flight = Gauge(
            f"{many}_in_hand",
            f"{words.title()} that this process has claimed and not finished.",
            registry=registry,
        )
        self.pending = Gauge(f"{many}_pending", f"{words.title()} that wait to be sent.", registry=registry)
        self.failed = Gauge(
            f"{many}_failed", f"{words.title()} that have failed for good.", registry=registry
        )
        self.oldest_seconds = Gauge(
            f"{many}_oldest_pending_seconds",
            f"Time since {since} that has waited longest.",
            registry=registry,
        )
        self.overdue_seconds = Gauge(
            f"{many}_oldest_overdue_seconds",
            f"The same, without {words} that wait because of a refusal or a limit.",
            registry=registry,
        )
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
        self.mail = ChannelMetrics(
            self.shared,
            self.registry,
            one="welcome_email",
            paused="relay_paused",
            words="emails",
            receiver="the relay",
            since="the signup of the email",
            counts_unknown=True,
        )
        self.events = ChannelMetrics(
            self.shared,
            self.registry,
            one="webhook_event",
            paused="webhook_paused",
            words="events",
            receiver="the endpoint",
            since="the event",
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
        for result in CONFIRMATIONS:
            self.confirmations.labels(result)
