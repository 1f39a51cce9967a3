"""What the real libraries, each in a process of its own, have buffered is gone when a flush is over."""

import json
import socket
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from processes import python

_HOURS_S = 3600  # so that nothing leaves by the libraries' own clocks, only by a flush


class Intake:
    """Stands for whatever takes the data by HTTP, and keeps it.

    Attributes:
        requests: A path and a body each.
        may_answer: While it is clear, no POST is answered.
    """

    def __init__(self):
        self.requests = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def bodies(self, path):
        """Give the decoded bodies of what has come to a path."""
        return [json.loads(body) for asked, body in self.requests if asked == path]

    def close(self):
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler_for(intake):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer({"endpoints": ["/v0.4/traces", "/evp_proxy/v2/"], "version": "7.70.0"})

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("content-encoding") == "deflate":
                body = zlib.decompress(body)
            intake.requests.append((self.path.partition("?")[0], body))
            intake.may_answer.wait()
            self._answer({})

        do_PUT = do_POST  # noqa: N815 - the handler's naming

        def _answer(self, content):
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    return Handler


@pytest.fixture
def intake():
    intake = Intake()
    yield intake
    intake.close()


@pytest.fixture
def datagrams():
    """Give a UDP socket that stands for a DogStatsD server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        yield server


# The libraries use what is deprecated, of ddtrace and among themselves.
_BEGIN = """
import asyncio, json, os, sys, time, warnings
warnings.simplefilter("ignore")
from ddlwa.outlets import Outlets
outlets = Outlets()

def flush(timeout_s=20):
    begun = time.monotonic()
    asyncio.run(outlets.flush(timeout_s=timeout_s))
    return time.monotonic() - begun

def counts(name):
    return {outcome: count for outcome, count in outlets.stats()[name].items() if count}

def end(**outcome):
    in_use = [outlet.name for outlet in outlets.in_use()]
    print("outcome", json.dumps({"in_use": in_use, **outcome}), flush=True)
    os._exit(0)  # so that no library flushes at the end of the process
"""


def child(code, **env):
    """Run code after `_BEGIN`; give what it told `end`."""
    (outcome,) = python(_BEGIN + code, env={"DD_AGENT_HOST": "127.0.0.1", **env}).outcomes
    return outcome


def test_nothing_is_imported():
    """Looking for buffers and flushing them loads none of the libraries that may have some."""
    outcome = child(
        """
flush()
outlets.flush_blocking(timeout_s=1)
loaded = [name for name in sys.modules if name.partition(".")[0] in
          {"ddtrace", "datadog", "datadog_lambda", "opentelemetry"}]
end(loaded=loaded)
"""
    )
    assert outcome == {"in_use": [], "loaded": []}


def test_stock_ddtrace_has_nothing_to_flush(intake):
    """What `ddtrace.auto` loads by itself is not in use before it is enabled."""
    outcome = child("import ddtrace.auto; flush(); end()", DD_TRACE_AGENT_URL=intake.url)
    assert outcome == {"in_use": []}


LLMOBS = """
from ddtrace.llmobs import LLMObs
LLMObs.enable(ml_app="shop", integrations_enabled=False)

def ask():
    with LLMObs.workflow("advise") as span:
        LLMObs.annotate(input_data="tea or coffee?", output_data="tea")
        return LLMObs.export_span()

def judge(span):
    LLMObs.submit_evaluation(span=span, ml_app="shop", label="taste", metric_type="score", value=1)
