"""The number of threads inside LAPACK is limited; that of other computing threads is not. Callers
whose matrices need no LAPACK wait for nobody, and others only while as many threads are inside as
there are processors.
"""

import textwrap

import pytest
from children import run_python
from test_interrupts import INTERRUPT

# Counts the threads inside an LAPACK routine, where each of them calls `meet`.
WATCHED = """
    import threading, time
    import numpy as np
    from children import lapack_integer, replace_routine
    integer, lock, inside, most, entered = lapack_integer(), threading.Lock(), 0, 0, 0
    def watch(original, *addresses):
        global inside, most, entered
        if integer.from_address(addresses[11]).value == -1:
            return original(*addresses)
        with lock:
            inside, entered = inside + 1, entered + 1
            most = max(most, inside)
        meet()
        original(*addresses)
        with lock:
            inside -= 1
    replace_routine("dgesdd", watch)
    from batchpinv import lstsq, pinv
    from batchpinv._batch import block_lapack, limit_lapack, unblock_lapack
    rng = np.random.default_rng(0)
    large, brief = rng.standard_normal((420, 420)), rng.standard_normal((12, 12))
"""


def test_small_matrices_need_no_permit_and_others_wait_for_one():
    run_python(f"""{WATCHED}
    meet = lambda: None
    a, b = rng.standard_normal((3000, 5, 4)), rng.standard_normal((3000, 5, 2))
    svd = lambda a: pinv(a, driver="svd", workers=1).tobytes()
    expected = [pinv(a).tobytes(), lstsq(a, b).tobytes(), svd(large)]
    block_lapack(0)
    for workers in (1, 2, 64):
        found = [pinv(a, workers=workers).tobytes(), lstsq(a, b, workers=workers).tobytes()]
        assert found == expected[:2]
    late = []
    waiting = [
        threading.Thread(target=lambda a=a: late.append(svd(a))) for a in (large, large, brief)
    ]
    for thread in waiting:
        thread.start()
        thread.join(0.2)
    assert not late
    unblock_lapack()
    for thread in waiting:
        thread.join(30)
    assert late.count(expected[2]) == 2 and len(late) == 3
    """)


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_threads_are_inside_lapack_than_the_limit(limit):
    run_python(f"""{WATCHED}
    meet = lambda: time.sleep(0.01)
    expected = pinv(np.stack([large] * 6), driver="svd", workers=1).tobytes()
    limit_lapack({limit})
    most = 0
    found = []
    def call():
        found.append(pinv(np.stack([large] * 6), driver="svd", workers=64).tobytes())
    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert found == [expected] * 3
    assert most == {limit}
    a = rng.standard_normal((60_000, 3, 3))
    assert pinv(a, workers=64).tobytes() == pinv(a, workers=1).tobytes()
    """)


def test_workers_that_could_only_wait_for_lapack_are_not_started():
    run_python("""
    import numpy as np
    from batchpinv import _pool, pinv
    from batchpinv._batch import limit_lapack
    rng = np.random.default_rng(0)
    limit_lapack(3)
    started = lambda: len(_pool._pool._threads)
    pinv(rng.standard_normal((2_000, 70, 60)), workers=64)
    pinv(rng.standard_normal((2_000, 20, 10)), driver="svd", workers=64)
    assert started() == 2
    pinv(np.broadcast_to(rng.standard_normal((40, 40)), (10_000, 40, 40)), workers=64)
    assert started() == 63
    """)


def test_nobody_waits_for_a_permit_with_the_gil():
    """Small calls keep the GIL, but a matrix of NaN goes down to LAPACK's rung."""
    run_python(f"""{WATCHED}
    meet = lambda: None
    block_lapack(0)
    found = []
    def call():
        found.append(pinv(np.full((3, 3), np.nan), on_failure="nan"))
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(0.2)
    assert not found
    unblock_lapack()
    thread.join(30)
    assert np.isnan(found[0]).all()
    """)


@pytest.mark.parametrize("callers", [2, 4])
def test_callers_with_one_worker_each_are_inside_lapack_together(callers):
    """They meet inside LAPACK, from the first call on. They could not if one waited for another."""
    run_python(f"""{WATCHED}
    barrier = threading.Barrier({callers})
    meet = lambda: barrier.wait(30)
    limit_lapack({callers})
    for _ in range(2):
        results = []
        threads = [
            threading.Thread(target=lambda: results.append(pinv(large, driver="svd", workers=1)))
            for _ in range({callers})
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(results) == {callers}
    """)


def test_brief_matrices_never_wait_for_large_ones():
    """As many threads as the limit are inside LAPACK with large matrices, and stay there."""
    run_python(f"""{WATCHED}
    leave = threading.Event()
    meet = lambda: threading.current_thread().name == "batchpinv" and leave.wait(30)
    limit_lapack(2)
    threads = [
        threading.Thread(target=lambda: pinv(large, driver="svd", workers=1)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    while inside < 2:
        time.sleep(0.001)
    for _ in range(20):
        pinv(brief, driver="svd")
        pinv(np.eye(3))
    assert inside == 2
    leave.set()
    for thread in threads:
        thread.join(30)
    assert most <= 3
    """)


WAITING = {
    "one matrix": "pinv(large, out=out, driver='svd')",
    "brief matrices": "pinv(np.broadcast_to(brief, (9, 12, 12)), out=out, driver='svd')",
    "a stack": "pinv(np.stack([large] * 3), out=out, driver='svd', workers=2)",
    "full rank": "pinv(large, out=out)",
    "a system": "lstsq(large, large[:, :2], out=out)",
    "many right-hand sides": "lstsq(large, np.ones((420, 3000)), out=out)",
}


