"""Reads OTLP messages with the classes that OpenTelemetry publishes for Python, and tells what is in them.

Arguments are files, `<signal>=<path>`; the answer is one line of JSON.
"""

import json
import sys

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def resource(of):
    return {one.key: one.value.string_value for one in of.resource.attributes}


def spans(data):
    for of_resource in ExportTraceServiceRequest.FromString(data).resource_spans:
        for scope in of_resource.scope_spans:
            for span in scope.spans:
                yield {
                    "name": span.name,
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "ns": [span.start_time_unix_nano, span.end_time_unix_nano],
                    "links": [[link.trace_id.hex(), link.span_id.hex()] for link in span.links],
                    "service": resource(of_resource)["service.name"],
                }


def points(data):
    for of_resource in ExportMetricsServiceRequest.FromString(data).resource_metrics:
        for scope in of_resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                yield {"name": metric.name, "kind": kind, "points": len(getattr(metric, kind).data_points)}


def lines(data):
    for of_resource in ExportLogsServiceRequest.FromString(data).resource_logs:
        for scope in of_resource.scope_logs:
            for record in scope.log_records:
                yield {"body": record.body.string_value, "trace": record.trace_id.hex()}


READERS = {"traces": spans, "metrics": points, "logs": lines}
told = {signal: [] for signal in READERS}
for argument in sys.argv[1:]:
    signal, path = argument.split("=", 1)
    with open(path, "rb") as file:
        told[signal].extend(READERS[signal](file.read()))
print(json.dumps(told))