"""


def llmobs_env(intake):
    """Let LLM Observability send its data by itself, through an agent."""
    return {
        "DD_TRACE_AGENT_URL": intake.url,
        "DD_LLMOBS_AGENTLESS_ENABLED": "false",
        "DD_APM_TRACING_ENABLED": "false",
        "_DD_LLMOBS_WRITER_INTERVAL": str(_HOURS_S),
    }


def test_llmobs(intake):
    """Spans and evaluations of LLM Observability have left when the flush is over."""
    outcome = child(LLMOBS + 'judge(ask()); flush(); end(counts=counts("llmobs"))', **llmobs_env(intake))
    assert outcome == {"in_use": ["llmobs"], "counts": {"flushed": 1}}
    ((payload,),) = intake.bodies("/evp_proxy/v2/api/v2/llmobs")
    assert [span["name"] for span in payload["spans"]] == ["advise"]
    (evaluations,) = (json.loads(body) for path, body in intake.requests if path.endswith("/eval-metric"))
    assert [metric["label"] for metric in evaluations["data"]["attributes"]["metrics"]] == ["taste"]


def test_llmobs_behind_an_agent_that_hangs(intake):
    """An agent that does not answer costs the time that was given, once; after that nobody waits for it."""
    intake.may_answer.clear()
    outcome = child(
        LLMOBS + "ask(); first = flush(0.2); ask(); second = flush(20); end(first=first, second=second, "
        'counts=counts("llmobs"))',
        **llmobs_env(intake),
        _DD_LLMOBS_WRITER_TIMEOUT="30",
    )
    assert 0.2 <= outcome["first"] < 2
    assert outcome["second"] < 2
    assert outcome["counts"] == {"late": 1, "skipped": 1}


def test_llmobs_disabled_again(intake):
    """Once it is disabled it is not in use."""
    outcome = child(LLMOBS + "LLMObs.disable(); flush(); end()", **llmobs_env(intake))
    assert outcome["in_use"] == []


def received(datagrams, count):
    """Give so many metrics that have come, without what the client says of itself."""
    lines = []
    while len(lines) < count:
        lines += [
            line for line in datagrams.recv(65535).decode().splitlines() if "datadog.dogstatsd" not in line
        ]
    return sorted(line.partition("|#")[0] for line in lines)


def statsd(datagrams, **options):
    """Give code that makes a DogStatsD client that sends nothing by its own clock."""
    arguments = {"host": "127.0.0.1", "port": datagrams.getsockname()[1], "flush_interval": 0}
    return f"from datadog.dogstatsd import DogStatsd\nclient = DogStatsd(**{ ({**arguments, **options})!r})\n"


@pytest.mark.parametrize(
    "options",
    [
        {"disable_buffering": False},
        {"disable_aggregation": False},
        {"disable_buffering": False, "disable_aggregation": False},
        {"disable_buffering": False, "disable_background_sender": False},
    ],
    ids=lambda options: " ".join(name.removeprefix("disable_") for name in options),
)
def test_dogstatsd(options, datagrams):
    """What a client has buffered, aggregated or queued has left when the flush is over."""
    code = 'client.increment("orders"); client.gauge("stock", 3); flush(); end(counts=counts("dogstatsd"))'
    outcome = child(statsd(datagrams, **options) + code)
    assert outcome == {"in_use": ["dogstatsd"], "counts": {"flushed": 1}}
    assert received(datagrams, 2) == ["orders:1|c", "stock:3|g"]


def test_dogstatsd_module_client(datagrams):
    """The client that the package brings is flushed too, once it is told to buffer."""
    outcome = child(
        f"""
import datadog
before = [outlet.name for outlet in outlets.in_use()]
datadog.initialize(statsd_host="127.0.0.1", statsd_port={datagrams.getsockname()[1]},
    statsd_disable_buffering=False, statsd_disable_aggregation=False,
    statsd_aggregation_flush_interval={_HOURS_S})
datadog.statsd.increment("orders")
flush()
end(before=before, counts=counts("dogstatsd"))
"""
    )
    assert outcome == {"in_use": ["dogstatsd"], "before": [], "counts": {"flushed": 1}}
    assert received(datagrams, 1) == ["orders:1|c"]


def test_dogstatsd_that_sends_at_once(datagrams):
    """A client as it is by default has nothing to flush."""
    outcome = child(
        statsd(datagrams) + 'client.increment("orders"); flush(); end(counts=counts("dogstatsd"))'
    )
    assert outcome == {"in_use": [], "counts": {}}


def test_dogstatsd_client_that_is_held(datagrams):
    """Looking does not wait for a client that a thread holds, and a flush no longer than it may."""
    outcome = child(
        statsd(datagrams, disable_buffering=False)
        + """
import threading
held, release = threading.Event(), threading.Event()
def hold():
    with client, client._buffer_lock:
        held.set()
        release.wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
begun = time.monotonic()
outlets.in_use()
looked = time.monotonic() - begun
seconds = flush(0.2)
end(looked=looked, seconds=seconds, counts=counts("dogstatsd"))
"""
    )
    assert outcome["looked"] < 0.1
    assert 0.2 <= outcome["seconds"] < 2
    assert outcome["counts"] == {"late": 1}


def test_a_forked_process_flushes_too(datagrams):
    """A process that was forked after a flush has a thread of its own."""
    outcome = child(
        statsd(datagrams, disable_buffering=False)
        + """
client.increment("parent")
flush()
pid = os.fork()
if pid == 0:
    client.increment("child")
    flush()
    os._exit(counts("dogstatsd") != {"flushed": 2})
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
end(status=status, counts=counts("dogstatsd"))
"""
    )
    assert outcome == {"in_use": ["dogstatsd"], "status": 0, "counts": {"flushed": 1}}
    assert received(datagrams, 2) == ["child:1|c", "parent:1|c"]


LAMBDA_METRICS = """
from datadog_lambda.metric import lambda_metric
lambda_metric("orders", 1)
"""


def lambda_env(intake):
    return {"DD_TRACE_AGENT_URL": intake.url, "DATADOG_HOST": intake.url, "DD_API_KEY": "none"}


def test_lambda_metrics(intake):
    """Metrics that datadog-lambda sends by itself have left after a flush; an empty one sends nothing."""
    code = 'flush(); flush(); end(counts=counts("lambda_metrics"))'
    outcome = child(LAMBDA_METRICS + code, **lambda_env(intake))
    assert outcome == {"in_use": ["lambda_metrics"], "counts": {"flushed": 2}}
    (payload,) = intake.bodies("/api/v1/distribution_points")
    assert [series["metric"] for series in payload["series"]] == ["orders"]


def test_lambda_metrics_that_hang(intake):
    """A Datadog that does not answer is waited for as long as was given."""
    intake.may_answer.clear()
    code = "first = flush(0.2); second = flush(20); "
    report = 'end(first=first, second=second, counts=counts("lambda_metrics"))'
    outcome = child(LAMBDA_METRICS + code + report, **lambda_env(intake))
    assert 0.2 <= outcome["first"] < 2
    assert outcome["second"] < 2
    assert outcome["counts"] == {"late": 1, "skipped": 1}


def test_lambda_metrics_that_are_logged(intake):
    """Metrics that go to the log are not buffered."""
    outcome = child(LAMBDA_METRICS + "flush(); end()", **lambda_env(intake), DD_FLUSH_TO_LOG="true")
    assert outcome["in_use"] == []


def test_lambda_metrics_with_the_extension(intake):
    """Beside the Datadog extension metrics go to it at once."""
    extension = """
