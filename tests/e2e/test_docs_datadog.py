"""docs/datadog.md: what it shows is what is in the files, and these are what AWS and the libraries take."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import check_command
import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs
from cfnlint.decode import decode_str
from ddtrace.internal.settings._supported_configurations import SUPPORTED_CONFIGURATIONS
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.translator.transform import transform

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "datadog.md"
EXAMPLES = ROOT / "docs" / "examples" / "datadog"
APP = EXAMPLES / "app"

IN_SANDBOX = {"lambda", "lwa", "ddtrace", "ddlwa"}
# Which of those that read the environment there are.
SETUPS = {
    "extension-proxy": {*IN_SANDBOX, "extension"},
    "extension": {*IN_SANDBOX, "extension"},
    "forwarder": IN_SANDBOX,
    "agent": IN_SANDBOX,
}
# Who reads a variable. "lwa": aws-lambda-web-adapter 1.0, src/lib.rs. "extension": datadog-lambda-extension,
# bottlecap/src/config/env.rs and aws.rs. "library": datadog-lambda, which none of the setups has.
READERS = {
    "AWS_LAMBDA_EXEC_WRAPPER": {"lambda"},
    "AWS_LWA_ERROR_STATUS_CODES": {"lwa"},
    "AWS_LWA_LAMBDA_RUNTIME_API_PROXY": {"lwa", "extension"},
    "AWS_LWA_PORT": {"lwa"},
    "AWS_LWA_READINESS_CHECK_PATH": {"lwa"},
    "DD_AGENTLESS_ENABLED": {"ddtrace"},
    "DD_AGENT_HOST": {"ddtrace"},
    "DD_API_KEY": {"ddtrace", "extension"},
    "DD_API_KEY_SECRET_ARN": {"extension"},
    "DD_APM_NON_LOCAL_TRAFFIC": {"agent"},
    "DD_ENV": {"ddtrace", "extension"},
    "DD_LAMBDA_HANDLER": {"library"},
    "DD_LOG_LEVEL": {"extension"},
    "DD_SERVERLESS_FLUSH_STRATEGY": {"extension"},
    "DD_SERVERLESS_LOGS_ENABLED": {"extension"},
    "DD_SERVICE": {"ddtrace", "extension"},
    "DD_SITE": {"ddtrace", "extension"},
    "DD_TRACE_AGENT_URL": {"ddtrace"},
    "DD_TRACE_PARTIAL_FLUSH_ENABLED": {"ddtrace"},
    "DD_TRACE_PARTIAL_FLUSH_MIN_SPANS": {"ddtrace"},
    "DD_VERSION": {"ddtrace", "extension"},
    "DDLWA_ENABLED": {"ddlwa"},
    "DDLWA_FLUSH_TIMEOUT_MS": {"ddlwa"},
    "DDLWA_LAMBDA_SPAN": {"ddlwa"},
    "DDLWA_LAMBDA_TAGS": {"ddlwa"},
    "DDLWA_MODE": {"ddlwa"},
}

# CDK has every function depend on its role, which the function's reference to it says as well.
CDK_REPEATS_ITSELF = "W3005"
SYNTHESIS_S = 180
START_S = 30

SYNTHESISE = "import runpy, sys; [runpy.run_path(path, run_name='__main__') for path in sys.argv[1:]]"


@pytest.fixture(autouse=True)
def region(monkeypatch):
    """AWS's translator makes ARNs for the region that the environment names."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


