"""Ctrl-C ends a batch soon, lets no thread write to the caller's arrays after it, and leaves the
pool and the end of the process in order.
"""

import ast
import importlib
import inspect

import pytest
from children import run_python

INTERRUPT = """
    import os, signal, sys, threading, time
    import numpy as np
    from batchpinv import pinv
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the parent did
    def interrupt():
        global sent
        sent = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)
    def interrupt_soon(*_):
        global progress
        progress = None
        threading.Timer(0.05, interrupt).start()
    def progress_once(*call):
        if progress:
            progress()
    progress = interrupt_soon
    def until_nobody_is_left():
        from batchpinv._pool import _busy
        deadline = time.monotonic() + 60
        while _busy:
            assert time.monotonic() < deadline
            time.sleep(0.01)
"""


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("small matrices", (6000, 64, 64)),
        ("large matrices", (6, 700, 700)),
        ("one large matrix", (1400, 1400)),
    ],
)
def test_interrupt_is_served_soon_and_out_is_left_alone_after_it(kind, shape, workers):
    delay = run_python(f"""{INTERRUPT}
    probe = np.random.default_rng(1).standard_normal((300, 40, 40))
    expected = pinv(probe).tobytes()
    *batch_shape, m, n = {shape}
    a = np.broadcast_to(np.random.default_rng(0).standard_normal((m, n)), {shape})
    out = np.full((*batch_shape, n, m), 7.0)
    try:
        pinv(a, out=out, driver="svd", workers={workers}, progress=progress_once)
    except KeyboardInterrupt:
        print(time.perf_counter() - sent)
    else:
        raise SystemExit("finished before the signal")
    left = out.copy()
    assert (left == 7).any()
    assert pinv(probe).tobytes() == expected
    until_nobody_is_left()
    assert (out == left).all()
    """)
    print(f"{kind}, {workers} workers: {float(delay):.3f} s from the signal to KeyboardInterrupt")
    assert float(delay) < 0.5


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("batch", "m", "n", "k"),
    [((60_000,), 90, 60, 1), ((), 300, 200, 200_000), ((60,), 900, 600, 1)],
    ids=["many systems", "many right-hand sides", "large systems"],
)
def test_interrupted_systems_leave_out_alone(batch, m, n, k, workers):
    delay = run_python(f"""{INTERRUPT}
    from batchpinv import lstsq
    rng = np.random.default_rng(0)
    a = np.broadcast_to(rng.standard_normal(({m}, {n})), (*{batch}, {m}, {n}))
    b = np.broadcast_to(rng.standard_normal(({m}, 1)), (*{batch}, {m}, {k}))
    tolerances = np.linspace(0, 1e-9, {max(batch, default=1)}).reshape({batch})  # none is held
    probe = a[..., :3, :3], b[..., :3, :1]
    expected = lstsq(*probe, workers=2).tobytes()
    out = np.full((*{batch}, {n}, {k}), 7.0)
    try:
        lstsq(a, b, rtol=tolerances, out=out, workers={workers}, progress=progress_once)
    except KeyboardInterrupt:
        print(time.perf_counter() - sent)
    else:
        raise SystemExit("finished before the signal")
    left = out.copy()
    assert (left == 7).any()
    assert lstsq(*probe, workers=2).tobytes() == expected
    until_nobody_is_left()
    assert (out == left).all()
    """)
    assert float(delay) < 0.5


def test_a_matrix_left_inside_lapack_keeps_its_permit_and_lets_others_compute():
    """The limit is 2. One thread, then both, hang in LAPACK with matrices of interrupted calls."""
    run_python(
        f"""{INTERRUPT}
    from children import hang_routine
    """.replace("from batchpinv import pinv", "")
        + """
    hang_routine("dgesdd")
    from batchpinv import pinv
    from batchpinv._batch import limit_lapack
    limit_lapack(2)
    def answer(*shape):
        a = np.random.default_rng(1).standard_normal(shape) + 50 * np.eye(shape[-1])
        a = a.astype("float32")
        assert abs(pinv(a, driver="svd", workers=2) @ a - np.eye(shape[-1])).max() < 1e-2
    def interrupted(*shape, dtype="float64"):
        global progress, sent
        a = np.random.default_rng(0).standard_normal(shape).astype(dtype)
        progress = interrupt_soon
        try:
            pinv(a, driver="svd", workers=2, progress=progress_once)
        except KeyboardInterrupt:
            assert time.perf_counter() - sent < 0.5
        else:
            raise SystemExit("not interrupted")
    interrupted(1, 600, 600)
    answer(3, 450, 450)
    interrupted(2, 600, 600)
    answer(400, 20, 20)
    interrupted(3, 450, 450, dtype="float32")  # waits for a permit
    assert abs(pinv(np.eye(3)) - np.eye(3)).max() == 0
    os._exit(0)
    """,
        timeout=60,
    )


