"""The reports that are written besides the one at the terminal."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ddlwa.cli.arguments import UsageError, writable

if TYPE_CHECKING:
    import argparse

    from typing_extensions import Self

    from ddlwa.report.model import Failure, Report


def add_to(check: argparse.ArgumentParser) -> None:
    """Add the arguments to the command's parser."""
    check.add_argument("--json", type=Path, metavar="FILE", help="also write the report as JSON")
    check.add_argument("--junit", type=Path, metavar="FILE", help="also write it as JUnit XML")
    check.add_argument("--html", type=Path, metavar="FILE", help="also write it as a page with its timelines")


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where reports go.

    Attributes:
        json: For programs.
        junit: For CI servers.
        html: To look at.
        github: In a job of GitHub Actions: annotations, and a summary.
        summary: The file that GitHub takes the summary from.
    """

    json: Path | None
    junit: Path | None
    html: Path | None
    github: bool
    summary: Path | None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Self:
        """Read them from the arguments and the environment.

        Args:
            arguments: Parsed.

        Raises:
            UsageError: A file can't be written.
        """
        for option in ("json", "junit", "html"):
            writable(f"--{option}", getattr(arguments, option))
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        return cls(
            json=arguments.json,
            junit=arguments.junit,
            html=arguments.html,
            # docs.github.com, "Variables reference": always "true" in a job.
            github=os.environ.get("GITHUB_ACTIONS") == "true",
            summary=Path(summary) if summary else None,
        )

    def printed(self, text: str) -> str:
        """Make of a text with what the app says one that can be printed: in a job of GitHub, no commands.

        Args:
            text: The report for the terminal, or the app's output.
        """
        from ddlwa.report import github  # noqa: PLC0415 - as in write

        return github.guarded(text, until=secrets.token_hex()) if self.github else text

    def write(self, report: Report) -> None:
        """Write what is asked for.

        Args:
            report: What the check found.

        Raises:
            UsageError: A file can't be written.
        """
        from ddlwa.report import github, html, json_, junit  # noqa: PLC0415 - with the extra's packages

        if self.json is not None:
            _write(self.json, json_.render(report))
        if self.junit is not None:
            _write(self.junit, junit.render(report))
        if self.html is not None:
            _write(self.html, html.render(report))
        if self.github:
            sys.stdout.write(github.commands(report))
            self._summarise(github.summary(report))

    def write_failure(self, failure: Failure) -> None:
        """Say that the check could not be made, to those who would take silence for success.

        Args:
            failure: Why not.

        Raises:
            UsageError: A file can't be written.
        """
        from ddlwa.report import github, junit  # noqa: PLC0415 - as in write

        if self.junit is not None:
            _write(self.junit, junit.render_failure(failure))
        if self.github:
            # Behind what the app has printed, in the same stream: between two the runner knows no order.
            sys.stderr.write(github.failure_command(failure))
            self._summarise(github.failure_summary(failure))

    def _summarise(self, text: str) -> None:
        if self.summary is not None:
            _write(self.summary, text, mode="a")  # other steps of the job write there, too


def _write(file: Path, text: str, *, mode: str = "w") -> None:
    try:
        with file.open(mode, encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