@pytest.fixture(scope="module")
def synthesised(tmp_path_factory):
    """Give the templates of the CDK apps, by setup; all are synthesised by one process, which needs Node."""
    out = tmp_path_factory.mktemp("cdk.out")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SYNTHESISE, *(EXAMPLES / name / "app.py" for name in SETUPS)],
        env={**os.environ, "CDK_OUTDIR": str(out), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=SYNTHESIS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    stacks = {name: f"Shop{name.title().replace('-', '')}" for name in SETUPS}
    return {name: (out / f"{stack}.template.json").read_text("utf-8") for name, stack in stacks.items()}


def lint_problems(template, *, ignored=()):
    """Say what cfn-lint has to say of a template, errors and warnings alike."""
    found = lint(template, config=ManualArgs(ignore_checks=list(ignored)))
    return [f"{match.rule.id} {match.message}" for match in found]


def sam_problems(template):
    """Say what is wrong with a SAM template, by itself and as CloudFormation gets it from AWS's translator.

    Of itself cfn-lint sees neither a wrong reference within a SAM function nor an unknown policy template.
    """
    found = lint_problems(template)
    plain = json.loads(json.dumps(decode_str(template)[0]))
    properties = plain["Resources"]["Shop"]["Properties"]
    assert (EXAMPLES / "agent" / properties["CodeUri"]).is_dir()
    properties["CodeUri"] = "s3://bucket/packaged"  # as `sam package` puts it
    try:
        translated = transform(plain, {}, NoManagedPolicies())
    except InvalidDocumentException as error:
        return [*found, *(cause.message for cause in error.causes)]
    return found + lint_problems(json.dumps(translated))


class NoManagedPolicies:
    """Stands for IAM, which the translator asks about managed policies that go by name."""

    def load(self):
        return {}


def variables(template):
    """Give the variables of the template's function."""
    resources = decode_str(template)[0]["Resources"].values()
    (function,) = (
        r for r in resources if r["Type"] in {"AWS::Lambda::Function", "AWS::Serverless::Function"}
    )
    return function["Properties"]["Environment"]["Variables"]


def variable_problems(found, *, setup):
    """Say which variables nobody reads, or cannot have such a value."""
    return [
        f"{name}={value}"
        for name, value in found.items()
        if not READERS.get(name, set()) & SETUPS[setup]
        or not (isinstance(value, str) or (isinstance(value, dict) and value.keys() == {"Ref"}))
    ]


def differences(page):
    """Say which files the page does not show as they are, under a link to them, and what else it shows."""
    shown = re.findall(r"^\[(\S+)\]\((\S+)\):\n\n```\w+\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    files = [path for path in EXAMPLES.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    names = [path.relative_to(EXAMPLES).as_posix() for path in files]
    expected = {(name, f"examples/datadog/{name}", (EXAMPLES / name).read_text("utf-8")) for name in names}
    return sorted({name for name, *_ in expected.symmetric_difference(shown)})


def sam(setup):
    return (EXAMPLES / setup / "template.yaml").read_text("utf-8")


@pytest.mark.parametrize("setup", SETUPS)
def test_a_sam_template_is_valid(setup):
    """cfn-lint has nothing to say of the template, nor of what AWS's translator makes of it."""
    assert not sam_problems(sam(setup))


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("Handler:", "Handlr:", "E3002"),
        ("SecretArn: !Ref DatadogKeyArn", "SecretArn: !Ref Nowhere", "E1020"),
        ("AWSSecretsManagerGetSecretValuePolicy", "AWSSecretsManagerPolicy", "not valid"),
        ("Default: datadoghq.com", "Default: [datadoghq.com]", "E2001"),
        ("MemorySize: 1024", "MemorySize: 64", "E3034"),
    ],
)
def test_a_broken_sam_template_is_reported(right, wrong, problem):
    """Each kind of mistake is found by cfn-lint, or by the translator."""
    template = sam("extension")
    assert template.count(right) == 1
    assert any(problem in found for found in sam_problems(template.replace(right, wrong)))


@pytest.mark.parametrize("setup", SETUPS)
def test_a_cdk_app_gives_a_valid_template(setup, synthesised):
    """cfn-lint has nothing to say of what the app synthesises."""
    assert not lint_problems(synthesised[setup], ignored=[CDK_REPEATS_ITSELF])


def test_a_broken_cdk_template_is_reported(synthesised):
    """A mistake in what an app synthesises is found by cfn-lint."""
    broken = synthesised["extension"].replace('"PackageType": "Image"', '"PackageType": "Picture"')
    assert any("E3030" in found for found in lint_problems(broken))


@pytest.mark.parametrize("setup", SETUPS)
def test_every_variable_of_a_setup_has_a_reader_in_it(setup, synthesised):
    """No template sets what nobody reads in its setup."""
    assert not variable_problems(variables(sam(setup)), setup=setup)
    assert not variable_problems(variables(synthesised[setup]), setup=setup)


@pytest.mark.parametrize("setup", SETUPS)
def test_image_and_zip_have_the_same_variables(setup, synthesised):
    """But for what has the adapter's layer start the script."""
    in_zip, in_image = variables(sam(setup)), variables(synthesised[setup])
    assert {*in_zip} - {*in_image} == {"AWS_LAMBDA_EXEC_WRAPPER"}
    assert {*in_image} <= {*in_zip}
    values = {name: value for name, value in in_zip.items() if isinstance(in_image.get(name), str)}
    values.pop("DD_SITE", None)  # a parameter of the one, a line to be changed in the other
    assert values == {name: in_image[name] for name in values}


