"""The tags of an invocation are those that datadog-lambda gives to the span of a handler."""

import json

import pytest
from lambda_cases import CASES, FROM_EVENT, FROM_HEADERS, REQUEST_ID, Adapted, Difference
from processes import python

from ddlwa.trigger import function_tags, status_code

# An older one, which is what goes with ddtrace 3, tells less: no referer but in REST APIs' spelling, no span
# kind of a function, nothing of a load balancer's headers.
_SINCE = (8, 130)

# To import datadog-lambda patches whatever can be patched, so it has a process of its own.
_ORACLE = """
import json, os, warnings
from types import SimpleNamespace
warnings.simplefilter("ignore")
from datadog_lambda import __version__
from datadog_lambda.tags import get_enhanced_metrics_tags
from datadog_lambda.tracing import create_function_execution_span
from datadog_lambda.trigger import extract_http_status_code_tag, extract_trigger_tags

def trigger(event, context, status):
    try:
        tags = extract_trigger_tags(event, context)
    except Exception:
        return None
    code = extract_http_status_code_tag(tags, {"statusCode": status})
    return {"tags": tags, "status_code": code, "no response": extract_http_status_code_tag(tags, None)}

def function(context, cold_start, proactive):
    span = create_function_execution_span(
        context, context.function_name, cold_start, proactive, None, False, trigger_tags={}
    )
    return {name: value for name, value in span.get_tags().items() if not name.startswith("_dd.")}

with open(os.environ["CASES"]) as file:
    cases = json.load(file)
told = {}
for name, case in cases.items():
    context = SimpleNamespace(**case["context"])
    told[name] = {
        "rebuilt": trigger(case["rebuilt"], context, case["status"]),
        "event": trigger(case["event"], context, case["status"]),
        "cold": function(context, True, False),
        "warm": function(context, False, False),
        "proactive": function(context, False, True),
        "metrics": dict(tag.split(":", 1) for tag in get_enhanced_metrics_tags(context)),
    }
print("outcome", json.dumps({"version": __version__, "told": told}), flush=True)
os._exit(0)  # so that nothing is sent at the end of the process
"""


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
    """Give what datadog-lambda tells of each case, and whether it tells all that is told today."""
    cases = {
        name: {
            "event": case.event,
            "rebuilt": Adapted(case).rebuilt(),
            "status": case.status,
            "context": {
                "aws_request_id": REQUEST_ID,
                "invoked_function_arn": case.invoked_arn,
                "function_name": case.name,
                "function_version": case.version,
                "memory_limit_in_mb": 512,
            },
        }
        for name, case in CASES.items()
    }
    path = tmp_path_factory.mktemp("oracle") / "cases.json"
    path.write_text(json.dumps(cases))
    (outcome,) = python(_ORACLE, env={"CASES": str(path)}).outcomes
    version = tuple(int(part) for part in outcome["version"].split(".")[:2])
    return outcome["told"], version >= _SINCE


def differing(ours, theirs):
    """Give those of our tags that they have not, or have otherwise."""
    return {name: value for name, value in ours.items() if theirs.get(name) != value}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("given", "known"), [("rebuilt", FROM_HEADERS), ("event", FROM_EVENT)])
def test_trigger_tags(oracle, name, given, known):
    """The tags of a trigger are datadog-lambda's, but for what is known to differ, and why."""
    case, expected = CASES[name], known.get(name, Difference(why="it does not"))
    ours, (all_told, is_whole) = Adapted(case).tags(), oracle
    told = all_told[name][given]
    if told is None:
        assert (expected.ours, expected.theirs) == (ours, None)
        return
    theirs = told["tags"]
    lacking = differing(theirs, ours)
    if is_whole:
        assert (differing(ours, theirs), lacking) == (expected.ours, expected.theirs)
    else:
        assert lacking.items() <= expected.theirs.items()
    assert status_code(ours, case.status) == told["status_code"]
    assert status_code(ours, None) == told["no response"]


@pytest.mark.parametrize("known", [FROM_HEADERS, FROM_EVENT], ids=["rebuilt", "event"])
def test_known_differences(known):
    """Each difference that is known is that of a case, and has its reason."""
    assert known.keys() <= CASES.keys()
    assert all(difference.why for difference in known.values())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("start", ["cold", "warm", "proactive"])
def test_function_tags(oracle, name, start):
    """The tags of a function are those of datadog-lambda's span, and what its metrics have besides."""
    invocation = Adapted(CASES[name]).invocation
    ours = function_tags(invocation, cold_start=start == "cold", proactive=start == "proactive")
    all_told, is_whole = oracle
    span, metrics = all_told[name][start], all_told[name]["metrics"]
    # What ddtrace tells itself, the version of a library that is not here, the name of another span.
    not_ours = {"datadog_lambda", "dd_trace", "span.name", "runtime-id", "language"}
    assert not differing({tag: value for tag, value in span.items() if tag not in not_ours}, ours)
    besides = {"region", "account_id", "memorysize", "executedversion"}
    assert not is_whole or ours.keys() - besides <= span.keys()
    assert {tag: value for tag, value in ours.items() if tag in besides} == {
        tag: value for tag, value in metrics.items() if tag in besides
    }


@pytest.mark.parametrize("name", CASES)
def test_no_secret(name):
    """Nothing of a query string, a cookie, an authorizer or a password is in a tag."""
    case = CASES[name]
    assert not any("s3cr3t" in value.lower() for value in Adapted(case).tags().values())
