"""The events of Application Load Balancers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ddlwa.simulator.events.arrival import SOURCE_IP
from ddlwa.simulator.events.parts import encode_body, group, split_query

if TYPE_CHECKING:
    from ddlwa.simulator.events.arrival import Arrival
    from ddlwa.simulator.types import HttpRequest

__all__ = ["event"]


def event(request: HttpRequest, arrival: Arrival, *, multi_value: bool) -> dict[str, Any]:
    """Return the event of a request; query parameters keep their percent-encoding.

    Source: Elastic Load Balancing, "Use Lambda functions as targets of an Application Load Balancer".

    Args:
        request: The client's request.
        arrival: Its circumstances.
        multi_value: Whether the target group has multi-value headers enabled.
    """
    function = arrival.function
    path, _, query = request.path.partition("?")
    headers = {
        "host": [f"ddlwa-check-1234567890.{function.region}.elb.amazonaws.com"],
        "x-amzn-trace-id": [arrival.trace_id],
        "x-forwarded-for": [SOURCE_IP],
        "x-forwarded-port": ["443"],
        "x-forwarded-proto": ["https"],
        **group(request.headers, lower=True),
    }
    parameters = split_query(query)
    target_group = "targetgroup/ddlwa-check/0123456789abcdef"
    made: dict[str, Any] = {
        "requestContext": {
            "elb": {
                "targetGroupArn": (
                    f"arn:aws:elasticloadbalancing:{function.region}:{function.account}:{target_group}"
                )
            }
        },
        "httpMethod": request.method,
        "path": path,
    }
    if multi_value:
        made["multiValueQueryStringParameters"] = parameters
        made["multiValueHeaders"] = headers
    else:
        made["queryStringParameters"] = {name: values[-1] for name, values in parameters.items()}
        made["headers"] = {name: values[-1] for name, values in headers.items()}
    body, is_base64 = encode_body(request.body, headers)
    made["body"] = body
    made["isBase64Encoded"] = is_base64
    return made