@pytest.mark.parametrize("what", WAITING)
def test_a_caller_that_waits_for_a_permit_can_be_interrupted(what):
    delay = run_python(f"""{INTERRUPT}
    from batchpinv import lstsq
    from batchpinv._batch import block_lapack, unblock_lapack
    rng = np.random.default_rng(0)
    large, brief = rng.standard_normal((420, 420)), rng.standard_normal((12, 12))
    call = lambda out: {WAITING[what]}
    expected = call(None)
    out = np.full(expected.shape, 7.0)
    block_lapack(0)
    timer = threading.Timer(0.1, interrupt)
    timer.daemon = True
    timer.start()
    try:
        call(out)
    except KeyboardInterrupt:
        print(time.perf_counter() - sent)
    else:
        raise SystemExit("did not wait")
    assert (out == 7).all()
    unblock_lapack()
    until_nobody_is_left()
    assert (out == 7).all()
    assert call(None).tobytes() == expected.tobytes()
    """)
    assert float(delay) < 0.5


def test_sixty_interrupts_leave_no_more_matrices_in_lapack_than_the_limit():
    run_python(f"""{WATCHED}
    {textwrap.dedent(INTERRUPT).replace(chr(10), chr(10) + "    ")}
    meet = lambda: time.sleep(1)
    limit_lapack(2)
    for index in range(60):
        threading.Timer(0.05, interrupt).start()
        try:
            pinv(np.stack([large] * 4), driver="svd", workers=2)
        except KeyboardInterrupt:
            assert time.perf_counter() - sent < 0.5
        else:
            raise SystemExit("not interrupted")
    assert most <= 2
    started = entered
    time.sleep(1.5)
    assert inside == 0 and entered == started
    meet = lambda: None
    assert np.isfinite(pinv(large, driver="svd")).all()
    """)


def test_the_end_of_the_process_waits_for_lapack_and_lets_no_more_threads_in():
    printed = run_python(f"""
    import atexit
    atexit.register(lambda: print(entered, inside))  # runs after batchpinv's own
    {WATCHED.strip()}
    meet = lambda: time.sleep(0.3)
    limit_lapack(1)
    def call():
        while True:
            pinv(large, driver="svd", workers=1)
    for _ in range(5):
        threading.Thread(target=call, daemon=True).start()
    while entered < 1:
        time.sleep(0.001)
    print(entered)
    """)
    before, after, inside = map(int, printed.split())
    assert after <= before + 1
    assert inside == 0


def test_a_matrix_of_microseconds_waits_in_no_queue():
    """All permits for matrices of under a millisecond are taken, and other threads wait."""
    run_python(f"""{WATCHED}
    leave = threading.Event()
    meet = lambda: threading.current_thread().name == "queue" and leave.wait(30)
    middle = rng.standard_normal((60, 60))
    limit_lapack(2)
    threads = [
        threading.Thread(target=lambda: pinv(middle, driver="svd"), name="queue") for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    while inside < 2:
        time.sleep(0.01)
    quick = threading.Thread(target=lambda: pinv(brief, driver="svd"))
    quick.start()
    quick.join(10)
    assert not quick.is_alive()
    leave.set()
    for thread in threads:
        thread.join(30)
    """)


def test_at_the_end_only_the_main_thread_enters_lapack():
    run_python(f"""{WATCHED}
    meet = lambda: None
    from batchpinv._batch import keep_lapack
    keep_lapack()
    thread = threading.Thread(target=lambda: pinv(brief, driver="svd"), daemon=True)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive() and entered == 0
    assert np.isfinite(pinv(brief, driver="svd")).all() and entered == 1
    """)


def test_callers_in_daemon_threads_do_not_disturb_the_end_of_the_process():
    """They do not disturb what the main thread computes in an exit callback after ours, either."""
    run_python("""
    import atexit, sys, threading, time
    atexit.register(lambda: print(pinv(np.eye(3), driver="svd").trace()))
    import numpy as np
    from batchpinv import pinv
    rng = np.random.default_rng(0)
    stack, large = rng.standard_normal((50, 64, 64)), rng.standard_normal((300, 300))
    def work(a):
        while True:
            pinv(a, driver="svd", workers=1)
    for i in range(16):
        threading.Thread(target=work, args=(large if i % 4 == 0 else stack,), daemon=True).start()
    time.sleep(0.3)
    """)


@pytest.mark.parametrize("sides", [300, 300_000])
def test_stopped_threads_keep_no_permit(sides):
    """Otherwise the end of the process, which waits for all permits, would never come."""
    run_python(f"""
    import threading, time
    import numpy as np
    from batchpinv import lstsq, pinv
    a, b = np.random.default_rng(0).standard_normal((5, 4)), np.ones((5, {sides}))
    big = np.ones((40, 40)) + np.eye(40)
    def solve():
        while True:
            lstsq(a, b, driver="svd", workers=2)
    def solve_all():
        while True:
            lstsq(big, np.ones((40, 300)), driver="svd", workers=2)
    for i in range(6):
        threading.Thread(target=(solve, solve_all)[i % 2], daemon=True).start()
    time.sleep(0.5)
    """)


def test_ctrl_c_does_not_disturb_the_end_of_the_process():
    """It comes while the exit waits for a matrix of a pool thread."""
    run_python(f"""{INTERRUPT}
    import threading, time
    import numpy as np
    from batchpinv import pinv
    rng = np.random.default_rng(0)
    stack, large = rng.standard_normal((50, 64, 64)), rng.standard_normal((800, 800))
    def work(a):
        while True:
            pinv(a, driver="svd", workers=2)
    for i in range(8):
        threading.Thread(target=work, args=((stack, large)[i % 2],), daemon=True).start()
    time.sleep(0.3)
    timer = threading.Timer(0.1, interrupt)
    timer.daemon = True
    timer.start()
    """)
