"""OpenTelemetry: FastAPI's own, by the standard `OTEL_*` variables; nothing where they name no collector."""

from collections.abc import MutableMapping
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.context import Context

UNTRACED_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})  # asked by machines, all day long
PERSONAL = ("url.path", "url.query")  # what a client typed; `http.route` says enough


def config() -> TelemetryConfig:
    return {
        "auto_configure": True,
        "logs": False,  # ours are discreet; these would tell the texts of exceptions
        "exclude": _is_untraced,
    }


def redact_spans() -> None:
    """For a lifespan: FastAPI has set up by then what there is to set up."""
    provider = trace.get_tracer_provider()
    if not hasattr(provider, "add_span_processor"):  # nobody collects
        return
    from opentelemetry.sdk.trace import Span, SpanProcessor  # there only with the extra `otel`

    class Discretion(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            for name in PERSONAL:
                if name in (span.attributes or ()):
                    span.set_attribute(name, "REDACTED")

    provider.add_span_processor(Discretion())


def _is_untraced(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("path") in UNTRACED_PATHS
