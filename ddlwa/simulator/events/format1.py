"""Payload format 1.0: the events of REST APIs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ddlwa.simulator.events.arrival import SOURCE_IP
from ddlwa.simulator.events.parts import decode_query, encode_body, group

if TYPE_CHECKING:
    from ddlwa.simulator.events.arrival import Arrival
    from ddlwa.simulator.types import HttpRequest

__all__ = ["event"]

_API_ID = "ddlwacheck"
_STAGE = "prod"


def event(request: HttpRequest, arrival: Arrival) -> dict[str, Any]:
    """Return the event of a request to an API with one resource for all paths.

    Source: API Gateway Developer Guide, "Lambda proxy integrations in API Gateway", input format.

    Args:
        request: The client's request; its path is the one below the stage.
        arrival: Its circumstances.
    """
    path, _, query = request.path.partition("?")
    stage = arrival.stage or _STAGE
    domain = f"{_API_ID}.execute-api.{arrival.function.region}.amazonaws.com"
    client = group(request.headers)
    lower = group(request.headers, lower=True)
    own = {
        "Host": [domain],
        "X-Amzn-Trace-Id": [arrival.trace_id],
        "X-Forwarded-For": [SOURCE_IP],
        "X-Forwarded-Port": ["443"],
        "X-Forwarded-Proto": ["https"],
    }
    headers = {name: values for name, values in own.items() if name.lower() not in lower} | client
    parameters = decode_query(query)
    body, is_base64 = encode_body(request.body, lower)
    proxy = unquote(path.lstrip("/"))
    resource = "/{proxy+}" if proxy else "/"
    return {
        "resource": resource,
        "path": path,
        "httpMethod": request.method,
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in parameters.items()} or None,
        "multiValueQueryStringParameters": parameters or None,
        "pathParameters": {"proxy": proxy} if proxy else None,
        "stageVariables": None,
        "requestContext": {
            "resourceId": "abc123",
            "resourcePath": resource,
            "operationName": "proxy",
            "httpMethod": request.method,
            "extendedRequestId": "ddlwaFAKEvHcQ=",
            "requestTime": arrival.clf,
            "path": f"/{stage}{path}",
            "accountId": arrival.function.account,
            "protocol": "HTTP/1.1",
            "stage": stage,
            "domainPrefix": _API_ID,
            "requestTimeEpoch": arrival.epoch_ms,
            "requestId": arrival.request_id,
            "identity": {
                "cognitoIdentityPoolId": None,
                "accountId": None,
                "cognitoIdentityId": None,
                "caller": None,
                "sourceIp": SOURCE_IP,
                "principalOrgId": None,
                "accessKey": None,
                "cognitoAuthenticationType": None,
                "cognitoAuthenticationProvider": None,
                "userArn": None,
                "userAgent": lower.get("user-agent", [None])[-1],
                "user": None,
            },
            "domainName": domain,
            "deploymentId": "dep123",
            "apiId": _API_ID,
        },
        "body": body if request.body else None,
        "isBase64Encoded": is_base64 and bool(request.body),
    }
