"""An invocation's tags: what is told, what is not, and that nothing in an event can do harm."""

import base64
import copy
import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddlwa import trigger
from ddlwa.invocation import Invocation, invocation_of
from ddlwa.trigger import event_tags, function_tags, status_code, trigger_tags

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:Shop"
SOURCE, SOURCE_ARN = "function_trigger.event_source", "function_trigger.event_source_arn"
MARKER = "s3cr3t-m4rk3r"

REST_API = {
    "stage": "prod",
    "domainName": "api.shop.example",
    "resourcePath": "/items/{id}",
    "path": "/v1/items/1",
    "httpMethod": "GET",
    "apiId": "70ixmpl4fl",
}
HTTP_API = {
    "routeKey": "GET /items/{id}",
    "stage": "$default",
    "apiId": "r3pmxmplak",
    "domainName": "r3pmxmplak.execute-api.eu-west-1.amazonaws.com",
    "http": {"method": "GET", "path": "/items/1"},
}
FUNCTION_URL = {**HTTP_API, "routeKey": "$default", "domainName": "6xmplurl.lambda-url.eu-west-1.on.aws"}
GROUP = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/shop/49e9d65c"
ALB = {"elb": {"targetGroupArn": GROUP}}
CONTEXTS = {"REST API": REST_API, "HTTP API": HTTP_API, "function URL": FUNCTION_URL, "load balancer": ALB}
HEADERS = [
    (b"host", b"shop.example"),
    (b"x-forwarded-proto", b"https"),
    (b"user-agent", b"curl/8.5.0"),
    (b"referer", b"https://shop.example/"),
]
RECORDS = {
    "dynamodb": {"eventSource": "aws:dynamodb", "eventSourceARN": "arn:d"},
    "kinesis": {"eventSource": "aws:kinesis", "eventSourceArn": "arn:k"},
    "s3": {"eventSource": "aws:s3", "s3": {"bucket": {"arn": "arn:s3"}}},
    "sns": {"EventSource": "aws:sns", "Sns": {"TopicArn": "arn:sns"}},
    "sqs": {"eventSource": "aws:sqs", "eventSourceARN": "arn:sqs"},
    "cloudfront": {"eventSource": "aws:sqs", "cf": {"config": {"distributionId": "E1"}}},
}
STEP = {"Execution": {}, "StateMachine": {"Id": "arn:states"}, "State": {}}


def invoked(context=None, **more):
    """Give the invocation that LWA's headers with this request context tell of."""
    told = {
        "request_id": "8476a536",
        "deadline": 1_764_000_000_123,
        "invoked_function_arn": ARN,
        "env_config": {"function_name": "Shop", "memory": 512, "version": "17"},
        **more,
    }
    both = {"x-amzn-lambda-context": told, "x-amzn-request-context": context}
    return invocation_of({"headers": [(name.encode(), json.dumps(both[name]).encode()) for name in both]})


def told(context, headers=HEADERS, *, method="GET", path="/items/1"):
    return trigger_tags(invoked(context), headers, method=method, path=path)


def told_of(event, arn=ARN):
    return event_tags(event, invoked(invoked_function_arn=arn))


def logs(text, *, cut=None):
    data = base64.b64encode(gzip.compress(text.encode())[:cut]).decode()
    return {"awslogs": {"data": data}}


def without(context, name):
    return {key: value for key, value in context.items() if key != name}


def test_rest_api():
    """A REST API's request has the public URL, with its custom domain and base path, and its resource."""
    assert told(REST_API) == {
        SOURCE: "api-gateway",
        SOURCE_ARN: "arn:aws:apigateway:eu-west-1::/restapis/70ixmpl4fl/stages/prod",
        "span.kind": "server",
        "http.url": "https://api.shop.example/v1/items/1",
        "http.method": "GET",
        "http.referer": "https://shop.example/",
        "http.route": "/items/{id}",
    }


def test_http_api():
    """An HTTP API's request has the path of its route without the method."""
    assert told(HTTP_API) == {
        SOURCE: "api-gateway",
        SOURCE_ARN: "arn:aws:apigateway:eu-west-1::/restapis/r3pmxmplak/stages/$default",
        "span.kind": "server",
        "http.url": "https://r3pmxmplak.execute-api.eu-west-1.amazonaws.com/items/1",
        "http.method": "GET",
        "http.referer": "https://shop.example/",
        "http.route": "/items/{id}",
    }