import os.path
exists = os.path.exists
os.path.exists = lambda path: path == "/opt/extensions/datadog-agent" or exists(path)
"""
    outcome = child(extension + LAMBDA_METRICS + "flush(); end()", **lambda_env(intake))
    assert outcome["in_use"] == []


OTEL = """
from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export as log_export
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

hours_ms = 3_600_000
exported = []

class Metrics(MetricExporter):
    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        exported.extend(metric.name for resource in metrics_data.resource_metrics
            for scope in resource.scope_metrics for metric in scope.metrics)
        return MetricExportResult.SUCCESS
    def force_flush(self, timeout_millis=10_000):
        return True
    def shutdown(self, timeout_millis=30_000, **kwargs):
        pass

class Spans(InMemorySpanExporter):
    seconds = 0
    def export(self, spans):
        time.sleep(self.seconds)
        return super().export(spans)

# OpenTelemetry has renamed it.
in_memory = getattr(log_export, "InMemoryLogExporter", None) or log_export.InMemoryLogRecordExporter
spans, logs = Spans(), in_memory()
before = [outlet.name for outlet in outlets.in_use()]
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(spans, schedule_delay_millis=hours_ms))
reader = PeriodicExportingMetricReader(Metrics(), export_interval_millis=hours_ms)
metrics.set_meter_provider(MeterProvider([reader]))
_logs.set_logger_provider(LoggerProvider())
records = log_export.BatchLogRecordProcessor(logs, schedule_delay_millis=hours_ms)
_logs.get_logger_provider().add_log_record_processor(records)

def work():
    with trace.get_tracer("shop").start_as_current_span("order"):
        metrics.get_meter("shop").create_counter("orders").add(1)
        _logs.get_logger("shop").emit(_logs.LogRecord(body="ordered"))
"""


def test_opentelemetry():
    """Spans, metrics and log records of an OpenTelemetry SDK have left when the flush is over."""
    outcome = child(
        OTEL
        + """
work()
held = [len(spans.get_finished_spans()), len(exported), len(logs.get_finished_logs())]
flush()
end(before=before, held=held, counts=counts("opentelemetry"), metrics=exported,
    spans=[span.name for span in spans.get_finished_spans()],
    logs=[entry.log_record.body for entry in logs.get_finished_logs()])
"""
    )
    assert outcome == {
        "in_use": ["opentelemetry"],
        "before": [],
        "held": [0, 0, 0],
        "counts": {"flushed": 1},
        "spans": ["order"],
        "metrics": ["orders"],
        "logs": ["ordered"],
    }


def test_opentelemetry_exporter_that_hangs():
    """An exporter that takes longer than it may, whatever time it was told, is not waited for."""
    code = "spans.seconds = 60; work(); seconds = flush(0.2); "
    outcome = child(OTEL + code + 'end(seconds=seconds, counts=counts("opentelemetry"))')
    assert 0.2 <= outcome["seconds"] < 2
    assert outcome["counts"] == {"late": 1}


def test_opentelemetry_of_ddtrace(intake):
    """The provider that ddtrace puts in OpenTelemetry's place has nothing to flush, and is not disturbed."""
    outcome = child(
        """
import ddtrace.auto
from opentelemetry import trace
with trace.get_tracer("shop").start_as_current_span("order"):
    flush()
end(provider=type(trace.get_tracer_provider()).__module__, counts=counts("opentelemetry"))
""",
        DD_TRACE_AGENT_URL=intake.url,
        DD_TRACE_OTEL_ENABLED="true",
    )
    assert outcome["provider"].startswith("ddtrace.")
    assert (outcome["in_use"], outcome["counts"]) == ([], {})


def test_opentelemetry_provider_that_the_environment_names():
    """A provider that OpenTelemetry would load when it is asked for is not loaded by looking."""
    outcome = child(
        """
from opentelemetry import _logs, metrics, trace
flush()
end(sdk="opentelemetry.sdk" in sys.modules)
""",
        OTEL_PYTHON_TRACER_PROVIDER="sdk_tracer_provider",
        OTEL_PYTHON_METER_PROVIDER="sdk_meter_provider",
        OTEL_PYTHON_LOGGER_PROVIDER="sdk_logger_provider",
    )
    assert outcome == {"in_use": [], "sdk": False}