@pytest.mark.parametrize("shape", [(4, 900, 900), (1200, 1200)])
def test_the_process_ends_normally_after_an_interrupt_while_lapack_is_busy(shape):
    """OpenBLAS hangs or crashes if it is unloaded during a call, so the exit waits for it."""
    for _ in range(3):
        run_python(
            f"""{INTERRUPT}
    a = np.random.default_rng(0).standard_normal({shape})
    try:
        pinv(a, driver="svd", progress=progress_once)
    except KeyboardInterrupt:
        sys.exit(0)
    raise SystemExit("finished before the signal")
    """,
            timeout=60,
        )


def test_interrupts_at_any_moment_lose_no_thread_and_no_hold_of_blas():
    run_python(f"""{INTERRUPT}
    import random
    from batchpinv import _pool, set_workers
    from batchpinv._batch import is_blas_held
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    a = np.random.default_rng(0).standard_normal((2000, 8, 8))
    set_workers(3)
    expected = pinv(a).tobytes()
    start = time.perf_counter()
    pinv(a)
    longest = 1.2 * (time.perf_counter() - start)
    numbers, interrupted = random.Random(0), 0
    for _ in range(1000):
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, numbers.uniform(2e-6, longest))
                pinv(a)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            interrupted += 1
    assert interrupted > 100
    until_nobody_is_left()
    assert pinv(a).tobytes() == expected
    assert len(_pool._pool._threads) < 10
    assert not _pool._pool._wanted and not is_blas_held()
    """)


def test_interrupt_of_a_loop_of_small_calls_is_caught_around_it():
    """Nearly always: where the loop starts over, CPython does not count it as inside its `try`."""
    run_python(f"""{INTERRUPT}
    a, caught = np.eye(3), 0
    def is_caught():
        threading.Timer(0.02, interrupt).start()
        try:
            while True:
                pinv(a)
        except KeyboardInterrupt:
            return True
    for _ in range(60):
        try:
            caught += is_caught()
        except KeyboardInterrupt:
            pass
    assert caught > 45, caught
    """)


def test_no_loop_stands_in_a_try_or_with():
    """In CPython 3.13, what a signal handler raises where a loop starts over bypasses a `try` or
    `with` around the loop in the same function, so its clean-up would not run."""
    module = importlib.import_module("batchpinv._pool")
    guards = (ast.Try, ast.With)
    loops = [
        loop.lineno
        for guard in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(guard, guards)
        for loop in ast.walk(guard)
        if isinstance(loop, (ast.For, ast.While))
    ]
    assert loops == []


SWALLOWS = f"""{INTERRUPT}
    class Swallows:
        \"\"\"Ctrl-C at the import of `module`, in whose middle what a handler raises is lost.\"\"\"
        def __init__(self, module):
            self.module = module
        def find_spec(self, name, path=None, target=None):
            if name == self.module:
                self.module = None
                try:
                    interrupt()
                    time.sleep(0.3)
                except KeyboardInterrupt:
                    pass
"""


@pytest.mark.parametrize("module", ["scipy", "scipy.linalg", "scipy.linalg.cython_lapack"])
def test_interrupt_is_not_lost_while_scipy_is_first_imported(module):
    run_python(f"""{SWALLOWS}
    sys.meta_path.insert(0, Swallows({module!r}))
    try:
        pinv(2 * np.eye(70))
    except KeyboardInterrupt:
        delay = time.perf_counter() - sent
        assert delay < 0.5, delay
    else:
        raise SystemExit("the interrupt was lost")
    assert np.all(pinv(2 * np.eye(70)) == np.eye(70) / 2)
    """)


def test_interrupt_is_not_lost_while_blas_is_looked_for():
    """ctypes ignores what is raised in a callback, as threadpoolctl has one."""
    run_python(f"""{INTERRUPT}
    from batchpinv import _blas
    def find():
        _blas._find_functions = found
        try:
            interrupt()
            time.sleep(0.3)
        except KeyboardInterrupt:
            pass
        return found()
    found, _blas._find_functions = _blas._find_functions, find
    try:
        pinv(np.ones((2, 70, 70)))
    except KeyboardInterrupt:
        pass
    else:
        raise SystemExit("the interrupt was lost")
    assert np.all(pinv(2 * np.eye(70)) == np.eye(70) / 2)
    """)


@pytest.mark.parametrize("module", ["scipy", "scipy.linalg", "scipy.linalg.blas"])
def test_a_handler_computes_while_its_thread_imports_scipy(module):
    run_python(f"""{SWALLOWS}
    def compute(*_):
        answers.append(pinv(2 * np.eye(70)))
    answers = []
    signal.signal(signal.SIGINT, compute)
    sys.meta_path.insert(0, Swallows({module!r}))
    import scipy.linalg
    assert len(answers) == 1 and np.all(answers[0] == np.eye(70) / 2)
    """)


def test_the_first_call_may_come_when_the_process_ends():
    printed = run_python("""
    import atexit
    import numpy as np
    from batchpinv import pinv
    @atexit.register
    def compute():
        try:
            import scipy.linalg
        except RuntimeError:  # newer ones can no longer be imported then
            print(35.0)
        else:
            print(pinv(2 * np.eye(70)).trace())
    """)
    assert float(printed) == 35
