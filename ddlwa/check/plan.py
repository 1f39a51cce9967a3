"""Which requests a run sends, in which order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_DEFAULT_ROUNDS = 10
_DEFAULT_TOTAL = 100
_ROUTE = re.compile(r"(?:(?P<method>[A-Z]+) +)?(?P<path>/\S*)")


@dataclass(frozen=True, slots=True)
class Planned:
    """A request to send.

    Attributes:
        method: HTTP method.
        path: With its query.
        headers: Names and values.
        body: Sent as it is.
        expected_status: What the answer has to be, if that is known.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    expected_status: int | None = None

    @property
    def label(self) -> str:
        """Name the request as `--route` takes it."""
        return f"{self.method} {self.path}"


def parse_route(text: str) -> Planned:
    """Read `GET /items/1`, or `/items/1` for a GET.

    Args:
        text: As given to `--route`.

    Raises:
        ValueError: It is neither.
    """
    match = _ROUTE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'{text!r} is not a route: write a method and a path, such as "GET /items/1"')
    return Planned(method=match["method"] or "GET", path=match["path"])


def schedule(
    requests: Sequence[Planned], *, total: int | None, rounds: int | None = None
) -> tuple[Planned, ...]:
    """Go round the requests until the total is reached.

    Args:
        requests: At least one, each once.
        total: How many to send; None means whole rounds.
        rounds: How many of those; None means ten of them or about a hundred requests.
    """
    if total is None:
        total = len(requests) * (rounds or max(1, min(_DEFAULT_ROUNDS, _DEFAULT_TOTAL // len(requests))))
    return tuple(requests[number % len(requests)] for number in range(total))