@pytest.mark.parametrize(("arn", "end"), [(ARN, "Shop"), (f"{ARN}:live", "Shop:live")])
def test_function_url(arn, end):
    """A function URL is that of the function, or of the version or alias that was invoked."""
    tags = trigger_tags(
        invoked(FUNCTION_URL, invoked_function_arn=arn), HEADERS, method="GET", path="/items/1"
    )
    assert tags[SOURCE] == "lambda-function-url"
    assert tags[SOURCE_ARN] == f"arn:aws:lambda:eu-west-1:123456789012:url:{end}"
    assert tags["http.url"] == "https://6xmplurl.lambda-url.eu-west-1.on.aws/items/1"


@pytest.mark.parametrize(
    "domain", ["shop.lambda-url", "lambda-url.shop.example", "a.b.lambda-url.c", 1, None]
)
def test_custom_domain(domain):
    """A domain is a function URL's by its second label, whatever else it has."""
    is_url = domain == "shop.lambda-url"
    expected = "lambda-function-url" if is_url else "api-gateway"
    assert told({**HTTP_API, "domainName": domain})[SOURCE] == expected


def test_load_balancer():
    """A load balancer's request is told of by its headers and its path, which is all there is."""
    assert told(ALB, path="/a%20b") == {
        SOURCE: "application-load-balancer",
        SOURCE_ARN: GROUP,
        "span.kind": "server",
        "http.url": "https://shop.example/a%20b",
        "http.method": "GET",
        "http.useragent": "curl/8.5.0",
        "http.referer": "https://shop.example/",
        "http.route": "/a%20b",
    }


def test_load_balancer_without_headers():
    """What headers do not tell is not told; the protocol is HTTP."""
    tags = told(ALB, [])
    assert tags.keys() == {SOURCE, SOURCE_ARN, "span.kind", "http.method", "http.route"}
    assert told(ALB, [(b"host", b"shop.example")])["http.url"] == "http://shop.example/items/1"


def test_first_value():
    """Of a header that is there several times the first value is told."""
    assert told(ALB, [(b"referer", b"/1"), (b"referer", b"/2")])["http.referer"] == "/1"


def test_pass_through_event():
    """The headers of an event that is passed through tell nothing of its source."""
    assert told(None) == {}


@pytest.mark.parametrize("missing", ["apiId", "domainName", "httpMethod", "path", "resourcePath"])
def test_missing_part(missing):
    """What needs a part that is missing is not told, and all else is."""
    gone = {"apiId": SOURCE_ARN, "domainName": "http.url", "httpMethod": "http.method"}
    gone["resourcePath"] = "http.route"
    whole = told(REST_API)
    expected = {tag: value for tag, value in whole.items() if tag != gone.get(missing)}
    if missing == "path":
        expected["http.url"] = "https://api.shop.example"
    assert told(without(REST_API, missing)) == expected


@pytest.mark.parametrize("arn", ["", "shop", "arn:aws:lambda:::function:shop", "a:" * 9], ids=repr)
def test_malformed_function_arn(arn):
    """With no ARN of the function there are none that are made of it, and all else is told."""
    tags = trigger_tags(invoked(REST_API, invoked_function_arn=arn), HEADERS, method="GET", path="/")
    assert SOURCE_ARN not in tags
    assert tags["http.url"] == "https://api.shop.example/v1/items/1"
    assert function_tags(
        invoked(invoked_function_arn=arn, env_config={}), cold_start=False, proactive=False
    ) == {"span.kind": "server", "request_id": "8476a536", "cold_start": "false"}


@pytest.mark.parametrize("name", RECORDS)
def test_records(name):
    """Records are told by the first one's source, and their ARN is where that service has it."""
    arns = {"dynamodb": "d", "kinesis": "k", "cloudfront": "aws:cloudfront::123456789012:distribution/E1"}
    assert told_of({"Records": [RECORDS[name], None]}) == {
        SOURCE: name,
        SOURCE_ARN: f"arn:{arns.get(name, name)}",
    }