@pytest.mark.parametrize(
    "found", [{"DD_SERVICES": "shop"}, {"DD_API_KEY_SECRET_ARN": "arn"}, {"DD_SERVICE": ["shop"]}]
)
def test_a_variable_without_a_reader_is_reported(found):
    """So is an unknown one, one whose reader another setup has, and a value that is none."""
    assert variable_problems(found, setup="forwarder")


def test_the_readers_know_their_variables():
    """The tracer lists what the table says that it reads, and ddlwa's settings name what is theirs."""
    read = {who: {name for name in READERS if who in READERS[name]} for who in ("ddtrace", "ddlwa")}
    assert read["ddtrace"] <= SUPPORTED_CONFIGURATIONS
    settings = (ROOT / "ddlwa" / "settings.py").read_text("utf-8")
    assert read["ddlwa"] <= {*re.findall(r'"(DDLWA_\w+)"', settings)}


def test_the_page_names_no_unknown_variable():
    """Each variable in the page's text is in the table, too."""
    named = {*re.findall(r"\b_?(?:AWS_LWA|AWS_LAMBDA|DD|DDLWA)_[A-Z_]+\b", PAGE.read_text("utf-8"))}
    assert named == {*READERS}


def test_the_page_shows_the_files():
    """Every example is in the page as it is in its file, under a link to it, and nothing else is."""
    page = PAGE.read_text("utf-8")
    assert not differences(page)
    drifted = page.replace("datadoghq.com\n\nResources", "datadoghq.eu\n\nResources", 1)
    assert differences(drifted) == ["extension-proxy/template.yaml"]
    assert differences(page.replace("[app/run.sh]", "app/run.sh")) == ["app/run.sh"]


def test_the_links_of_the_page_resolve():
    """Each link leads to a file, or to a heading of the page it names."""
    for target, anchor in re.findall(r"\]\((?!https://)([^)#]*)#?([^)]*)\)", PAGE.read_text("utf-8")):
        path = (PAGE.parent / target) if target else PAGE
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{target}#{anchor}"


def test_the_files_that_a_dockerfile_copies_are_there():
    """Both images are built of what is beside their Dockerfile, and of stages that they have."""
    for dockerfile in APP.glob("Dockerfile*"):
        text = dockerfile.read_text("utf-8")
        stages = {*re.findall(r" AS (\w+)$", text, re.MULTILINE)}
        assert stages == {*re.findall(r"--from=(\w+)", text)}
        for name in re.findall(r"^COPY (?!--)(\S+) \.$", text, re.MULTILINE):
            assert (APP / name).is_file()


def test_the_start_script_serves_the_app_and_its_traces_are_in_the_log():
    """The zip function's handler runs the app with ddlwa; without agent and extension traces are lines."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAMBDA_TASK_ROOT": str(APP),
        "AWS_LAMBDA_FUNCTION_NAME": "shop",
        "AWS_LWA_PORT": str(port),
    }
    # As the adapter's layer starts it: by its path, so it has to be executable.
    server = subprocess.Popen(
        [APP / "run.sh"], cwd=APP, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        wait_for_listener(port, server)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/tracing", timeout=START_S) as answer:
            assert json.load(answer)["delivery"] is not None
    finally:
        server.send_signal(signal.SIGTERM)
        output, _ = server.communicate(timeout=START_S)
    lines = [json.loads(line) for line in output.splitlines() if line.startswith('{"traces":')]
    assert [line["traces"][0][0]["resource"] for line in lines] == ["GET /tracing"]


def wait_for_listener(port, server):
    """Wait until the port takes connections, as the adapter does with a TCP check."""
    until_s = time.monotonic() + START_S
    with socket.socket() as client:
        while client.connect_ex(("127.0.0.1", port)):
            assert server.poll() is None, server.communicate()[0]
            assert time.monotonic() < until_s
            time.sleep(0.01)


def test_the_check_finds_the_app_right():
    """`ddlwa check main:app`, which the page recommends, says so of the example."""
    code, output, errors = check_command.run("main:app", cwd=APP, PYTHONDONTWRITEBYTECODE="1")
    assert code == 0, output + errors
    assert "0 spans with frozen time" in output
