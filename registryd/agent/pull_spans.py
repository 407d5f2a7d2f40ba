"""Each pull as a span of OpenTelemetry, which joins containerd's own trace where its requests carried one.

OpenTelemetry is imported here and nowhere else, and this module only where spans are wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from registryd.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter

    from registryd.content.pull_log import LoggedPull

_NANOSECONDS: Final = 1_000_000_000
_SHUTDOWN_SECONDS: Final = 2


class PullSpans:
    """Spans; OTEL_EXPORTER_OTLP_ENDPOINT and OpenTelemetry's other variables say where they go."""

    def __init__(self, node: str, exporter: SpanExporter | None = None, processor: SpanProcessor | None = None) -> None:
        """Without an exporter: OTLP over HTTP, in a thread of OpenTelemetry's own."""
        resource = Resource.create(
            {"service.name": "registryd", "service.version": VERSION, "service.instance.id": node, "host.name": node}
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor or BatchSpanProcessor(exporter or OTLPSpanExporter(timeout=5)))
        self._tracer = self._provider.get_tracer("registryd", VERSION)
        self._propagator = TraceContextTextMapPropagator()

    def pulled(self, pull: LoggedPull, told: Mapping[str, Any]) -> None:
        """A pull is over: a listener of a PullLog."""
        span = self._tracer.start_span(
            f"pull {told['image']}",
            # Without a valid trace, the span is a trace of its own.
            context=self._propagator.extract({"traceparent": pull.traceparent}),
            kind=SpanKind.SERVER,
            start_time=int(told["began"] * _NANOSECONDS),
            attributes={
                "registryd.image": told["image"],
                "registryd.size": told["size"],
                "registryd.share": told["share"],
                "registryd.sources": [f"{source} {share:.4f}" for source, share in told["sources"].items()],
                "registryd.slowed": list(told["slowed"]),
            },
        )
        span.end(end_time=int((told["ended"] or told["began"]) * _NANOSECONDS))

    def close(self) -> None:
        """Export what is left, in a moment or never."""
        self._provider.force_flush(_SHUTDOWN_SECONDS * 1000)
        self._provider.shutdown()
