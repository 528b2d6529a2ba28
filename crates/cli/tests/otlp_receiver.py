"""A receiver of OTLP over gRPC and HTTP, made of OpenTelemetry's own messages: prints what it gets, one JSON document per line."""
import json
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc

LOCK = threading.Lock()


def say(**what):
    with LOCK:
        print(json.dumps(what), flush=True)


def value(any_value):
    which = any_value.WhichOneof("value")
    return getattr(any_value, which) if which else None


def attributes(of):
    return {one.key: value(one.value) for one in of}


def take_traces(request, by):
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                say(
                    signal="span", by=by, service=attributes(resource.resource.attributes)["service.name"], scope=scope.scope.name,
                    trace=span.trace_id.hex(), span=span.span_id.hex(), parent=span.parent_span_id.hex(), name=span.name, kind=span.kind,
                    start=span.start_time_unix_nano, end=span.end_time_unix_nano, status=span.status.code, state=span.trace_state,
                    attributes=attributes(span.attributes),
                )


def take_metrics(request, by):
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                data = getattr(metric, metric.WhichOneof("data"))
                for point in data.data_points:
                    count = point.count if metric.HasField("histogram") else point.as_double
                    say(
                        signal="metric", by=by, service=attributes(resource.resource.attributes)["service.name"], name=metric.name,
                        unit=metric.unit, kind=metric.WhichOneof("data"), count=count, attributes=attributes(point.attributes),
                        buckets=list(point.bucket_counts) if metric.HasField("histogram") else [],
                    )


def take_logs(request, by):
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                say(
                    signal="log", by=by, service=attributes(resource.resource.attributes)["service.name"], body=value(record.body),
                    trace=record.trace_id.hex(), span=record.span_id.hex(), severity=record.severity_text,
                    attributes=attributes(record.attributes),
                )


class Traces(traces_grpc.TraceServiceServicer):
    def Export(self, request, context):
        take_traces(request, "grpc")
        return traces.ExportTraceServiceResponse()


class Metrics(metrics_grpc.MetricsServiceServicer):
    def Export(self, request, context):
        take_metrics(request, "grpc")
        return metrics.ExportMetricsServiceResponse()


class Logs(logs_grpc.LogsServiceServicer):
    def Export(self, request, context):
        take_logs(request, "grpc")
        return logs.ExportLogsServiceResponse()


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    signals = {
        "/v1/traces": (traces.ExportTraceServiceRequest, take_traces, traces.ExportTraceServiceResponse),
        "/v1/metrics": (metrics.ExportMetricsServiceRequest, take_metrics, metrics.ExportMetricsServiceResponse),
        "/v1/logs": (logs.ExportLogsServiceRequest, take_logs, logs.ExportLogsServiceResponse),
    }

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        request, take, response = self.signals[self.path]
        assert self.headers["content-type"] == "application/x-protobuf", self.headers
        take(request.FromString(body), "http")
        answer = response().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def main(address):
    server = grpc.server(futures.ThreadPoolExecutor(8))
    traces_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    logs_grpc.add_LogsServiceServicer_to_server(Logs(), server)
    port = server.add_insecure_port(f"{address}:0")
    server.start()
    web = ThreadingHTTPServer((address, 0), Http)
    say(signal="ready", grpc=port, http=web.server_port)
    web.serve_forever()


main(sys.argv[1])
