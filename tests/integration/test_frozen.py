import pytest
from endings import CASES
from freezer import freeze
from gates import gate


@pytest.fixture(scope="module")
def gated_app(app_behind):
    """Give the app behind a stack, the gate installed."""
    with gate():
        yield app_behind


@pytest.fixture(scope="module", params=[pytest.param(case.values, id=case.id) for case in CASES])
def case(request):
    """Give an ending and a stack."""
    return request.param


@pytest.fixture(scope="module")
def frozen(case, gated_app, agent):
    """Give what became of a request behind the gate that was frozen when its response was complete."""
    ending, stack = case
    return freeze(gated_app(stack), ending.request, agent)


def test_guarantee_4_no_frozen_time(frozen):
    """No span records the freeze: of the request, of a background task, of a thread."""
    assert frozen.inflated == []


def test_guarantee_5_delivered_before_the_freeze(frozen):
    """Every span that had begun before the freeze had been delivered by then."""
    assert frozen.undelivered == []


def test_nothing_is_put_off_until_after_the_freeze(case, frozen):
    """Only what is meant to run after the response does: background tasks, and what waits for them."""
    ending, _ = case
    assert frozen.after <= ending.after
