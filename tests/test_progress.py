"""Progress: a bar, or the caller's function, which the calling thread calls on the way."""

import math
import threading

import numpy as np
import pytest
from cases import random_stack

from batchpinv import pinv


@pytest.mark.parametrize("workers", [1, 3])
def test_progress_is_monotone_from_the_calling_thread_and_complete(stack, workers):
    calls = []
    total = math.prod(stack.shape[:-2])
    expected = pinv(stack, workers=1)
    x = pinv(
        stack,
        workers=workers,
        progress=lambda *call: calls.append((*call, threading.get_ident())),
    )
    assert np.allclose(x, expected, rtol=1e-6)
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert done[0] >= 0
    assert calls[-1][0] == total
    assert {call[1:] for call in calls} == {(total, threading.get_ident())}
    assert {type(number) for call in calls for number in call} == {int}


def test_long_batch_reports_on_the_way():
    done = []
    pinv(random_stack(400, 100, 100), progress=lambda now, total: done.append(now), driver="svd")
    assert len(set(done)) > 2


def test_progress_counts_the_broadcast_batch():
    calls = []
    pinv(np.ones((3, 2, 2)), rtol=np.zeros((5, 1)), progress=lambda *call: calls.append(call))
    assert calls[-1] == (15, 15)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("at_the_end", [False, True])
def test_exception_of_progress_comes_out_and_the_pool_stays_usable(stack, workers, at_the_end):
    expected = pinv(stack, workers=workers).tobytes()

    def fail(done, total):
        if done == total or not at_the_end:
            raise ZeroDivisionError("from progress")

    for _ in range(3):
        with pytest.raises(ZeroDivisionError, match="from progress"):
            pinv(stack, workers=workers, progress=fail)
        assert pinv(stack, workers=workers).tobytes() == expected


def test_progress_may_call_pinv(stack):
    inner = random_stack(500, 9, 9)
    expected = pinv(inner).tobytes()
    found = []
    pinv(stack, progress=lambda done, total: found.append(pinv(inner).tobytes()))
    assert set(found) == {expected}


def test_progress_true_shows_a_bar(capsys, stack):
    total = math.prod(stack.shape[:-2])
    pinv(stack, progress=True)
    shown = capsys.readouterr().err
    total = "3.00k" if total == 3000 else f"{total}.00"
    assert f"{total}/{total}" in shown
    assert "pinv: 100%" in shown


@pytest.mark.parametrize("progress", [None, False])
def test_nothing_is_shown_unless_asked_for(capfd, stack, progress):
    pinv(stack, progress=progress)
    assert capfd.readouterr() == ("", "")
