"""BLAS is held to one thread while a batch is computed, and then gets its own number back."""

import contextlib
import inspect
import os
import threading
import time

import numpy as np
import pytest
import threadpoolctl
from callers import call_at_once
from cases import random_stack
from threadpoolctl import ThreadpoolController, threadpool_limits

from batchpinv import LinAlgError, pinv, show_config
from batchpinv import _blas as module
from batchpinv._batch import is_blas_held
from batchpinv._blas import hold


@pytest.fixture
def blas_threads():
    """A function: how many threads the BLAS in use may have now. The user's own limit is 3."""
    pinv(np.eye(70))  # loads LAPACK
    file = show_config("dicts")["lapack"]["file"]
    [blas] = [
        library
        for library in ThreadpoolController().lib_controllers
        if os.path.samefile(library.filepath, file)
    ]
    with threadpool_limits(3, user_api="blas"):
        assert blas.get_num_threads() == 3
        yield blas.get_num_threads


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_blas_has_one_thread_while_a_batch_is_computed(blas_threads, workers):
    seen = []
    for shape in [(300, 64, 64), (4, 430, 430), (3, 900, 70)]:
        a = random_stack(*shape)
        pinv(a, workers=workers, driver="svd", progress=lambda *_: seen.append(blas_threads()))
        assert blas_threads() == 3
    assert set(seen) == {1}


def test_blas_has_one_thread_in_calls_from_other_threads_too(blas_threads):
    seen = []
    a = random_stack(4, 300, 300)

    def compute(_):
        pinv(a, driver="svd", progress=lambda *_: seen.append(blas_threads()))

    for callers in (1, 4):
        call_at_once(compute, range(callers), callers)
        assert blas_threads() == 3
    assert set(seen) == {1}


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_blas_has_at_most_as_many_threads_as_workers_on_one_large_matrix(blas_threads, workers):
    seen = []
    pinv(random_stack(400, 400), workers=workers, progress=lambda *_: seen.append(blas_threads()))
    assert seen
    assert max(seen) <= min(workers, 3)
    assert blas_threads() == 3


def test_callers_with_large_matrices_share_blas_threads(blas_threads):
    """With threads for each, they would take several times as long."""
    inside, seen = threading.Event(), []
    large = random_stack(1500, 1500)
    options = {"driver": "svd", "workers": 2, "progress": lambda *_: inside.set()}
    other = threading.Thread(target=pinv, args=[large], kwargs=options)
    other.start()
    assert inside.wait(60)
    look = lambda *_: seen.append((blas_threads(), other.is_alive()))  # noqa: E731
    pinv(random_stack(400, 400), driver="svd", workers=2, progress=look)
    other.join()
    assert {threads for threads, beside in seen if beside} == {1}


@pytest.mark.parametrize("fails_by", ["nan", "progress", "nested"])
def test_blas_threads_come_back_after_an_exception(blas_threads, stack, fails_by):
    a = stack.copy()
    if fails_by == "nan":
        a[..., 0, 0] = np.nan

    def progress(*_):
        if fails_by == "nested":
            pinv(a, progress=lambda *_: 1 / 0)
        if fails_by == "progress":
            raise ZeroDivisionError

    with pytest.raises((LinAlgError, ZeroDivisionError)):
        pinv(a, progress=progress)
    deadline = time.monotonic() + 60
    while blas_threads() != 3:  # until LAPACK has finished matrices of the failed call
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_blas_threads_come_back_after_concurrent_calls(blas_threads):
    stacks = [random_stack(*shape) for shape in [(60, 64, 70), (3, 430, 430), (400, 400), (9, 9)]]
    stacks.append(np.full((90, 64, 64), np.nan))

    def compute(index):
        with contextlib.suppress(LinAlgError):
            pinv(stacks[index % len(stacks)], workers=1 + index % 4)

    call_at_once(compute, range(60), callers=10)
    assert blas_threads() == 3
    pinv(stacks[0])
    assert blas_threads() == 3


def test_users_limit_of_blas_threads_is_neither_raised_nor_lost(blas_threads):
    seen = []
    with threadpool_limits(1, user_api="blas"):
        for a in (random_stack(400, 400), random_stack(100, 80, 80)):
            pinv(a, workers=4, progress=lambda *_: seen.append(blas_threads()))
        assert blas_threads() == 1
    assert set(seen) == {1}
    assert blas_threads() == 3


def test_a_limit_that_the_user_sets_during_a_call_stays(blas_threads):
    """If it differs from our limit: 1 could be ours."""
    context = hold(1)
    context.__enter__()
    with threadpool_limits(2, user_api="blas"):
        del context
        assert blas_threads() == 2
        with hold(1):
            assert blas_threads() == 1
        assert blas_threads() == 2


def test_a_context_that_is_never_entered_or_left_gives_its_hold_back(blas_threads):
    """As after Ctrl-C at a bad moment."""
    hold(1)
    assert blas_threads() == 3
    context = hold(2)
    context.__enter__()
    with hold(1):
        assert blas_threads() == 1
    assert blas_threads() == 2
    del context
    assert blas_threads() == 3
    assert not is_blas_held()


def test_blas_has_one_thread_in_a_brief_call(blas_threads):
    """It takes its hold in C++, until it ends."""
    a, seen = random_stack(64, 64), set()
    done = threading.Event()

    def look():
        while not done.is_set():
            seen.add(blas_threads())

    looker = threading.Thread(target=look)
    looker.start()
    deadline = time.monotonic() + 60
    while 1 not in seen and time.monotonic() < deadline:
        pinv(a)
    done.set()
    looker.join()
    assert seen == {1, 3}
    assert blas_threads() == 3


@pytest.mark.parametrize("internal_api", ["openblas", "mkl", "blis", "flexiblas"])
def test_functions_of_each_blas_have_the_names_that_threadpoolctl_uses(internal_api):
    [controller] = [
        kind for kind in threadpoolctl._ALL_CONTROLLERS if kind.internal_api == internal_api
    ]
    source = inspect.getsource(controller)
    for name in module._FUNCTIONS[internal_api]:
        assert name in source
