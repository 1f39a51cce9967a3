"""What Datadog is told of an invocation: the tags that datadog-lambda gives to the span of a handler."""

from __future__ import annotations

import binascii
import json
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ddlwa.event import inner

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ddlwa.invocation import Invocation

# Longer than any name of AWS's, and than the URLs that proxies on the way to a function commonly let through.
_TAG_CHARACTERS = 2048
# An account invokes one function by few names: its versions and aliases.
_FUNCTIONS = 16

_API_GATEWAY = "api-gateway"
_FUNCTION_URL = "lambda-function-url"
_LOAD_BALANCER = "application-load-balancer"
_HTTP = frozenset({_API_GATEWAY, _FUNCTION_URL, _LOAD_BALANCER})
_CLOUDFRONT = "cloudfront"
_SCHEDULE = "cloudwatch-events"
_LOGS = "cloudwatch-logs"
_STEPS = "states"
_RECORDS = {f"aws:{name}": name for name in ("dynamodb", "kinesis", "s3", "sns", "sqs")}

_STATE = frozenset({"Execution", "StateMachine", "State"})
_STATE_IN_DATADOG = _STATE | {"serverless-version"}

_HEADERS = {name.encode(): name for name in ("host", "referer", "user-agent", "x-forwarded-proto")}
# As much base64 as decodes to this, and as much text as comes of it, is looked at: the group stands first.
_LOGS_BYTES = 48 * 1024


def trigger_tags(
    invocation: Invocation, headers: Iterable[tuple[bytes, bytes]], *, method: str, path: str
) -> dict[str, str]:
    """Tell what has made an HTTP request to the function.

    Args:
        invocation: The request's.
        headers: The request's, their names in lower case.
        method: Its method.
        path: Its path, percent-encoded; only a load balancer's events have no other.

    Returns:
        The tags, each a printable text of bounded length; none for a pass-through event, whose
        `event_tags` are to be had.

    Source: datadog-lambda 8.130, datadog_lambda/trigger.py, extract_trigger_tags.
    """
    context = invocation.request_context
    if context is None:
        return {}
    wanted: dict[str, str] = {}
    for name, value in headers:
        known = _HEADERS.get(name)
        if known is not None:
            wanted.setdefault(known, value.decode(errors="replace"))
    event: dict[str, Any] = {"requestContext": context, "headers": wanted, "httpMethod": method, "path": path}
    if "http" in context:
        event["version"] = "2.0"
        event["routeKey"] = context.get("routeKey")
    else:
        event["resource"] = context.get("resourcePath")
    return event_tags(event, invocation)


def request_tags(invocation: Invocation, scope: Mapping[str, Any], event: object) -> dict[str, str]:
    """Tell what has triggered a request, be it a pass-through event or a client's request.

    Args:
        invocation: The request's.
        scope: Its ASGI scope.
        event: The decoded event, if it is one that was passed through.
    """
    if event is not None:
        return event_tags(event, invocation)
    return trigger_tags(invocation, scope["headers"], method=scope["method"], path=path_of(scope))


def path_of(scope: Mapping[str, Any]) -> str:
    """Give the path of an ASGI scope, percent-encoded as the client has it."""
    raw: bytes = scope.get("raw_path") or b""
    return raw.decode("latin-1")


def event_tags(event: object, invocation: Invocation) -> dict[str, str]:
    """Tell where an event comes from.

    Args:
        event: The event, as decoded from JSON.
        invocation: What it came with.

    Returns:
        The tags, each a printable text of bounded length; none for an event of unknown origin.

    Source: datadog-lambda 8.130, datadog_lambda/trigger.py, extract_trigger_tags.
    """
    if not isinstance(event, dict):
        return {}
    records = event.get("Records")
    record = records[0] if isinstance(records, list) and records and isinstance(records[0], dict) else {}
    source = _source(event, record)
    if source is None:
        return {}
    tags = {"function_trigger.event_source": source}
    holder = record or event
    for arn in (holder.get("eventSourceARN"), holder.get("eventSourceArn")):
        if _put(tags, "function_trigger.event_source_arn", arn):
            break
    else:
        arn = _arn(source, event, record, function_arn=invocation.function_arn)
        _put(tags, "function_trigger.event_source_arn", arn)
    if source in _HTTP:
        _add_http(tags, event)
    return tags


def status_code(tags: Mapping[str, str], status: int | None) -> str | None:
    """Give the tag `http.status_code`, or None where what has triggered the function expects no such thing.

    Args:
        tags: What `trigger_tags` or `event_tags` gave.
        status: The response's status; None if there was no response.

    Source: datadog-lambda 8.130, datadog_lambda/trigger.py, extract_http_status_code_tag.
    """
    if tags.get("function_trigger.event_source") not in _HTTP:
        return None
    return "502" if status is None else str(status)


