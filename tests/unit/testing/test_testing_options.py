from __future__ import annotations

import pytest

from ddlwa.simulator import FreezeMoment, InvokeMode
from ddlwa.testing.errors import FixtureError
from ddlwa.testing.options import Options


def test_an_app_is_enough():
    """What is not given has its default, or is left to the environment."""
    assert Options.read({"app": "main:app"}) == Options(app="main:app")


def test_options_are_read_as_people_write_them():
    """Texts become what the simulator takes."""
    options = Options.read(
        {
            "app": "main:app",
            "mode": "extension",
            "adapter": "builtin",
            "invoke_mode": "response_stream",
            "moment": "faithful",
            "env": {"SIZE": 3},
        }
    )
    assert options == Options(
        app="main:app",
        mode="extension",
        invoke_mode=InvokeMode.RESPONSE_STREAM,
        moment=FreezeMoment.FAITHFUL,
        env={"SIZE": "3"},
    )


def test_members_are_taken_as_they_are():
    """A test may import the enum instead of writing its value."""
    options = Options.read({"app": "main:app", "moment": FreezeMoment.FAITHFUL})
    assert options.moment is FreezeMoment.FAITHFUL


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "no app is named: mark the test"),
        ({"app": ""}, "no app is named"),
        ({"app": "main"}, "app='main' is not of the form MODULE:ATTR"),
        ({"app": "main:app", "modus": 1}, "no option modus; it has app, mode, adapter"),
        ({"app": "main:app", "mode": "off"}, "mode='off': it has to be one of hold, extension, plain"),
        ({"app": "main:app", "moment": "later"}, "moment='later': it has to be one of adversarial, faithful"),
        ({"app": "main:app", "invoke_mode": "fast"}, "invoke_mode='fast': it has to be one of buffered"),
        ({"app": "main:app", "adapter": "/nowhere/lwa"}, "adapter='/nowhere/lwa': "),
        ({"app": "main:app", "env": ["A=1"]}, r"env=\['A=1'\] is no dictionary"),
    ],
)
def test_what_makes_no_sense_is_refused(given, said):
    """The message says what was found and what is allowed."""
    with pytest.raises(FixtureError, match=said):
        Options.read(given)
