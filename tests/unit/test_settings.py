"""The environment: defaults, values, and values that make no sense."""

import pytest

from ddlwa.settings import OUTLETS, Mode, OpenSpans, Settings, load

ALL_OUTLETS = ",".join(sorted(OUTLETS))
MILLISECONDS = "a number of milliseconds from 0 to 60000"
LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "shop"}


def test_defaults_in_lambda():
    """In Lambda the hold is on without any setting."""
    assert load(LAMBDA) == Settings() == Settings(mode=Mode.HOLD, hold_timeout_s=0.1, flush_timeout_s=0.2)


@pytest.mark.parametrize(
    ("env", "mode"),
    [
        ({}, Mode.OFF),
        ({"AWS_LAMBDA_FUNCTION_NAME": ""}, Mode.OFF),
        ({"DDLWA_ENABLED": "true"}, Mode.HOLD),
        ({"DDLWA_ENABLED": "1"}, Mode.HOLD),
        ({"DDLWA_MODE": "hold"}, Mode.OFF),
        ({**LAMBDA, "DDLWA_ENABLED": "false"}, Mode.OFF),
        ({**LAMBDA, "DDLWA_ENABLED": ""}, Mode.HOLD),
        ({**LAMBDA, "DDLWA_ENABLED": " False "}, Mode.OFF),
        ({**LAMBDA, "DDLWA_MODE": "off"}, Mode.OFF),
        ({**LAMBDA, "DDLWA_MODE": "HOLD"}, Mode.HOLD),
        ({**LAMBDA, "DDLWA_MODE": "extension"}, Mode.EXTENSION),
        ({**LAMBDA, "AWS_LAMBDA_MAX_CONCURRENCY": "1"}, Mode.HOLD),
        ({**LAMBDA, "AWS_LAMBDA_MAX_CONCURRENCY": "x"}, Mode.HOLD),
        ({**LAMBDA, "AWS_LAMBDA_MAX_CONCURRENCY": "10"}, Mode.OFF),
        ({**LAMBDA, "AWS_LAMBDA_MAX_CONCURRENCY": "10", "DDLWA_MODE": "hold"}, Mode.HOLD),
    ],
)
def test_mode(env, mode, warnings_said):
    """Outside Lambda, and on Managed Instances, it is off unless asked for."""
    assert load(env).mode is mode
    assert warnings_said() == []


def test_values():
    """Each variable sets its field; milliseconds become seconds."""
    env = {"DDLWA_HOLD_TIMEOUT_MS": "50", "DDLWA_FLUSH_TIMEOUT_MS": "0.5", "DDLWA_OPEN_SPANS": "keep"}
    env["DDLWA_DEADLINE_MARGIN_MS"] = "250"
    assert load({**LAMBDA, **env}) == Settings(
        hold_timeout_s=0.05,
        flush_timeout_s=0.0005,
        open_spans=OpenSpans.KEEP,
        deadline_margin_s=0.25,
        timeout_margin_s=0.25,
    )
    env["DD_APM_FLUSH_DEADLINE_MILLISECONDS"] = "100"
    assert load({**LAMBDA, **env}).timeout_margin_s == 0.1


@pytest.mark.parametrize(
    ("env", "margin_s"),
    [
        ({}, 0.5),
        ({"DDLWA_DEADLINE_MARGIN_MS": "250"}, 0.25),
        ({"DD_APM_FLUSH_DEADLINE_MILLISECONDS": "100"}, 0.1),
        ({"DD_APM_FLUSH_DEADLINE_MILLISECONDS": "100", "DDLWA_DEADLINE_MARGIN_MS": "250"}, 0.1),
        ({"DD_APM_FLUSH_DEADLINE_MILLISECONDS": "-1", "DDLWA_DEADLINE_MARGIN_MS": "250"}, 0.25),
    ],
)
def test_margin_of_timeouts(env, margin_s):
    """For timeouts ddtrace's own variable counts before the margin for everything."""
    settings = load({**LAMBDA, **env})
    assert settings.timeout_margin_s == margin_s
    assert settings.deadline_margin_s == float(env.get("DDLWA_DEADLINE_MARGIN_MS", 500)) / 1000


def test_lambdas_apis_are_known_in_lambda_only():
    """The address of Lambda's APIs counts in Lambda, where nobody else sets it, and SnapStart is known."""
    env = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001", "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
    assert load({**LAMBDA, **env}) == Settings(runtime_api="127.0.0.1:9001", snap_start=True)
    assert load({**env, "DDLWA_ENABLED": "true"}).runtime_api == ""


@pytest.mark.parametrize(
    ("env", "address"),
    [
        ({}, None),
        ({"DDLWA_METRICS": "true"}, ("127.0.0.1", 8125)),
        ({"DDLWA_METRICS": "true", "DD_AGENT_HOST": "agent", "DD_DOGSTATSD_PORT": "9125"}, ("agent", 9125)),
        ({"DDLWA_METRICS": "true", "DD_DOGSTATSD_PORT": "x"}, ("127.0.0.1", 8125)),
        ({"DD_DOGSTATSD_PORT": "9125"}, None),
    ],
)
def test_metrics(env, address):
    """Metrics go where Datadog's libraries send them, if they are wanted."""
    assert load({**LAMBDA, **env}).statsd == address


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DDLWA_ENABLED", "maybe", "DDLWA_ENABLED='maybe' is not true or false; using True"),
        ("DDLWA_MODE", "fast", "DDLWA_MODE='fast' is not hold or extension or off; using hold"),
        ("DDLWA_OPEN_SPANS", "drop", "DDLWA_OPEN_SPANS='drop' is not finish or keep; using finish"),
        *(
            (
                "DDLWA_FLUSH_TIMEOUT_MS",
                value,
                f"DDLWA_FLUSH_TIMEOUT_MS={value!r} is not {MILLISECONDS}; using 200.0",
            )
            for value in ("soon", "-1", "nan", "60001")
        ),
        (
            "DDLWA_RETAIN_BYTES",
            "4 MiB",
            "DDLWA_RETAIN_BYTES='4 MiB' is not a number of bytes from 0 to 1073741824; using 4194304",
        ),
        (
            "DDLWA_OUTLETS",
            "statsd",
            f"DDLWA_OUTLETS='statsd' is not none, or some of {ALL_OUTLETS}; using {ALL_OUTLETS}",
        ),
    ],
)
def test_bad_value(name, value, expected, warnings_said):
    """A value that makes no sense means the default and a warning that says what is allowed."""
    assert load({**LAMBDA, name: value}) == Settings()
    assert warnings_said() == [expected]


@pytest.mark.parametrize(
    ("env", "expected"),
    [({}, False), (LAMBDA, True), ({**LAMBDA, "AWS_LAMBDA_MAX_CONCURRENCY": "10"}, False)],
)
def test_one_at_a_time(env, expected):
    """Only Lambda serves one request at a time, but for its Managed Instances."""
    assert load(env).one_at_a_time is expected


def test_retention():
    """How much is retained, and how long, can be said in bytes and in seconds."""
    settings = load({**LAMBDA, "DDLWA_RETAIN_BYTES": "65536", "DDLWA_RETAIN_S": "60"})
    assert (settings.retain_bytes, settings.retain_s) == (65536, 60.0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", OUTLETS), ("none", frozenset()), ("llmobs, DogStatsD", frozenset({"llmobs", "dogstatsd"}))],
)
def test_outlets(value, expected):
    """All other buffers are flushed, or those that are named, or none."""
    assert load({**LAMBDA, "DDLWA_OUTLETS": value}).outlets == expected