def function_tags(invocation: Invocation, *, cold_start: bool, proactive: bool) -> dict[str, str]:
    """Tell which function was invoked, and how.

    Args:
        invocation: The invocation.
        cold_start: Whether it is the first of a sandbox that was made for it.
        proactive: Whether it is the first of a sandbox that was made ahead.

    Source: datadog-lambda 8.130, datadog_lambda/tracing.py, create_function_execution_span, and, for what
    is common to all its metrics, datadog_lambda/tags.py, get_enhanced_metrics_tags.
    """
    tags = {
        **_function_tags(
            invocation.function_arn, invocation.function_name, invocation.memory_mb, invocation.version
        ),
        "request_id": invocation.request_id,
        "cold_start": "true" if cold_start else "false",
    }
    if proactive:
        tags["proactive_initialization"] = "true"
    if invocation.tenant_id:
        tags["tenant_id"] = invocation.tenant_id
    return tags


class _Function(NamedTuple):
    """The parts of a function's ARN; those that it lacks are empty."""

    partition: str
    region: str
    account: str
    name: str
    qualifier: str


@lru_cache(maxsize=_FUNCTIONS)
def _function(arn: str) -> _Function | None:
    parts = arn.split(":", 8)
    if len(parts) not in {7, 8} or not all(parts[:7]):
        return None
    _, partition, _, region, account, _, name, *qualifiers = parts
    return _Function(partition, region, account, name, "".join(qualifiers))


@lru_cache(maxsize=_FUNCTIONS)
def _function_tags(arn: str, name: str, memory_mb: int, version: str) -> dict[str, str]:
    tags = {"span.kind": "server"}
    function = _function(arn)
    if function is not None:
        qualifier = function.qualifier
        tags["function_arn"] = ":".join(arn.lower().split(":")[:7])
        tags["function_version"] = qualifier.lower() or "$LATEST"
        tags["region"] = function.region
        tags["account_id"] = function.account
        # Of an alias one wants to know what it stood for; a version's number, or $LATEST, says so itself.
        if qualifier and version and not (qualifier.startswith("$") or qualifier.isdecimal()):
            tags["executedversion"] = version
    if name:
        tags["functionname"] = name.lower()
        tags["resource_names"] = name
    if memory_mb:
        tags["memorysize"] = str(memory_mb)
    return tags


def _source(event: dict[str, Any], record: dict[str, Any]) -> str | None:
    """Name the service that an event comes from; of several marks the most telling one counts."""
    context = event.get("requestContext")
    context = context if isinstance(context, dict) else {}
    if context.get("stage") and _is_function_url(context.get("domainName")):
        return _FUNCTION_URL
    if record:
        service = record.get("eventSource") or record.get("EventSource")
        if record.get("cf"):
            return _CLOUDFRONT
        if isinstance(service, str) and service in _RECORDS:
            return _RECORDS[service]
    detail = event.get("detail")
    has_categories = isinstance(detail, dict) and detail.get("EventCategories") is not None
    marks = (
        (_STEPS, _state(event) is not None),
        (_SCHEDULE, event.get("source") == "aws.events" or has_categories),
        ("eventbridge", event.get("detail-type")),
        (_LOGS, event.get("awslogs")),
        (_LOAD_BALANCER, context.get("elb")),
        (_API_GATEWAY, context.get("stage")),
    )
    return next((source for source, mark in marks if mark), None)


def _is_function_url(domain: object) -> bool:
    return isinstance(domain, str) and domain.split(".", 2)[1:2] == ["lambda-url"]


def _state(event: dict[str, Any]) -> dict[str, Any] | None:
    """Give the part of an event in which Step Functions tell of the state that has invoked the function."""
    payload = event.get("Payload", event)
    if not isinstance(payload, dict):
        return None
    told = payload.get("_datadog")
    if isinstance(told, dict) and told.keys() >= _STATE_IN_DATADOG:
        return told
    return payload if payload.keys() >= _STATE else None


def _arn(source: str, event: dict[str, Any], record: dict[str, Any], *, function_arn: str) -> object:
    """Find the ARN of what has triggered the function, or make it, where the event has not its own."""
    if source == "s3":
        return inner(record, "s3", "bucket", "arn")
    if source == "sns":
        return inner(record, "Sns", "TopicArn")
    if source == _LOAD_BALANCER:
        return inner(event, "requestContext", "elb", "targetGroupArn")
    if source == _STEPS:
        return inner(_state(event), "StateMachine", "Id")
    if source == _SCHEDULE:
        resources = event.get("resources")
        return resources[0] if isinstance(resources, list) and resources else None
    function = _function(function_arn)
    return None if function is None else _made_arn(source, event, record, function=function)


