"""Events of every source that invokes functions, as the services make them, to compare tags on."""

import base64
import gzip
import json
from dataclasses import dataclass, field
from typing import Any

from ddlwa.invocation import invocation_of
from ddlwa.simulator import EventSource, HttpRequest
from ddlwa.simulator.adapter.contexts import lambda_context
from ddlwa.simulator.adapter.inbound import app_request
from ddlwa.simulator.adapter.options import AdapterOptions
from ddlwa.simulator.environment import Function
from ddlwa.simulator.events import Arrival, http_event, pass_through
from ddlwa.trigger import event_tags, trigger_tags

ACCOUNT, REGION = "123456789012", "eu-west-1"
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
REQUEST_ID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
BROWSER = {
    "accept": "text/html",
    "cookie": "session=s3cr3t",
    "referer": "https://shop.example/sale?page=2",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64)",
    "x-forwarded-for": "203.0.113.7",
    "x-forwarded-port": "443",
    "x-forwarded-proto": "https",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One invocation.

    Attributes:
        event: What the function is invoked with.
        qualifier: The version or alias that is invoked.
        arn: The function's, without the qualifier.
        name: The function's name.
        version: The version that the function runs.
        base_path: What LWA takes off the path.
        status: The app's answer's.
    """

    event: Any
    qualifier: str = ""
    arn: str = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:shop"
    name: str = "shop"
    version: str = "$LATEST"
    base_path: str = ""
    status: int = 200

    @property
    def invoked_arn(self):
        return f"{self.arn}:{self.qualifier}" if self.qualifier else self.arn

    @property
    def function(self):
        return Function(
            name=self.name, memory_mb=512, timeout_s=30, region=self.arn.split(":")[3], version=self.version
        )


class Adapted:
    """What LWA makes of a case's event, and the invocation that is read from it."""

    def __init__(self, case):
        headers = {
            "Lambda-Runtime-Aws-Request-Id": REQUEST_ID,
            "Lambda-Runtime-Deadline-Ms": "1764000030000",
            "Lambda-Runtime-Invoked-Function-Arn": case.invoked_arn,
            "Lambda-Runtime-Trace-Id": TRACE,
        }
        self.request = request = app_request(
            json.dumps(case.event).encode(),
            lambda_context=lambda_context(headers, case.function),
            options=AdapterOptions(base_path=case.base_path),
        )
        self.path = request.target.partition("?")[0]
        self.headers = [(name.encode(), value.encode()) for name, value in request.headers]
        self.invocation = invocation_of({"type": "http", "headers": self.headers})

    def tags(self):
        """Give our tags."""
        if self.invocation.request_context is None:
            return event_tags(json.loads(self.request.body), self.invocation)
        return trigger_tags(self.invocation, self.headers, method=self.request.method, path=self.path)

    def rebuilt(self):
        """Give the event, as far as the request tells."""
        headers = {}
        for name, value in self.request.headers:
            headers.setdefault(name, value)
        context = json.loads(headers["x-amzn-request-context"])
        if context is None:
            return json.loads(self.request.body)
        event = {"headers": headers, "requestContext": context}
        if "http" in context:
            return {"version": "2.0", "routeKey": context["routeKey"], "rawPath": self.path, **event}
        event |= {"httpMethod": self.request.method, "path": self.path}
        return event if "elb" in context else {"resource": context["resourcePath"], **event}


def function_arn(region, partition="aws"):
    return f"arn:{partition}:lambda:{region}:{ACCOUNT}:function:shop"


def rest(
    path="/items/1", resource="/items/{id}", /, *, method="GET", headers=BROWSER, several=None, **context
):
    """Return a REST API's event; what of the context is None is left out."""
    made = {
        "resourceId": "2gxmpl",
        "resourcePath": resource,
        "httpMethod": method,
        "extendedRequestId": "JJbxmplHYosFVYQ=",
        "requestTime": "24/Nov/2026:12:00:00 +0000",
        "path": f"/prod{path}",
        "accountId": ACCOUNT,
        "protocol": "HTTP/1.1",
        "stage": "prod",
        "domainPrefix": "70ixmpl4fl",
        "requestTimeEpoch": 1_764_000_000_000,
        "requestId": REQUEST_ID,
        "identity": {"cognitoIdentityPoolId": None, "sourceIp": "203.0.113.7", "userAgent": "curl/8.5.0"},
        "domainName": f"70ixmpl4fl.execute-api.{REGION}.amazonaws.com",
        "deploymentId": "4n4xmp",
        "apiId": "70ixmpl4fl",
        **context,
    }
    return {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": headers and {name.title(): value for name, value in headers.items()},
        "multiValueHeaders": several or (headers and {name.title(): [headers[name]] for name in headers}),
        "queryStringParameters": {"token": "s3cr3t"},
        "multiValueQueryStringParameters": {"token": ["s3cr3t"]},
        "pathParameters": {"id": "1"},
        "stageVariables": None,
        "requestContext": {name: value for name, value in made.items() if value is not None},
        "body": None,
        "isBase64Encoded": False,
    }


