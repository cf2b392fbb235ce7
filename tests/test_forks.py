"""Forked children can compute, whatever the threads of their parent were doing."""

import numpy as np
import pytest
from children import run_python
from test_interrupts import INTERRUPT

FORK = """
    import os, sys, threading
    import numpy as np
    from batchpinv import pinv, show_config
    rng = np.random.default_rng(0)
    stacks = [rng.standard_normal(shape) for shape in [(2000, 8, 8), (3, 430, 430), (100, 70, 70)]]
    def compute():
        return [pinv(a, workers=3).tobytes() for a in stacks]
    def blas():
        return show_config("dicts")["lapack"]["threads"]
    expected, threads = compute(), blas()
    def compute_in_child():
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if (compute(), blas()) == (expected, threads) else 3)
            finally:
                os._exit(4)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
FIRST = """
    import os, threading, time
    import numpy as np
    from batchpinv import pinv
    def compute():
        assert np.all(pinv(2 * np.eye(70)) == np.eye(70) / 2)
    def compute_in_child():
        child = os.fork()
        if child == 0:
            try:
                compute()
                os._exit(0)
            finally:
                os._exit(4)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
IGNORE_FORK = ("-W", "ignore:This process:DeprecationWarning")


def test_forked_child_has_a_pool_of_its_own():
    run_python(
        f"""{FORK}
    assert [compute_in_child() for _ in range(3)] == [0, 0, 0]
    assert compute() == expected
    """,
        *IGNORE_FORK,
    )


def test_child_forked_during_the_call_of_another_thread_computes():
    run_python(
        f"""{FORK}
    inside, leave = threading.Event(), threading.Event()
    def pause(done, total):
        if done == total:
            inside.set()
            leave.wait()
    options = {{"workers": 2, "progress": pause}}
    other = threading.Thread(target=pinv, args=stacks[1:2], kwargs=options, daemon=True)
    other.start()
    assert inside.wait(60)
    assert blas() == 1
    assert [compute_in_child() for _ in range(3)] == [0, 0, 0]
    leave.set()
    other.join()
    assert (compute(), blas()) == (expected, threads)
    """,
        *IGNORE_FORK,
    )


def test_children_forked_while_others_compute_do_not_hang():
    """Locks of LAPACK and BLAS may be taken at that moment. The first fork of each pair makes
    OpenBLAS stop its threads, so the second may come while they are started again.
    """
    run_python(
        f"""{FORK}
    import time
    few = rng.standard_normal((4, 70, 70))
    few_expected = pinv(few).tobytes()
    done = False
    def compute_on():
        while not done:
            pinv(few, workers=2, driver="svd")
    others = [threading.Thread(target=compute_on) for _ in range(4)]
    for other in others:
        other.start()
    codes = []
    for turn in range(200):
        first = os.fork()
        if first == 0:
            os._exit(0)
        time.sleep(turn % 50 * 4e-5)
        second = os.fork()
        if second == 0:
            try:
                os._exit(0 if pinv(few, workers=2).tobytes() == few_expected else 3)
            finally:
                os._exit(4)
        codes += [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in (first, second)]
    assert codes == [0] * 400
    done = True
    for other in others:
        other.join()
    assert compute() == expected
    """,
        *IGNORE_FORK,
    )


def test_forked_processes_of_multiprocessing_compute():
    run_python(
        f"""{FORK}
    import multiprocessing
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = [x.tobytes() for _ in range(2) for x in pool.map(pinv, stacks)]
    assert found == [pinv(a).tobytes() for a in stacks] * 2
    """,
        *IGNORE_FORK,
    )


def test_child_forked_by_a_progress_function_computes():
    run_python(
        f"""{FORK}
    codes = []
    def fork_at_the_end(done, total):
        if done == total:
            codes.append(compute_in_child())
    for a in stacks[1:]:
        pinv(a, workers=2, progress=fork_at_the_end)
    assert set(codes) == {{0}}
    assert len(codes) >= 2
    assert (compute(), blas()) == (expected, threads)
    """,
        *IGNORE_FORK,
    )


@pytest.mark.parametrize("delay", np.linspace(0.01, 0.12, 12).tolist())
def test_child_forked_after_an_interrupted_import_of_scipy_computes(delay):
    """The import goes on in another thread, which the child does not have."""
    run_python(
        f"""{INTERRUPT}
    {FIRST}
    timer = threading.Timer({delay}, interrupt)
    try:
        timer.start()
        compute()
        timer.join()
        time.sleep(1)
    except KeyboardInterrupt:
        pass
    assert compute_in_child() == 0
    compute()
    """,
        *IGNORE_FORK,
    )


@pytest.mark.parametrize("delay", [0, 0.001, 0.003, *np.linspace(0.01, 0.2, 8).tolist()])
def test_child_forked_during_the_first_call_of_another_thread_computes(delay):
    """That call imports SciPy and threadpoolctl."""
    run_python(
        f"""
    {FIRST}
    other = threading.Thread(target=compute)
    other.start()
    time.sleep({delay})
    assert compute_in_child() == 0
    other.join()
    """,
        *IGNORE_FORK,
    )


@pytest.mark.parametrize("callers", [1, 3])
def test_parent_goes_on_and_ends_after_a_fork_beside_blas_threads(callers):
    """OpenBLAS ends its threads when the process forks, though a call may wait for them."""
    run_python(
        f"""{FORK}
    import time
    large = rng.standard_normal((430, 430))
    done = [0] * {callers}
    def compute_on(at):
        while True:
            pinv(large, driver="svd", workers=2)
            done[at] += 1
    for at in range({callers}):
        threading.Thread(target=compute_on, args=[at], daemon=True).start()
    for turn in range(3):
        time.sleep(0.1 * (turn + 1))
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        before = list(done)
        while any(now < then + 2 for now, then in zip(done, before)):
            time.sleep(0.01)
    """,
        *IGNORE_FORK,
    )