def _made_arn(
    source: str, event: dict[str, Any], record: dict[str, Any], *, function: _Function
) -> str | None:
    partition, region, account, name, qualifier = function
    if source == _FUNCTION_URL:
        # The partition is not the function's: so does datadog-lambda.
        return f"arn:aws:lambda:{region}:{account}:url:{name}{qualifier and ':'}{qualifier}"
    if source == _API_GATEWAY:
        api = _text(inner(event, "requestContext", "apiId"))
        stage = _text(inner(event, "requestContext", "stage"))
        return api and stage and f"arn:{partition}:apigateway:{region}::/restapis/{api}/stages/{stage}"
    if source == _LOGS:
        group = _log_group(inner(event, "awslogs", "data"))
        return group and f"arn:{partition}:logs:{region}:{account}:log-group:{group}"
    if source == _CLOUDFRONT:
        distribution = _text(inner(record, "cf", "config", "distributionId"))
        return distribution and f"arn:{partition}:cloudfront::{account}:distribution/{distribution}"
    return None


def _log_group(data: object) -> str | None:
    """Read the log group from CloudWatch's compressed records, but not the records, which can be many."""
    if not isinstance(data, str):
        return None
    try:
        packed = binascii.a2b_base64(data[: _LOGS_BYTES // 3 * 4])
        text = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(packed, _LOGS_BYTES)
        return _text(_first(text.decode(errors="replace"), "logGroup"))
    except (ValueError, RecursionError, zlib.error):
        return None


def _first(text: str, wanted: str) -> object:
    """Give the value of this name in the beginning of a JSON object's text.

    Raises:
        ValueError: There is none before the text breaks off.
        RecursionError: What is before it is nested too deeply.
    """
    at = _after(text, "{", 0)
    while True:
        name, at = _decoder.raw_decode(text, at)
        value, at = _decoder.raw_decode(text, _after(text, ":", at))
        if name == wanted:
            return value
        at = _after(text, ",", at)


def _after(text: str, mark: str, at: int) -> int:
    """Say where, from here on, the first value after a punctuation mark begins."""
    at = text.index(mark, at) + 1
    while text[at : at + 1].isspace():
        at += 1
    return at


_decoder = json.JSONDecoder()


def _add_http(tags: dict[str, str], event: dict[str, Any]) -> None:
    """Add what an event tells of the HTTP request that it was made of."""
    context: dict[str, Any] = event["requestContext"]
    headers = _headers(event)
    method, path = event.get("httpMethod"), _text(event.get("path"))
    origin = None
    tags["span.kind"] = "server"
    if context.get("stage"):
        domain = _text(context.get("domainName"))
        origin = domain and f"https://{domain}"
        http = context.get("http")
        if event.get("version") == "2.0" and isinstance(http, dict) and http:
            method, path = http.get("method"), _text(http.get("path"))
        else:
            method, path = context.get("httpMethod"), _text(context.get("path"))
    else:
        # What a client may put before the host, its name and password, is not told.
        host = (_text(headers.get("host")) or "").rpartition("@")[2]
        origin = host and f"{_text(headers.get('x-forwarded-proto')) or 'http'}://{host}"
        _put(tags, "http.useragent", headers.get("user-agent"))
        _put(tags, "http.route", path)
    _put(tags, "http.url", origin and f"{origin}{path or ''}")
    _put(tags, "http.method", method)
    _put(tags, "http.referer", next((headers[name] for name in headers if name.lower() == "referer"), None))
    route = _text(event.get("routeKey")) or _text(event.get("resource"))
    _put(tags, "http.route", route and route.rpartition(" ")[2])


def _headers(event: dict[str, Any]) -> dict[str, Any]:
    """Give an event's headers, the first value of each."""
    headers = event.get("headers")
    if isinstance(headers, dict) and headers:
        return headers
    several = event.get("multiValueHeaders")
    if not isinstance(several, dict):
        return {}
    return {name: values[0] for name, values in several.items() if isinstance(values, list) and values}


def _put(tags: dict[str, str], name: str, value: object) -> bool:
    """Set a tag, and say so, if there is something to be told."""
    text = _text(value)
    if text is None:
        return False
    tags[name] = text
    return True


def _text(value: object) -> str | None:
    """Give a text as a tag may have it, printable and bounded; None if it is empty or no text."""
    if not isinstance(value, str) or not value:
        return None
    text = value[:_TAG_CHARACTERS]
    return text if text.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in text)