def format_1_of_http_api():
    event = rest(
        resourceId="GET /items/{id}",
        path="/items/1",
        stage="$default",
        domainName=f"r3pmxmplak.execute-api.{REGION}.amazonaws.com",
        apiId="r3pmxmplak",
        authorizer=None,
    )
    return {"version": "1.0", **event}


def format_2(path="/items/1", route="GET /items/{id}", *, method="GET", headers=BROWSER, http=(), **context):
    """Return an HTTP API's event."""
    made = {
        "accountId": ACCOUNT,
        "apiId": "r3pmxmplak",
        "domainName": f"r3pmxmplak.execute-api.{REGION}.amazonaws.com",
        "domainPrefix": "r3pmxmplak",
        "http": {
            "method": method,
            "path": path,
            "protocol": "HTTP/1.1",
            "sourceIp": "203.0.113.7",
            "userAgent": "curl/8.5.0",
            **dict(http),
        },
        "requestId": "JKJaXmPLvHcESHA=",
        "routeKey": route,
        "stage": "$default",
        "time": "24/Nov/2026:12:00:00 +0000",
        "timeEpoch": 1_764_000_000_000,
        **context,
    }
    return {
        "version": "2.0",
        "routeKey": route,
        "rawPath": path,
        "rawQueryString": "token=s3cr3t",
        "cookies": ["session=s3cr3t"],
        "headers": {name: value for name, value in headers.items() if name != "cookie"},
        "requestContext": {name: value for name, value in made.items() if value is not None},
        "isBase64Encoded": False,
    }


def function_url(path="/items/1", **more):
    region = more.pop("region", REGION)
    domain = f"6xmplurl.lambda-url.{region}.on.aws"
    whole = {"accountId": "anonymous", "apiId": "6xmplurl", "domainName": domain, "domainPrefix": "6xmplurl"}
    return format_2(path, "$default", **{**whole, **more})


def load_balancer(path="/items/1", *, headers=BROWSER, several=None, region=REGION, host="shop.example"):
    """Return a load balancer's event, with multi-value headers if such are given."""
    group = f"arn:aws:elasticloadbalancing:{region}:{ACCOUNT}:targetgroup/shop/49e9d65c45c6791a"
    event = {
        "requestContext": {"elb": {"targetGroupArn": group}},
        "httpMethod": "GET",
        "path": path,
        "body": "",
        "isBase64Encoded": False,
    }
    if several is not None:
        event["multiValueQueryStringParameters"] = {"token": ["s3cr3t"]}
        event["multiValueHeaders"] = several
    else:
        event["queryStringParameters"] = {"token": "s3cr3t"}
        event["headers"] = headers if host is None else {"host": host, **headers}
    return event


def web_socket(**more):
    """Return the event of a WebSocket API's message, which has no headers."""
    return {
        "requestContext": {
            "routeKey": "sendOrder",
            "messageId": "JNHlexmplPECFhg=",
            "eventType": "MESSAGE",
            "extendedRequestId": "JNHlexmplDoEFSNA=",
            "requestTime": "24/Nov/2026:12:00:00 +0000",
            "messageDirection": "IN",
            "stage": "prod",
            "connectedAt": 1_764_000_000_000,
            "requestTimeEpoch": 1_764_000_000_000,
            "identity": {"sourceIp": "203.0.113.7"},
            "requestId": "JNHlexmplDoEFSNA=",
            "domainName": f"p62xmpl47k.execute-api.{REGION}.amazonaws.com",
            "connectionId": "JNHkexmplDoECFSg=",
            "apiId": "p62xmpl47k",
        },
        "body": '{"action": "sendOrder"}',
        "isBase64Encoded": False,
        **more,
    }


