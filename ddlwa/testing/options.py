"""How a test's sandbox is to be: what the marker, the ini file and a fixture's arguments say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ddlwa.simulator import AdapterFailedError, FreezeMoment, InvokeMode, LwaBinary
from ddlwa.testing.errors import FixtureError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Options"]

_MODES = ("hold", "extension", "plain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to start.

    Attributes:
        app: `MODULE:ATTR`.
        mode: ``hold``, ``extension``, or ``plain`` for ddtrace alone; None for what the environment says.
        adapter: The Lambda Web Adapter to use, or None for the built-in one.
        invoke_mode: How it posts responses; None for what the environment says.
        moment: When the app is frozen.
        env: Variables for the app, on top of this process's.
    """

    app: str
    mode: str | None = None
    adapter: LwaBinary | None = None
    invoke_mode: InvokeMode | None = None
    moment: FreezeMoment = FreezeMoment.ADVERSARIAL
    env: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Options:
        """Read options as people write them.

        Args:
            given: By the names of the attributes; the adapter as `ddlwa check --adapter` takes it.

        Raises:
            FixtureError: One of them makes no sense, or no app is named.
        """
        unknown = given.keys() - cls.__dataclass_fields__.keys()
        if unknown:
            known = ", ".join(cls.__dataclass_fields__)
            raise FixtureError(f"ddlwa has no option {', '.join(sorted(unknown))}; it has {known}")
        app = given.get("app")
        if not app:
            raise FixtureError(
                "no app is named: mark the test with @pytest.mark.ddlwa(app="
                '"main:app"), or put ddlwa_app = "main:app" into the pytest section of the ini file'
            )
        module, _, attribute = str(app).partition(":")
        if not module or not attribute:
            raise FixtureError(f"app={app!r} is not of the form MODULE:ATTR, such as main:app")
        mode = given.get("mode")
        if mode not in (None, *_MODES):
            raise FixtureError(f"mode={mode!r}: it has to be one of {', '.join(_MODES)}")
        env = given.get("env", {})
        if not isinstance(env, dict):
            raise FixtureError(f'env={env!r} is no dictionary, such as {{"DD_SERVICE": "shop"}}')
        return cls(
            app=app,
            mode=mode,
            adapter=_adapter(str(given.get("adapter") or "builtin")),
            invoke_mode=_member(InvokeMode, given, "invoke_mode", default=None),
            moment=_member(FreezeMoment, given, "moment", default=FreezeMoment.ADVERSARIAL),
            env={name: str(value) for name, value in env.items()},
        )


def _adapter(name: str) -> LwaBinary | None:
    if name == "builtin":
        return None
    try:
        return LwaBinary.named(name)
    except AdapterFailedError as error:
        raise FixtureError(f"adapter={name!r}: {error}") from error


def _member(kind: Any, given: Mapping[str, Any], name: str, *, default: Any) -> Any:
    """Read an enum's member by its value; a member is one already."""
    value = given.get(name, default)
    if value is None or isinstance(value, kind):
        return value
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(member.value for member in kind)
        raise FixtureError(f"{name}={value!r}: it has to be one of {allowed}") from None
