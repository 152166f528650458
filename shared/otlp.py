"""Spans as OpenTelemetry exports them: OTLP over HTTP, to Google Cloud Trace or to a collector.

Importing this costs a tenth of a second: only shared/spans.py does, when there is a span to export.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

if TYPE_CHECKING:
    import requests

    from shared.spans import Destination, Ended

_GOOGLE = "https://telemetry.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/trace.append"
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


def exporter(destination: Destination, *, timeout: float) -> OTLPSpanExporter:
    """What sends spans there, giving up after `timeout` seconds; raises where there are no credentials for it."""
    if destination.endpoint is not None:
        return OTLPSpanExporter(f"{destination.endpoint.rstrip('/')}/v1/traces", timeout=timeout)
    return OTLPSpanExporter(f"{_GOOGLE}/v1/traces", timeout=timeout, session=_authorized(timeout))


def _authorized(timeout: float) -> requests.Session:
    """A session that shows the function's own credentials."""
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(scopes=[_SCOPE])
    session: requests.Session = AuthorizedSession(credentials, refresh_timeout=timeout)
    return session


def export(to: OTLPSpanExporter, destination: Destination, spans: Sequence[Ended]) -> str | None:
    """None once they are taken, else why they were not."""
    resource = Resource(
        {
            "service.name": destination.service,
            "service.version": destination.version,
            "service.instance.id": f"{os.environ.get('K_REVISION', 'local')}-{os.getpid()}",
            "gcp.project_id": destination.project,  # Cloud Trace wants to be told
        }
    )
    taken = to.export([_readable(one, resource) for one in spans])
    return None if taken is SpanExportResult.SUCCESS else "The collector did not take them; see the line before."


def _readable(one: Ended, resource: Resource) -> ReadableSpan:
    """The SDK's form of a span. Ours are made afterwards, once the session's trace is known, so not by its tracer."""
    return ReadableSpan(
        one.name,
        context=_context(one.trace_id, one.span_id, remote=False),
        parent=_context(one.trace_id, one.parent_id, remote=True) if one.parent_id else None,
        resource=resource,
        attributes=one.facts,
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, one.error) if one.error else Status(StatusCode.UNSET),
        start_time=one.began,
        end_time=one.ended,
        instrumentation_scope=InstrumentationScope("rowlift"),
    )


def _context(trace_id: str, span_id: str, *, remote: bool) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=remote, trace_flags=_SAMPLED)