def logs(**more):
    """Return CloudWatch Logs' event of 2,000 lines."""
    content = {
        "messageType": "DATA_MESSAGE",
        "owner": ACCOUNT,
        "logGroup": "/aws/lambda/orders",
        "logStream": "2026/11/24/[$LATEST]0b3cdd2f",
        "subscriptionFilters": ["all"],
        "logEvents": [
            {"id": f"{number:056d}", "timestamp": 1_764_000_000_000, "message": f"ordered {number * 7919}"}
            for number in range(2000)
        ],
    }
    return awslogs(json.dumps({**content, **more}, separators=(",", ":")))


def awslogs(text):
    return {"awslogs": {"data": base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()}}


def eventbridge(**more):
    return {**pass_through.eventbridge({"id": 1, "EventCategories": None}), **more}


STEP = {
    "Execution": {"Id": f"arn:aws:states:{REGION}:{ACCOUNT}:execution:orders:4e7a", "Name": "4e7a"},
    "StateMachine": {"Id": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:orders", "Name": "orders"},
    "State": {"Name": "Pay", "EnteredTime": "2026-11-24T12:00:00.000Z", "RetryCount": 0},
}


def simulated(request, source, stage=None):
    """Return the event that the simulator makes."""
    arrival = Arrival(
        request_id=REQUEST_ID,
        trace_id=TRACE,
        now_ns=1_764_000_000_000_000_000,
        function=Function(name="shop", memory_mb=512, timeout_s=30, region=REGION),
        stage=stage,
    )
    return Case(event=http_event(request, arrival, source=source))


_RICH = HttpRequest(
    method="POST",
    path="/echo/a%20b/%C3%A9?token=s3cr3t",
    headers=(
        ("Host", "shop.example"),
        ("User-Agent", "curl/8"),
        ("Referer", "https://shop.example/"),
        ("X-Two", "a"),
        ("x-two", "b"),
        ("Cookie", "session=s3cr3t"),
        ("Authorization", "Bearer s3cr3t"),
    ),
    body=b"{}",
)
_CLAIMS = {"claims": {"sub": "s3cr3t"}, "principalId": "s3cr3t"}
_JWT = {"jwt": {"claims": {"sub": "s3cr3t"}, "scopes": ["s3cr3t"]}}
_IAM = {"iam": {"accessKey": "AKIAS3CR3T", "accountId": ACCOUNT, "cognitoIdentity": None}}
_TWICE = {
    "host": ["shop.example"],
    "referer": ["https://shop.example/first", "https://shop.example/second"],
    "user-agent": ["curl/8.5.0", "again"],
    "x-forwarded-proto": ["http"],
}
_CHECK = {"user-agent": "ELB-HealthChecker/2.0"}
_LIVE = {"qualifier": "live", "version": "17"}

CASES = {
    **{f"simulated {source.value}": simulated(_RICH, source) for source in EventSource},
    **{f"simulated bare {source.value}": simulated(HttpRequest(path="/"), source) for source in EventSource},
    "simulated stage http-api": simulated(_RICH, EventSource.HTTP_API, "test"),
    "simulated stage rest-api": simulated(_RICH, EventSource.REST_API, "test"),
    # REST APIs
    "rest": Case(event=rest()),
    "rest alias": Case(event=rest(), **_LIVE, status=503),
    "rest root": Case(event=rest("/", "/", path="/prod/")),
    "rest greedy": Case(event=rest("/a/b%20c", "/{proxy+}", method="DELETE"), status=204),
    "rest custom domain": Case(event=rest("/v1/items/1", domainName="api.shop.example", path="/v1/items/1")),
    "rest base path": Case(event=rest("/v1/items/1", path="/v1/items/1"), base_path="/v1"),
    "rest authorizer": Case(event=rest(authorizer=_CLAIMS)),
    "rest IPv6": Case(event=rest(identity={"sourceIp": "2001:db8::7", "userAgent": None})),
    "rest repeated headers": Case(
        event=rest(
            headers={"referer": "https://shop.example/last"},
            several={"Referer": ["https://shop.example/first", "https://shop.example/last"]},
        )
    ),
    "rest no headers": Case(event=rest(headers=None)),
    "rest of the console": Case(
        event=rest(
            headers=None,
            domainName="testPrefix.testDomainName",
            stage="test-invoke-stage",
            path="/items/{id}",
        )
    ),
    "rest private": Case(event=rest(domainName=f"70ixmpl4fl-vpce-0123.execute-api.{REGION}.amazonaws.com")),
    "rest no domain": Case(event=rest(domainName=None)),
    "rest no api": Case(event=rest(apiId=None)),
    "rest no stage": Case(event=rest(stage=None)),
    "rest China": Case(
        event=rest(domainName="70ixmpl4fl.execute-api.cn-north-1.amazonaws.com.cn"),
        arn=function_arn("cn-north-1", "aws-cn"),
    ),
    "rest GovCloud": Case(event=rest(), arn=function_arn("us-gov-west-1", "aws-us-gov")),
    "rest isolated": Case(event=rest(), arn=function_arn("us-iso-east-1", "aws-iso")),
    # HTTP APIs
    "http": Case(event=format_2()),
    "http version": Case(event=format_2(), qualifier="17", version="17"),
    "http default route": Case(event=format_2("/", "$default")),
    "http greedy": Case(event=format_2("/a/b c", "ANY /{proxy+}", method="PATCH")),
    "http named stage": Case(event=format_2("/test/items/1", stage="test")),
    "http custom domain": Case(event=format_2(domainName="api.shop.example", domainPrefix="api")),
    "http base path": Case(event=format_2("/v1/items/1"), base_path="/v1"),
    "http authorizer": Case(event=format_2(authorizer=_JWT)),
    "http IPv6": Case(event=format_2(http={"sourceIp": "2001:db8::7"})),
    "http repeated headers": Case(
        event=format_2(headers={"referer": "https://a.example/,https://b.example/"})
    ),
    "http header beyond ASCII": Case(event=format_2(headers={"referer": "https://shop.example/größe"})),
    "http no headers": Case(event=format_2(headers={})),
    "http no domain": Case(event=format_2(domainName=None)),
    "http format 1.0": Case(event=format_1_of_http_api()),
    # Function URLs
    "url": Case(event=function_url()),
    "url alias": Case(event=function_url(), **_LIVE),
    "url latest": Case(event=function_url(), qualifier="$LATEST"),
    "url root": Case(event=function_url("/", method="HEAD"), status=404),
    "url authorizer": Case(event=function_url(authorizer=_IAM, accountId=ACCOUNT)),
    "url IPv6": Case(event=function_url(http={"sourceIp": "2001:db8::7"})),
    "url China": Case(event=function_url(region="cn-north-1"), arn=function_arn("cn-north-1", "aws-cn")),
    # Load balancers
    "alb": Case(event=load_balancer()),
    "alb alias": Case(event=load_balancer(), **_LIVE),
    "alb escapes": Case(event=load_balancer("/a%20b/%2F/c%C3%A9"), status=500),
    "alb IPv6": Case(event=load_balancer(host="[2001:db8::1]:8443")),
    "alb no host": Case(event=load_balancer(host=None)),
    "alb health check": Case(event=load_balancer("/health", headers=_CHECK, host=None)),
    "alb base path": Case(event=load_balancer("/shop/items/1"), base_path="/shop"),
    "alb dot segments": Case(event=load_balancer("/items/./2/../1")),
    "alb multi-value": Case(event=load_balancer(several=_TWICE)),
    "alb multi-value health check": Case(
        event=load_balancer("/health", several={"user-agent": ["ELB-HealthChecker/2.0"]})
    ),
    "alb password": Case(event=load_balancer(host="me:s3cr3t@shop.example")),
    "alb undecodable": Case(event=load_balancer(headers={**BROWSER, "x-odd": "a\x01b"})),
    "alb multi-value undecodable": Case(event=load_balancer(several={**_TWICE, "x-odd": ["a\x01b"]})),
    # Events that are passed through
    "sqs": Case(event=pass_through.sqs("one", "two")),
    "sqs alias": Case(event=pass_through.sqs("one"), **_LIVE),
    "sns": Case(event=pass_through.sns("é")),
    "sns in sqs": Case(event=pass_through.sqs(json.dumps(pass_through.sns("one")["Records"][0]["Sns"]))),
    "s3": Case(event=pass_through.s3("a+b.txt")),
    "s3 no bucket": Case(event={"Records": [{"eventSource": "aws:s3", "s3": {}}]}),
    "sns no topic": Case(event={"Records": [{"EventSource": "aws:sns"}]}),
    "dynamodb": Case(event=pass_through.dynamodb({"id": {"N": "1"}})),
    "kinesis": Case(event=pass_through.kinesis(b"\xff")),
    "eventbridge": Case(event=eventbridge()),
    "eventbridge of RDS": Case(event=eventbridge(detail={"EventCategories": ["backup"]})),
    "schedule": Case(
        event=eventbridge(
            **{"detail-type": "Scheduled Event", "source": "aws.events", "detail": {}},
            resources=[f"arn:aws:events:{REGION}:{ACCOUNT}:rule/nightly"],
        )
    ),
    "schedule no rule": Case(event=eventbridge(source="aws.events")),
    "logs": Case(event=logs()),
    "logs indented": Case(event=awslogs(json.dumps({"owner": "1", "logGroup": "orders"}, indent=2))),
    "logs China": Case(event=logs(), arn=function_arn("cn-north-1", "aws-cn")),
    "logs control message": Case(event=logs(messageType="CONTROL_MESSAGE", logGroup="", logEvents=[])),
    "logs no group": Case(event=awslogs('{"owner":"1"}')),
    "step function": Case(event=STEP),
    "step function in Datadog's part": Case(
        event={"id": 1, "_datadog": {**STEP, "serverless-version": "v1"}}
    ),
    "step function in both": Case(event={**STEP, "_datadog": {**STEP, "serverless-version": "v1"}}),
    "step function as payload": Case(event={"Payload": STEP}),
    "web socket": Case(event=web_socket()),
    "web socket connect": Case(
        event=web_socket(headers={"Host": "p62xmpl47k", "Referer": "https://shop.example/"})
    ),
    "kafka": Case(event={"eventSource": "aws:kafka", "eventSourceArn": "arn:aws:kafka:::c/1", "records": {}}),
    "cloudfront": Case(event={"Records": [{"cf": {"config": {"distributionId": "EDFDVBD6EXAMPLE"}}}]}),
    "by hand": Case(event={"id": 1}, **_LIVE),
    "by hand null": Case(event=None),
    "by hand list": Case(event=[1, "a"]),
    "by hand no records": Case(event={"Records": []}),
    # Functions
    "function in capitals": Case(
        event={}, name="Shop", arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:Shop", qualifier="Live"
    ),
}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Where datadog-lambda gives something else, and why.

    Attributes:
        ours: Our tags that it has not so.
        theirs: Its tags that we have not so; None where it fails, and so gives no tag at all.
        why: The reason.
    """

    ours: dict[str, str] = field(default_factory=dict)
    theirs: dict[str, str] | None = field(default_factory=dict)
    why: str


_SOURCE, _ARN = "function_trigger.event_source", "function_trigger.event_source_arn"
_PASSWORD = Difference(
    ours={"http.url": "https://shop.example/items/1"},
    theirs={"http.url": "https://me:s3cr3t@shop.example/items/1"},
    why="a client may put its password before the host; no secret is told",
)
_NO_API = Difference(
    theirs={_ARN: f"arn:aws:apigateway:{REGION}::/restapis/None/stages/prod"},
    why="no API has the id None",
)
_ISOLATED = Difference(
    ours={_ARN: "arn:aws-iso:apigateway:us-iso-east-1::/restapis/70ixmpl4fl/stages/prod"},
    theirs={_ARN: "arn:aws:apigateway:us-iso-east-1::/restapis/70ixmpl4fl/stages/prod"},
    why="the partition is the function's own; datadog-lambda guesses it of the region, and knows three",
)
_NO_GROUP = Difference(
    theirs={_ARN: f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:"},
    why="a log group has a name; that of a control message is empty",
)
_NO_GROUP_AT_ALL = Difference(
    theirs={_ARN: f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:cloudwatch"},
    why="no log group is called so",
)
_PAYLOAD = Difference(
    ours={_SOURCE: "states", _ARN: STEP["StateMachine"]["Id"]},
    theirs=None,
    why="datadog-lambda knows the event by what is in its payload, and then looks beside it",
)

FROM_HEADERS = {
    "alb password": _PASSWORD,
    "rest no api": _NO_API,
    "rest isolated": _ISOLATED,
    "logs control message": _NO_GROUP,
    "logs no group": _NO_GROUP_AT_ALL,
    "step function as payload": _PAYLOAD,
}
"""What differs if datadog-lambda is given the event that can be rebuilt of LWA's request."""

FROM_EVENT = {
    **FROM_HEADERS,
    "alb base path": Difference(
        ours={"http.url": "https://shop.example/items/1", "http.route": "/items/1"},
        theirs={"http.url": "https://shop.example/shop/items/1", "http.route": "/shop/items/1"},
        why="LWA has taken the base path off, and a load balancer's request context has no path",
    ),
    "alb dot segments": Difference(
        ours={"http.url": "https://shop.example/items/1", "http.route": "/items/1"},
        theirs={"http.url": "https://shop.example/items/./2/../1", "http.route": "/items/./2/../1"},
        why="LWA has resolved them, and a load balancer's request context has no path",
    ),
}
"""What differs if it is given the event itself."""
