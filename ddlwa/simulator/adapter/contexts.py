"""The two contexts that LWA tells the app about in headers: the request's, the invocation's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ddlwa.simulator.events import EventSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ddlwa.simulator.environment import Function

__all__ = ["lambda_context", "request_context"]

# The fields that aws_lambda_events 1.2 knows, in its order; others are dropped, missing ones are null.
_FORMAT_1 = (
    "accountId",
    "resourceId",
    "operationName",
    "stage",
    "domainName",
    "domainPrefix",
    "requestId",
    "protocol",
    "identity",
    "resourcePath",
    "path",
    "authorizer",
    "httpMethod",
    "requestTime",
    "requestTimeEpoch",
    "apiId",
)
_IDENTITY = (
    "cognitoIdentityPoolId",
    "accountId",
    "cognitoIdentityId",
    "caller",
    "apiKey",
    "apiKeyId",
    "accessKey",
    "sourceIp",
    "cognitoAuthenticationType",
    "cognitoAuthenticationProvider",
    "userArn",
    "userAgent",
    "user",
)
_FORMAT_2 = (
    "routeKey",
    "accountId",
    "stage",
    "requestId",
    "authorizer",
    "apiId",
    "domainName",
    "domainPrefix",
    "time",
    "timeEpoch",
    "http",
    "authentication",
)
_HTTP = ("method", "path", "protocol", "sourceIp", "userAgent")
_IAM = ("accessKey", "accountId", "callerId", "cognitoIdentity", "principalOrgId", "userArn", "userId")
_NOT_NULL = ("operationName", "authorizer", "authentication", "cognitoIdentity")


def request_context(event: Mapping[str, Any], source: EventSource | None) -> dict[str, Any] | None:
    """Return an event's request context as the app sees it, None for a pass-through event.

    Args:
        event: The event.
        source: What it came from.
    """
    if source is None:
        return None
    context = event["requestContext"]
    if source in (EventSource.ALB, EventSource.ALB_MULTI_VALUE):
        return {"elb": _known(context["elb"], ("targetGroupArn",))}
    if source is EventSource.REST_API:
        known = _known(context, _FORMAT_1)
        known["identity"] = _known(context.get("identity") or {}, _IDENTITY)
        known["requestTimeEpoch"] = context.get("requestTimeEpoch", 0)
        return known
    known = _known(context, _FORMAT_2)
    known["http"] = _known(context["http"], _HTTP)
    known["timeEpoch"] = context.get("timeEpoch", 0)
    if "authorizer" in known and known["authorizer"].get("iam"):
        known["authorizer"] = {**known["authorizer"], "iam": _known(known["authorizer"]["iam"], _IAM)}
    return known


def lambda_context(headers: Mapping[str, str], function: Function) -> dict[str, Any]:
    """Return an invocation's context as the app sees it.

    Source: lambda_runtime 1.1.0-rc1, src/types.rs.

    Args:
        headers: The Runtime API's headers with the event.
        function: The function's configuration.
    """
    return {
        "request_id": headers["Lambda-Runtime-Aws-Request-Id"],
        "deadline": int(headers["Lambda-Runtime-Deadline-Ms"]),
        "invoked_function_arn": headers["Lambda-Runtime-Invoked-Function-Arn"],
        "xray_trace_id": headers.get("Lambda-Runtime-Trace-Id"),
        "client_context": _client_context(headers.get("Lambda-Runtime-Client-Context")),
        "identity": _identity(headers.get("Lambda-Runtime-Cognito-Identity")),
        "tenant_id": headers.get("Lambda-Runtime-Aws-Tenant-Id"),
        "env_config": {
            "function_name": function.name,
            "memory": function.memory_mb,
            "version": function.version,
            "log_stream": function.log_stream,
            "log_group": function.log_group,
        },
    }


def _known(value: Mapping[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    known = {name: value.get(name) for name in fields}
    return {name: one for name, one in known.items() if one is not None or name not in _NOT_NULL}


def _client_context(text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    given = json.loads(text)
    client = given.get("client") or {}
    fields = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")
    return {
        "client": {_camel(name): client.get(name, client.get(_camel(name), "")) for name in fields},
        "custom": given.get("custom") or {},
        "environment": given.get("environment") or given.get("env") or {},
    }


def _identity(text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    given = json.loads(text)
    return {
        own: next((given[name] for name in names if name in given), "")
        for own, names in (
            ("identityId", ("identityId", "cognitoIdentityId", "identity_id")),
            ("identityPoolId", ("identityPoolId", "cognitoIdentityPoolId", "identity_pool_id")),
        )
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
