from __future__ import annotations

import pytest

from ddlwa.simulator.adapter import AdapterOptions, InvokeMode


def read(**environment):
    return AdapterOptions.read(environment)


def test_the_defaults_are_those_of_lwa():
    """Without variables every option has LWA's default."""
    assert read() == AdapterOptions()
    assert read().healthy == frozenset(range(100, 500))


@pytest.mark.parametrize(
    ("environment", "option", "value"),
    [
        ({"AWS_LWA_INVOKE_MODE": "RESPONSE_STREAM"}, "invoke_mode", InvokeMode.RESPONSE_STREAM),
        ({"AWS_LWA_INVOKE_MODE": "nonsense"}, "invoke_mode", InvokeMode.BUFFERED),
        ({"AWS_LWA_READINESS_CHECK_PORT": "81"}, "readiness_port", 81),
        ({"READINESS_CHECK_PATH": "/old"}, "readiness_path", "/old"),
        ({"AWS_LWA_READINESS_CHECK_PATH": "/a", "READINESS_CHECK_PATH": "/old"}, "readiness_path", "/a"),
        ({"AWS_LWA_READINESS_CHECK_PROTOCOL": "tcp"}, "readiness_by_tcp", True),
        ({"AWS_LWA_READINESS_CHECK_HEALTHY_STATUS": "200-201, 404"}, "healthy", frozenset({200, 201, 404})),
        ({"AWS_LWA_READINESS_CHECK_MIN_UNHEALTHY_STATUS": "102"}, "healthy", frozenset({100, 101})),
        ({"AWS_LWA_ASYNC_INIT": "true"}, "async_init", True),
        ({"AWS_LWA_ASYNC_INIT": "1"}, "async_init", False),
        ({"REMOVE_BASE_PATH": "/shop"}, "base_path", "/shop"),
        ({"AWS_LWA_PASS_THROUGH_PATH": "/all"}, "pass_through_path", "/all"),
        ({"PASS_THROUGH_PATH": "/all"}, "pass_through_path", "/events"),
        ({"AWS_LWA_AUTHORIZATION_SOURCE": "X-Token"}, "authorization_source", "x-token"),
        ({"AWS_LWA_ERROR_STATUS_CODES": "500-501,x,1-y,404"}, "error_statuses", frozenset({404, 500, 501})),
        ({"AWS_LAMBDA_MAX_CONCURRENCY": "8"}, "concurrency", 8),
        ({"AWS_LAMBDA_MAX_CONCURRENCY": "0"}, "concurrency", 1),
    ],
)
def test_reads_a_variable(environment, option, value):
    """Each variable has its effect, old names too, and nonsense has none."""
    assert getattr(read(**environment), option) == value
