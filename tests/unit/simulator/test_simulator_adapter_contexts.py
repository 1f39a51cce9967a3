from __future__ import annotations

import json

from ddlwa.simulator.adapter.contexts import lambda_context
from ddlwa.simulator.adapter.inbound import app_request
from ddlwa.simulator.adapter.options import AdapterOptions
from ddlwa.simulator.environment import Function

_FUNCTION = Function(name="shop", memory_mb=512, timeout_s=3)
_HEADERS = {
    "Lambda-Runtime-Aws-Request-Id": "id",
    "Lambda-Runtime-Deadline-Ms": "5",
    "Lambda-Runtime-Invoked-Function-Arn": "arn",
}


def test_an_invocation_needs_neither_trace_nor_client():
    """What the Runtime API does not say is null."""
    context = lambda_context(_HEADERS, _FUNCTION)
    assert (context["request_id"], context["deadline"]) == ("id", 5)
    absent = ("xray_trace_id", "client_context", "identity", "tenant_id")
    assert [context[name] for name in absent] == [None] * 4


def test_tells_of_client_identity_and_tenant():
    """The client context and the identity come in the names that LWA gives their fields."""
    client = {"client": {"installation_id": "i", "appTitle": "t"}, "custom": {"a": "b"}, "env": {"c": "d"}}
    given = {
        **_HEADERS,
        "Lambda-Runtime-Client-Context": json.dumps(client),
        "Lambda-Runtime-Cognito-Identity": '{"cognitoIdentityId": "1", "cognitoIdentityPoolId": "2"}',
        "Lambda-Runtime-Aws-Tenant-Id": "blue",
    }
    context = lambda_context(given, _FUNCTION)
    assert context["client_context"]["client"]["installationId"] == "i"
    assert context["client_context"]["client"]["appTitle"] == "t"
    assert context["client_context"]["client"]["appVersionCode"] == ""
    assert context["client_context"]["custom"] == {"a": "b"}
    assert context["identity"] == {"identityId": "1", "identityPoolId": "2"}
    assert context["tenant_id"] == "blue"


def test_the_app_is_told_the_tenant():
    """With a tenant the request has its header, which overwrites what the client sent."""
    context = lambda_context({**_HEADERS, "Lambda-Runtime-Aws-Tenant-Id": "blue"}, _FUNCTION)
    event = {
        "rawPath": "/",
        "headers": {"X-Amz-Tenant-Id": "forged", "X-Amzn-Trace-Id": "front"},
        "requestContext": {"http": {"method": "GET"}},
    }
    request = app_request(json.dumps(event).encode(), lambda_context=context, options=AdapterOptions())
    assert dict(request.headers)["x-amz-tenant-id"] == "blue"
    assert dict(request.headers)["x-amzn-trace-id"] == "front"  # the Runtime API gave none
