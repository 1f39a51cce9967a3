"""The trace that a request continues is the one that datadog-lambda continues for the same event."""

import json

import pytest
from processes import python
from test_upstream_request import PARENT_ID, TRACE_ID, base64_of, continued, injected, rest_api, sqs

from ddlwa.simulator.events import pass_through

XRAY = "Root=1-6745e0a0-00000000112210f47de98115;Parent=000000003ade68b1;Sampled=1"
XRAY_OF_AWS = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
LOW_BITS = TRACE_ID & (1 << 64) - 1


def sns(carrier, kind="Binary"):
    event = pass_through.sns("tea")
    value = base64_of(carrier) if kind == "Binary" else json.dumps(carrier)
    event["Records"][0]["Sns"]["MessageAttributes"]["_datadog"] = {"Type": kind, "Value": value}
    return event


def inside_sqs(event):
    """Give the event of a queue behind the topic or the bus of another."""
    return pass_through.sqs(json.dumps(event["Records"][0]["Sns"] if "Records" in event else event))


def sqs_binary(carrier):
    event = pass_through.sqs("tea")
    attribute = {"dataType": "Binary", "binaryValue": base64_of(carrier)}
    event["Records"][0]["messageAttributes"]["_datadog"] = attribute
    return event


def sqs_xray(header):
    event = pass_through.sqs("tea")
    event["Records"][0]["attributes"]["AWSTraceHeader"] = header
    return event


def bridge(carrier, **fields):
    return {**pass_through.eventbridge({"order": 7, "_datadog": carrier}), **fields}


def kinesis(carrier, text="tea", *, ascii_only=True):
    data = json.dumps({"order": text, "_datadog": carrier}, ensure_ascii=ascii_only)
    return pass_through.kinesis(data.encode())


def state(*, retries=0, redrives=0, **fields):
    """Give a state machine's context object."""
    arn = "arn:aws:states:eu-west-1:123456789012:{}:shop"
    return {
        "Execution": {
            "Id": f"{arn.format('execution')}:7f3c",
            "Input": fields.pop("given", {}),
            "Name": "7f3c",
            "StartTime": "2026-11-24T12:00:00.000Z",
            "RedriveCount": redrives,
        },
        "State": {"Name": "Pay", "EnteredTime": "2026-11-24T12:00:00.123Z", "RetryCount": retries},
        "StateMachine": {"Id": arn.format("stateMachine"), "Name": "shop"},
        **fields,
    }


V1_BY_STATE = state(**{"serverless-version": "v1", "RootExecutionId": "arn:aws:states:::execution:root:1"})
V1_BY_LAMBDA = state(**{"serverless-version": "v1"}, **injected())


