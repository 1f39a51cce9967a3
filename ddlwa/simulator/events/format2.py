"""Payload format 2.0: the events of function URLs, the same as those of HTTP APIs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ddlwa.simulator.events.arrival import SOURCE_IP
from ddlwa.simulator.events.parts import decode_query, encode_body, group
from ddlwa.simulator.events.source import EventSource

if TYPE_CHECKING:
    from ddlwa.simulator.events.arrival import Arrival
    from ddlwa.simulator.types import HttpRequest

__all__ = ["event"]

_URL_ID = "ddlwacheck0000000000000000000000"
_API_ID = "ddlwacheck"
_DEFAULT = "$default"


def event(request: HttpRequest, arrival: Arrival, *, source: EventSource) -> dict[str, Any]:
    """Return the event of a request.

    Source: AWS Lambda Developer Guide, "Invoking Lambda function URLs"; API Gateway Developer Guide,
    "Create AWS Lambda proxy integrations for HTTP APIs".

    Args:
        request: The client's request; its path is the one below the stage.
        arrival: Its circumstances.
        source: A function URL or an HTTP API.
    """
    function = arrival.function
    if source is EventSource.FUNCTION_URL:
        api, account, stage = _URL_ID, "anonymous", _DEFAULT
        domain = f"{api}.lambda-url.{function.region}.on.aws"
    else:
        api, account, stage = _API_ID, function.account, arrival.stage or _DEFAULT
        domain = f"{api}.execute-api.{function.region}.amazonaws.com"
    path, _, query = request.path.partition("?")
    if stage != _DEFAULT:
        path = f"/{stage}{path}"
    grouped = group(request.headers, lower=True)
    cookies = [part.strip() for value in grouped.pop("cookie", ()) for part in value.split(";")]
    headers = {
        "host": domain,
        "x-amzn-trace-id": arrival.trace_id,
        "x-forwarded-for": SOURCE_IP,
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
        **{name: ",".join(values) for name, values in grouped.items()},
    }
    made: dict[str, Any] = {
        "version": "2.0",
        "routeKey": _DEFAULT,
        "rawPath": path,
        "rawQueryString": query,
    }
    if cookies:
        made["cookies"] = cookies
    made["headers"] = headers
    if query:
        made["queryStringParameters"] = {
            name: ",".join(values) for name, values in decode_query(query).items()
        }
    made["requestContext"] = {
        "accountId": account,
        "apiId": api,
        "domainName": domain,
        "domainPrefix": api,
        "http": {
            "method": request.method,
            "path": path,
            "protocol": "HTTP/1.1",
            "sourceIp": SOURCE_IP,
            "userAgent": headers.get("user-agent", ""),
        },
        "requestId": arrival.request_id,
        "routeKey": _DEFAULT,
        "stage": stage,
        "time": arrival.clf,
        "timeEpoch": arrival.epoch_ms,
    }
    body, is_base64 = encode_body(request.body, grouped)
    if request.body:
        made["body"] = body
    made["isBase64Encoded"] = is_base64 and bool(request.body)
    return made