@pytest.mark.parametrize(
    ("event", "source", "arn"),
    [
        ({"detail-type": "Order", "resources": ["arn:r"]}, "eventbridge", None),
        (
            {"detail-type": "Tick", "source": "aws.events", "resources": ["arn:r"]},
            "cloudwatch-events",
            "arn:r",
        ),
        ({"detail": {"EventCategories": []}, "resources": []}, "cloudwatch-events", None),
        (STEP, "states", "arn:states"),
        ({"Payload": STEP}, "states", "arn:states"),
        ({"_datadog": {**STEP, "serverless-version": "v1"}}, "states", "arn:states"),
        ({"detail-type": "Order", "eventSourceArn": "arn:own"}, "eventbridge", "arn:own"),
    ],
    ids=["eventbridge", "schedule", "categories", "step", "payload", "datadog", "own ARN"],
)
def test_event(event, source, arn):
    """Events of other shapes are told by what is in them."""
    expected = {SOURCE: source} if arn is None else {SOURCE: source, SOURCE_ARN: arn}
    assert told_of(event) == expected


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        {},
        {"Records": []},
        {"Records": {"0": RECORDS["sqs"]}},
        {"Records": ["sqs"]},
        {"Records": [{"eventSource": "aws:new"}]},
        {"Records": [{"eventSource": ["aws:sqs"]}]},
        {"Payload": 1, **STEP},
        {"_datadog": STEP},
        {"requestContext": "prod"},
    ],
    ids=repr,
)
def test_unknown_event(event):
    """Of an event whose source is unknown nothing is told."""
    assert told_of(event) == {}


def test_api_gateway_event():
    """An event of API Gateway that is passed through is told of by what is in it."""
    event = {"requestContext": REST_API, "multiValueHeaders": {"Referer": ["/1", "/2"], "A": [], "B": "b"}}
    assert told_of(event) == {**without(told(REST_API), "http.route"), "http.referer": "/1"}


@pytest.mark.parametrize("headers", [None, [], {}, {"referer": 1}, {"referer": []}], ids=repr)
def test_headers_of_an_event(headers):
    """Headers of another shape than events have are none."""
    for name in ("headers", "multiValueHeaders"):
        assert "http.referer" not in told_of({"requestContext": REST_API, name: headers})


@pytest.mark.parametrize("indent", [None, 2], ids=["compact", "indented"])
def test_log_group(indent):
    """The log group is read from the compressed records."""
    content = {
        "owner": "1",
        "tags": [1, {"logGroup": "x"}],
        "logGroup": "/aws/lambda/orders",
        "logEvents": [],
    }
    tags = told_of(logs(json.dumps(content, indent=indent)))
    assert tags == {
        SOURCE: "cloudwatch-logs",
        SOURCE_ARN: "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/orders",
    }


def test_log_group_before_many_records(monkeypatch):
    """However much comes after the log group, only a little is decoded and decompressed."""
    looked_at = []
    decoder = trigger._decoder

    class Decoder:
        def raw_decode(self, text, at):
            looked_at.append(len(text))
            return decoder.raw_decode(text, at)

    monkeypatch.setattr(trigger, "_decoder", Decoder())
    events = json.dumps([{"message": "x" * 1000}] * 10_000)
    assert SOURCE_ARN in told_of(logs(f'{{"logGroup":"orders","logEvents":{events}}}'))
    assert max(looked_at) <= 48 * 1024


@pytest.mark.parametrize(
    "event",
    [
        {"awslogs": 1},
        {"awslogs": {"data": 1}},
        {"awslogs": {"data": "é"}},
        {"awslogs": {"data": "a"}},
        {"awslogs": {"data": base64.b64encode(b"orders").decode()}},
        {"awslogs": {"data": base64.b64encode(zlib.compress(b'{"logGroup":"orders"}')).decode()}},
        logs('{"logGroup":"orders"}', cut=12),
        logs("[]"),
        logs("{}"),
        logs('{"owner":"1"}'),
        logs('{"logGroup":""}'),
        logs('{"logGroup":["orders"]}'),
        logs('{"logEvents":"' + "x" * 100_000 + '","logGroup":"orders"}'),
        logs('{"a":' + "[" * 40_000),
    ],
)
def test_no_log_group(event):
    """Records of another shape, or with a log group not at their beginning, are told without it."""
    assert told_of(event) == {SOURCE: "cloudwatch-logs"}


