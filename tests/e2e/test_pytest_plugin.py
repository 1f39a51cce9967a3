from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

APPS = Path(__file__).parent / "plugin_apps"
PAGE = Path(__file__).parents[2] / "docs" / "pytest.md"
HEAVY = (
    "ddtrace",
    "aiohttp",
    "anyio",
    "freezegun",
    "rich",
    "ddlwa.simulator",
    "ddlwa.check",
    "ddlwa.testing",
)


def run_pytest(folder, *arguments):
    """Run pytest in a folder as a user does; give its exit code, its output, and each test's report."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--junit-xml=report.xml", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    report = folder / "report.xml"
    cases = ET.parse(report).iter("testcase") if report.exists() else ()  # noqa: S314 - pytest wrote it
    return done.returncode, done.stdout + done.stderr, {case.get("name"): case for case in cases}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Make a project with an app, as its tests would stand in it."""

    def make(cases, ini):
        folder = tmp_path_factory.mktemp(cases)
        shutil.copy(APPS / "main.py", folder)
        shutil.copy(APPS / f"{cases}.py", folder / "test_it.py")
        (folder / "pytest.ini").write_text(
            f"[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n{ini}"
        )
        return folder

    return make


@pytest.fixture(scope="module")
def failures(project):
    """Run the tests that fail; give each one's text."""
    code, output, cases = run_pytest(project("failing", ini=""))
    assert code == 1, output
    return {
        name: "".join(part.text or "" for part in case if part.tag in ("failure", "error"))
        for name, case in cases.items()
    }


def test_a_good_app_passes_on_two_workers(project):
    """With the app in the ini file, its tests pass side by side, and take no frozen time in the report."""
    folder = project("passing", ini="ddlwa_app = main:app\n")
    code, output, cases = run_pytest(folder, "-n", "2", "-v")
    assert code == 0, output
    assert len(cases) == 9
    assert {"gw0", "gw1"} <= set(re.findall(r"\[(gw\d)\]", output))
    assert all(float(case.get("time")) < 60 for case in cases.values())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "test_plain_ddtrace",
            [
                "GET /broken: recorded times are wrong",
                r"fastapi.request \(GET /broken.*\) records 3h 0m: the sandbox ran for [\d.]+ ms",
                "What to do: Here plain ddtrace traces the app. Trace it with ddlwa",
            ],
        ),
        ("test_a_background_task", ["'items' is no path, which begins with a slash"]),
        (
            "test_no_such_app",
            ["^nowhere:app cannot be tested", "with the import path of this", 'not import module "nowhere"'],
        ),
        ("test_no_app", ["^no app is named: mark the test with @pytest.mark.ddlwa", "or put ddlwa_app"]),
        ("test_no_such_option", ["^ddlwa has no option modus; it has app, mode, adapter"]),
        ("test_no_keyword", ["^the marker ddlwa takes keywords.* and not 'main:app'"]),
        ("test_both", ["^frozen_clock freezes this process.*use one of the two"]),
        (
            "test_unsupported_ddtrace",
            [r"^the spans of ddtrace \d.* cannot be put on a frozen clock: .*>=3.19"],
        ),
        ("test_no_freezegun", [r"^frozen_clock needs packages.*: freezegun; pip install 'ddlwa\[pytest\]'"]),
    ],
)
def test_a_failure_says_what_to_do(failures, name, said):
    """Each says what, what was found, and what to do, with no frames of the plugin before it."""
    for words in said:
        assert re.search(words, failures[name]), failures[name]
    assert "ddlwa/pytest_plugin.py" not in failures[name]
    assert "assertions.py" not in failures[name]


def test_a_run_that_uses_no_fixture_pays_nothing(tmp_path):
    """Loading the plugin imports none of what its fixtures are made of."""
    (tmp_path / "test_it.py").write_text("def test_it():\n    assert True\n")
    code = (
        "import sys, pytest\n"
        "code = pytest.main(['-p', 'ddlwa.pytest_plugin', '-p', 'no:cacheprovider'])\n"
        f"print('heavy:', [name for name in {HEAVY} if name in sys.modules])\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # other plugins import what they like
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "heavy: []" in done.stdout


def test_tests_run_under_ddlwa_run(tmp_path):
    """That the package is imported before pytest is no warning."""
    (tmp_path / "test_it.py").write_text("def test_it():\n    assert True\n")
    runner = Path(sys.executable).with_name("ddlwa-run")
    done = subprocess.run(
        [runner, "pytest", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert "rewritten; ddlwa" not in done.stdout  # of ddtrace itself pytest may say so


def test_importing_the_package_does_not_load_pytest():
    """What runs in Lambda knows nothing of tests."""
    code = "import ddlwa, sys; assert not {'pytest', 'ddlwa.pytest_plugin', 'ddlwa.testing'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_examples_of_the_page_run(tmp_path):
    """Each example stands in the file that its first line names, and all their tests pass."""
    for language, text in re.findall(r"```(python|ini)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        name = re.match(r"# (\S+)\n", text)
        assert name, f"an example in {language} without the name of its file: {text}"
        with (tmp_path / name[1]).open("a", encoding="utf-8") as file:
            file.write(text)
    code, output, cases = run_pytest(tmp_path, "-W", "error")
    assert code == 0, output
    assert len(cases) >= 5
