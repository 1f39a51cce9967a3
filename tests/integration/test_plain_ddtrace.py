import pytest
from endings import CASES
from freezer import freeze


@pytest.mark.parametrize(("ending", "stack"), CASES)
def test_plain_ddtrace_shows_the_defect(ending, stack, agent, app_behind):
    """Without the gate the same harness sees durations of hours, and nothing delivered in time."""
    frozen = freeze(app_behind(stack), ending.request, agent)
    assert frozen.delivered == []
    assert frozen.undelivered
    assert frozen.inflated or stack in ending.unharmed