@pytest.mark.parametrize("context", [REST_API, HTTP_API, FUNCTION_URL, ALB], ids=CONTEXTS)
def test_status_code(context):
    """A response to an HTTP request has a status; no response is one of 502."""
    tags = told(context)
    assert (status_code(tags, 404), status_code(tags, None)) == ("404", "502")


@pytest.mark.parametrize("tags", [{}, {SOURCE: "sqs"}], ids=repr)
def test_no_status_code(tags):
    """What is no HTTP request's has no status."""
    assert status_code(tags, 200) is None


def test_function():
    """A function is told by its ARN in lower case, its name, its memory and where it runs."""
    assert function_tags(invoked(), cold_start=True, proactive=False) == {
        "span.kind": "server",
        "function_arn": "arn:aws:lambda:eu-west-1:123456789012:function:shop",
        "function_version": "$LATEST",
        "functionname": "shop",
        "resource_names": "Shop",
        "region": "eu-west-1",
        "account_id": "123456789012",
        "memorysize": "512",
        "request_id": "8476a536",
        "cold_start": "true",
    }


@pytest.mark.parametrize(
    ("qualifier", "version", "executed"),
    [("Live", "live", "17"), ("17", "17", None), ("$LATEST", "$latest", None), ("1e5", "1e5", "17")],
)
def test_qualifier(qualifier, version, executed):
    """The ARN is told without version or alias; of an alias also the version that it stood for."""
    tags = function_tags(
        invoked(invoked_function_arn=f"{ARN}:{qualifier}"), cold_start=False, proactive=False
    )
    assert tags["function_arn"] == ARN.lower()
    assert (tags["function_version"], tags.get("executedversion")) == (version, executed)


def test_starts():
    """Proactive initialization is told where it has taken place, a cold start always."""
    tags = function_tags(invoked(), cold_start=False, proactive=True)
    assert (tags["cold_start"], tags["proactive_initialization"]) == ("false", "true")
    assert "proactive_initialization" not in function_tags(invoked(), cold_start=False, proactive=False)


def test_tenant():
    """A function with tenant isolation is told with the tenant."""
    tags = function_tags(invoked(tenant_id="blue"), cold_start=False, proactive=False)
    assert tags["tenant_id"] == "blue"


def test_computed_once():
    """What is constant is computed once for each function, bounded, and safe from what callers change."""
    trigger._function_tags.cache_clear()
    for number in range(100):
        function_tags(invoked(), cold_start=False, proactive=False)["region"] = str(number)
    assert trigger._function_tags.cache_info().misses == 1
    assert function_tags(invoked(), cold_start=False, proactive=False)["region"] == "eu-west-1"
    for number in range(100):
        function_tags(invoked(invoked_function_arn=f"{ARN}:{number}"), cold_start=False, proactive=False)
    assert trigger._function_tags.cache_info().currsize == trigger._FUNCTIONS
    assert trigger._function.cache_info().currsize <= trigger._FUNCTIONS


def test_event_unchanged():
    """Nothing that is read is changed."""
    invocation = invoked(HTTP_API)
    before = copy.deepcopy(invocation.request_context)
    trigger_tags(invocation, HEADERS, method="GET", path="/")
    assert invocation.request_context == before


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
def test_no_secret(context):
    """Nothing of an authorizer, an identity, a cookie, a token or a password is told."""
    secret = {
        "authorizer": {"claims": {"sub": MARKER}, "principalId": MARKER, "jwt": {"claims": {"a": MARKER}}},
        "identity": {"apiKey": MARKER, "accessKey": MARKER, "userArn": MARKER},
        "authentication": {"clientCert": {"clientCertPem": MARKER}},
    }
    headers = [
        (b"host", f"me:{MARKER}@shop.example".encode()),
        *((name, MARKER.encode()) for name in (b"cookie", b"authorization", b"x-api-key")),
    ]
    assert MARKER not in repr(told({**context, **secret}, headers))


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
def test_long_texts(context):
    """Whatever has no end is cut."""
    endless = {
        name: value if name in {"stage", "domainName", "elb", "http"} else "x" * 10_000
        for name, value in context.items()
    }
    endless["http" if "http" in context else "extra"] = {"method": "M" * 10_000, "path": "/" * 10_000}
    tags = told(endless, [(name, value * 1000) for name, value in HEADERS], path="/" * 10_000)
    assert max(map(len, tags.values())) == 2048


