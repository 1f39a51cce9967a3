"""A baseline: what a check measured once, in a file that a repository can keep."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from ddlwa.check.errors import BaselineError
from ddlwa.check.samples import Measured, Statistic
from ddlwa.check.threshold import STATISTICS

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from ddlwa.check.samples import Samples
    from ddlwa.report.model import Report

SCHEMA_VERSION = 1
_BESIDE_STATISTICS = ("spans", "own_ns", "machine_ns")


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was measured.

    Attributes:
        circumstances: What may explain a difference, each by its name: app, mode, adapter, versions.
        samples: By route and operation name.
    """

    circumstances: dict[str, str]
    samples: Samples

    @classmethod
    def of(cls, report: Report, *, samples: Samples) -> Baseline:
        """Make one of what a check has measured.

        Args:
            report: Of that check.
            samples: What its judged run took.
        """
        circumstances = {
            "app": report.app,
            "traced by": report.judged.mode.label,
            "adapter": report.adapter,
            "ddlwa": report.version,
            "ddtrace": report.ddtrace_version,
            "Python": platform.python_version(),
        }
        return cls(circumstances, samples)

    def differences(self, now: Baseline) -> tuple[str, ...]:
        """List what is not as it was.

        Args:
            now: What has been measured since.
        """
        return tuple(
            f"{name} was {before}, is {now.circumstances.get(name)}"
            for name, before in self.circumstances.items()
            if now.circumstances.get(name) != before
        )


def save(baseline: Baseline, file: Path) -> None:
    """Write a baseline.

    Args:
        baseline: What was measured.
        file: Where to; what is there is replaced.

    Raises:
        BaselineError: The file can't be written.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "circumstances": baseline.circumstances,
        "routes": {
            route: {span: _saved(one) for span, one in spans.items()}
            for route, spans in baseline.samples.items()
        },
    }
    try:
        file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise BaselineError(f"--save-baseline {file}", str(error.strerror), output="") from error


def load(file: Path) -> Baseline:
    """Read a baseline.

    Args:
        file: As `save` has written it.

    Raises:
        BaselineError: There is none, or none that this version reads.
    """
    what = f"--baseline {file}"
    again = "write it anew with --save-baseline"
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BaselineError(what, f"{error.strerror}; {again}", output="") from error
    except ValueError as error:
        raise BaselineError(what, f"this is no JSON ({error}); {again}", output="") from error
    found = document.get("schema_version") if isinstance(document, dict) else None
    if found != SCHEMA_VERSION:
        reason = f"its schema_version is {found}, not {SCHEMA_VERSION}; {again}"
        raise BaselineError(what, reason, output="")
    try:
        return Baseline(
            circumstances={str(name): str(value) for name, value in document["circumstances"].items()},
            samples={
                route: {span: _measured(one) for span, one in spans.items()}
                for route, spans in document["routes"].items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BaselineError(what, f"it is not whole ({error!r}); {again}", output="") from error


def _saved(one: Measured) -> dict[str, Any]:
    return {
        **{name: getattr(one, name) for name in _BESIDE_STATISTICS},
        **{name: asdict(one.statistics[name]) for name in STATISTICS},
    }


def _measured(one: dict[str, Any]) -> Measured:
    return Measured(
        statistics={
            name: Statistic(**{field.name: int(one[name][field.name]) for field in fields(Statistic)})
            for name in STATISTICS
        },
        **{name: int(one[name]) for name in _BESIDE_STATISTICS},
    )
