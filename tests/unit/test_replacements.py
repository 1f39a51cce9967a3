"""Replaced as one, put back exactly."""

import pytest

from ddlwa.replacements import Replacements


class Owner:
    value = "original"


@pytest.fixture(autouse=True)
def restored():
    yield
    Owner.value = "original"


def test_undo_restores_the_very_object():
    """Undoing puts back the object that was replaced, last replaced first."""
    original = vars(Owner)["value"]
    replacements = Replacements()
    replacements.replace(Owner, "value", lambda value: value + "+1")
    replacements.replace(Owner, "value", lambda value: value + "+2")
    assert (Owner.value, replacements.active) == ("original+1+2", True)
    replacements.undo()
    assert vars(Owner)["value"] is original
    assert not replacements.active


def test_undo_leaves_what_somebody_else_has_put_there(warnings_said):
    """A value set by somebody else since is left, with one warning."""
    replacements = Replacements()
    replacements.replace(Owner, "value", lambda value: value + "+1")
    Owner.value = "theirs"
    replacements.undo()
    replacements.undo()
    assert Owner.value == "theirs"
    assert len(warnings_said()) == 1


def test_missing_attribute():
    """An attribute that the owner itself does not have is an error."""

    class Heir(Owner):
        pass

    with pytest.raises(KeyError, match="value"):
        Replacements().replace(Heir, "value", str)