def http_api(carrier, **fields):
    """Give an event of an HTTP API with a traced Lambda authorizer."""
    answer = {**carrier, "x-datadog-authorizing-requestid": "r-1"}
    return {
        "version": "2.0",
        "routeKey": "GET /items",
        "rawPath": "/items",
        "rawQueryString": "",
        "headers": {"host": "shop.test"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api",
            "authorizer": {"lambda": {"_datadog": base64_of(answer)}},
            "domainName": "api.execute-api.eu-west-1.amazonaws.com",
            "domainPrefix": "api",
            "http": {"method": "GET", "path": "/items", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"},
            "requestId": "r-1",
            "routeKey": "GET /items",
            "stage": "$default",
            "time": "24/Nov/2026:12:00:00 +0000",
            "timeEpoch": 1_764_000_000_000,
            **fields,
        },
        "isBase64Encoded": False,
    }


def durable(*carriers):
    operations = [{"Id": "0", "Name": "shop", "Type": "EXECUTION"}]
    operations += [
        {"Name": f"_datadog_{number}", "Type": "STEP", "StepDetails": {"Result": json.dumps(carrier)}}
        for number, carrier in enumerate(carriers)
    ]
    arn = "arn:aws:lambda:eu-west-1:123456789012:function:shop:1/durable-execution/n/i"
    return {"DurableExecutionArn": arn, "InitialExecutionState": {"Operations": operations}}


MULTI_VALUE = {"order": 7, "multiValueHeaders": {name: [value] for name, value in injected().items()}}
OLDER = injected(parent_id=1)

# By name: an event, and what comes with its invocation besides.
SAME = {
    "SQS": (sqs(injected()), {}),
    "SQS, a batch": (sqs(injected(), "coffee"), {}),
    "SQS, rejected": (sqs(injected(priority=-1)), {}),
    "SQS, only W3C": (sqs({k: v for k, v in injected().items() if k.startswith("trace")}), {}),
    "SQS, binary": (sqs_binary(injected()), {}),
    "SQS, AWSTraceHeader": (sqs_xray(XRAY), {}),
    "SQS, AWSTraceHeader, not sampled": (sqs_xray(XRAY.replace("Sampled=1", "Sampled=0")), {}),
    "SQS, AWSTraceHeader of X-Ray's own": (sqs_xray(XRAY_OF_AWS), {}),
    "SQS, no context": (pass_through.sqs("tea"), {}),
    "SNS": (sns(injected()), {}),
    "SNS, string": (sns(injected(), "String"), {}),
    "SNS, no context": (pass_through.sns("tea"), {}),
    "SNS by SQS": (inside_sqs(sns(injected())), {}),
    "SNS by SQS, string": (inside_sqs(sns(injected(), "String")), {}),
    "EventBridge": (bridge(injected()), {}),
    "EventBridge by SQS": (inside_sqs(bridge(injected())), {}),
    "EventBridge, of AWS": (bridge(injected(), source="aws.events"), {}),
    "EventBridge, no context": (pass_through.eventbridge({"order": 7}), {}),
    "Kinesis": (kinesis(injected()), {}),
    "Kinesis, no JSON": (pass_through.kinesis(b"tea"), {}),
    "DynamoDB": (pass_through.dynamodb({"id": {"N": "1"}}), {}),
    "S3": (pass_through.s3("tea.png"), {}),
    "Step Functions": (state(), {}),
    "Step Functions, retried": (state(retries=2, redrives=1), {}),
    "Step Functions, legacy payload": ({"Payload": state()}, {}),
    "Step Functions, started in a trace": (state(given={"_datadog": injected()}), {}),
    "Step Functions, v1, root state machine": ({"_datadog": V1_BY_STATE, "order": 7}, {}),
    "Step Functions, v1, root Lambda": ({"_datadog": V1_BY_LAMBDA, "order": 7}, {}),
    "Step Functions by EventBridge": (bridge(V1_BY_STATE), {}),
    "Step Functions by EventBridge and SQS": (inside_sqs(bridge(V1_BY_LAMBDA)), {}),
    "Step Functions by SQS": (sqs(V1_BY_STATE), {}),
    "Step Functions by SNS": (sns(V1_BY_LAMBDA), {}),
    "Step Functions by SNS and SQS": (inside_sqs(sns(V1_BY_STATE)), {}),
    "REST API with an authorizer": (rest_api(injected()), {}),
    "REST API, headers": (rest_api(headers=injected().items()), {}),
    "REST API, neither": (rest_api(), {}),
    "REST API, cached answer": (
        {
            **rest_api(injected()),
            "requestContext": {**rest_api(injected())["requestContext"], "requestId": "r-2"},
        },
        {},
    ),
    "HTTP API with an authorizer": (http_api(injected()), {}),
    "HTTP API, cached answer": (http_api(injected(), requestId="r-2"), {}),
    "direct invocation with headers": ({"order": 7, "headers": injected()}, {}),
    "direct invocation with headers of several values": (MULTI_VALUE, {}),
    "AppSync": ({"request": {"headers": injected()}}, {}),
    "Invoke": ({"order": 7}, {"client_context": {"custom": injected()}}),
    "Invoke, legacy": ({"order": 7}, {"client_context": {"custom": {"_datadog": injected()}}}),
    "Invoke with a message": (sqs(injected()), {"client_context": {"custom": OLDER}}),
    "durable execution": (durable(OLDER, injected()), {}),
    "durable execution, no checkpoint": (durable(), {}),
    "X-Ray's header beside a context": (sqs(injected()), {"xray_trace_id": XRAY_OF_AWS}),
}
# What datadog-lambda 8.116, which a test environment has, does not know; 8.130 does.
LATER = {
    "durable execution": [TRACE_ID, PARENT_ID, 2],
    "direct invocation with headers of several values": [TRACE_ID, PARENT_ID, 2],
    "Step Functions, started in a trace": [TRACE_ID, 2477835794826289821, 1],
}

# What is continued otherwise: an event, what comes with it, what is continued here, and there.
OTHERWISE = {
    # Headers of the request win, as in every other server: with a traced client the authorizer's trace is
    # the same one, and its span only another parent.
    "headers and an authorizer": (
        rest_api(injected(), headers=injected(parent_id=8).items()),
        {},
        [TRACE_ID, 8, 2],
        [TRACE_ID, PARENT_ID, 2],
    ),
    # It calls X-Ray's own ids a context, but does not continue it either unless told to merge the two.
    "X-Ray's own ids": (
        {"order": 7},
        {"xray_trace_id": XRAY_OF_AWS},
        None,
        [0x61BE46A994272793, 0x53995C3F42CD8AD8, 2],
    ),
    # It calls what X-Ray has sampled kept by the user, and, for the text "0" is true, what X-Ray has not
    # sampled too; here the header means what it means in AWSTraceHeader.
    "X-Ray's header with ids of Datadog": (
        {"order": 7},
        {"xray_trace_id": XRAY},
        [LOW_BITS, PARENT_ID, 1],
        [LOW_BITS, PARENT_ID, 2],
    ),
    "X-Ray's header, not sampled": (
        {"order": 7},
        {"xray_trace_id": XRAY.replace("Sampled=1", "Sampled=0")},
        [LOW_BITS, PARENT_ID, 0],
        [LOW_BITS, PARENT_ID, 2],
    ),
    # It takes 63 bits of a trace id there, not in AWSTraceHeader.
    "X-Ray's header with 64 bits": (
        {"order": 7},
        {"xray_trace_id": XRAY.replace("112210f4", "f12210f4")},
        [LOW_BITS | 0xE << 60, PARENT_ID, 1],
        [LOW_BITS | 0x6 << 60, PARENT_ID, 2],
    ),
    # It decodes records of Kinesis as ASCII, though JSON is UTF-8.
    "Kinesis, beyond ASCII": (
        kinesis(injected(), "thé", ascii_only=False),
        {},
        [TRACE_ID, PARENT_ID, 2],
        None,
    ),
    # One sound style of two is enough.
    "no sampling decision but W3C's": (
        sqs({**injected(priority=1), "x-datadog-sampling-priority": None}),
        {},
        [TRACE_ID, PARENT_ID, 1],
        None,
    ),
}

_ORACLE = """
import json, os, types, warnings
warnings.simplefilter("ignore")
from datadog_lambda import tracing

def context_of(event, fields):
    os.environ["_X_AMZN_TRACE_ID"] = fields.get("xray_trace_id", "")
    given = fields.get("client_context")
    client = given and types.SimpleNamespace(custom=given["custom"])
    found, _, _ = tracing.extract_dd_trace_context(event, types.SimpleNamespace(client_context=client))
    if found is None:
        return None
    high = found._meta.get("_dd.p.tid", "0") if found.trace_id < 1 << 64 else "0"
    return [found.trace_id | int(high, 16) << 64, found.span_id, found.sampling_priority]

with open(EVENTS) as events:
    found = {name: context_of(*given[:2]) for name, given in json.load(events).items()}
later = hasattr(tracing, "extract_context_from_durable_execution")
print("outcome", json.dumps({"found": found, "later": later}), flush=True)
os._exit(0)  # so that no library does what it does at the end of a process
"""


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
    """Give what datadog-lambda finds in each event, in a process of its own: it patches what it can reach."""
    events = tmp_path_factory.mktemp("oracle") / "events.json"
    events.write_text(json.dumps({**SAME, **OTHERWISE}))
    env = {"AWS_LAMBDA_FUNCTION_NAME": "shop", "DD_TRACE_AGENT_URL": "http://127.0.0.1:1"}
    (outcome,) = python(f"EVENTS = {str(events)!r}\n{_ORACLE}", env=env).outcomes
    return outcome


def here(event, fields):
    """Give what the request span of an event continues; None if it is a root."""
    trace_id, parent_id, priority = continued(event, **fields)
    return [trace_id, parent_id, priority] if parent_id else None


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("name", SAME)
def test_the_same_trace_is_continued(name, oracle):
    """Trace, parent and sampling decision are those that datadog-lambda finds in the event."""
    known = oracle["later"] or name not in LATER
    assert here(*SAME[name]) == (oracle["found"][name] if known else LATER[name])


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("name", OTHERWISE)
def test_another_trace_is_continued(name, oracle):
    """What differs from datadog-lambda is known, each for its reason."""
    event, fields, ours, theirs = OTHERWISE[name]
    assert here(event, fields) == ours
    assert oracle["found"][name] == theirs


def test_events_with_a_context_have_one(oracle):
    """Agreement is not for want of contexts: most of these events carry one."""
    without = {name for name in SAME if oracle["found"][name] is None}
    nothing = ("no", "neither", "cached", "of AWS", "X-Ray's own", "S3", "DynamoDB")
    assert {name for name in without if not any(word in name for word in nothing)} <= LATER.keys()
    assert oracle["later"] == LATER.keys().isdisjoint(without)
