"""OpenTelemetry, which FastAPI supports itself. It is off unless the `OTEL_*` variables name a collector."""

from collections.abc import MutableMapping
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.context import Context

UNTRACED_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})  # polled by machines all day long
PERSONAL = ("url.path", "url.query")  # may contain what a client typed; `http.route` says enough


def config() -> TelemetryConfig:
    return {
        "auto_configure": True,
        "logs": False,  # ours hide personal data; these would contain the texts of exceptions
        "exclude": _is_untraced,
    }


def redact_spans() -> None:
    """Removes personal data from spans. Call it in the lifespan, when FastAPI has set up tracing."""
    provider = trace.get_tracer_provider()
    if not hasattr(provider, "add_span_processor"):  # there is no collector
        return
    from opentelemetry.sdk.trace import Span, SpanProcessor  # installed with the extra `otel` only

    class RedactPersonalData(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            for name in PERSONAL:
                if name in (span.attributes or ()):
                    span.set_attribute(name, "REDACTED")

    provider.add_span_processor(RedactPersonalData())


def _is_untraced(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("path") in UNTRACED_PATHS