def test_characters():
    """What cannot be printed is replaced, undecodable bytes too; other scripts are kept."""
    tags = told(ALB, [(b"referer", "/größe\t".encode() + b"\xff"), (b"user-agent", b"\x1b[31m")])
    assert tags["http.referer"] == "/größe\ufffd\ufffd"
    assert tags["http.useragent"] == "\ufffd[31m"
    assert told({**REST_API, "resourcePath": "GET "})["http.method"] == "GET"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


def of(**known):
    """Give objects with these fields as they should be, or anything else, or not at all."""
    return st.fixed_dictionaries({}, optional={name: one | json_values for name, one in known.items()})


contexts = of(
    stage=st.just("prod"),
    domainName=st.sampled_from(["api.shop.example", "a.lambda-url.b"]),
    apiId=st.just("70ixmpl4fl"),
    path=st.text(),
    httpMethod=st.just("GET"),
    resourcePath=st.sampled_from(["/", "GET /", " "]),
    routeKey=st.sampled_from(["$default", "GET /items"]),
    http=of(method=st.just("GET"), path=st.text()),
    elb=of(targetGroupArn=st.just(GROUP)),
)
states = of(Execution=json_values, StateMachine=of(Id=st.text()), State=json_values)
records = of(
    eventSource=st.sampled_from([f"aws:{name}" for name in RECORDS]),
    EventSource=st.just("aws:sns"),
    eventSourceARN=st.text(),
    cf=of(config=of(distributionId=st.text())),
    s3=of(bucket=of(arn=st.text())),
    Sns=of(TopicArn=st.text()),
)
group = st.text().map(lambda name: logs(json.dumps({"logGroup": name}))["awslogs"])
events = of(
    requestContext=contexts,
    version=st.just("2.0"),
    headers=of(host=st.text(), Referer=st.text()),
    multiValueHeaders=of(referer=st.lists(st.text(), max_size=2)),
    httpMethod=st.text(),
    path=st.text(),
    routeKey=st.text(),
    resource=st.text(),
    Records=st.lists(records, max_size=2),
    awslogs=group,
    Payload=states,
    _datadog=states,
    source=st.just("aws.events"),
    resources=st.lists(json_values, max_size=2),
    detail=of(EventCategories=json_values),
    eventSourceArn=st.text(),
)
arns = st.just(ARN) | st.text(st.characters(min_codepoint=32, max_codepoint=126))


def is_tag(name, value):
    return type(name) is type(value) is str and value and value.isprintable() and len(value) <= 2048


@given(
    contexts | json_values, st.lists(st.tuples(st.sampled_from(HEADERS).map(lambda one: one[0]), st.binary()))
)
def test_any_request_context(context, headers):
    """No request context and no header makes it fail, and all tags are printable and bounded."""
    tags = told(context, headers, method="\ud800", path="\x00" * 3000)
    assert all(is_tag(name, value) for name, value in tags.items())
    assert json.dumps(tags, ensure_ascii=False).encode()


@given(events | json_values, arns)
def test_any_event(event, arn):
    """No event and no ARN makes it fail, and all tags are printable and bounded."""
    tags = event_tags(event, Invocation(request_id="1", deadline_s=1, function_arn=arn))
    assert all(is_tag(name, value) for name, value in tags.items())
    assert json.dumps(tags, ensure_ascii=False).encode()


@given(arns, arns, st.integers(0), arns, st.none() | arns)
def test_any_function(arn, name, memory_mb, version, tenant):
    """Whatever texts an invocation has, the tags of its function are printable and not empty."""
    invocation = Invocation(
        request_id="1",
        deadline_s=1,
        function_arn=arn,
        function_name=name,
        memory_mb=memory_mb,
        version=version,
        tenant_id=tenant,
    )
    tags = function_tags(invocation, cold_start=False, proactive=False)
    assert all(is_tag(name, value) for name, value in tags.items())
