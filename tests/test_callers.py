"""Many callers at once, with any number of workers, get the bits that one caller alone gets."""

import numpy as np
import pytest
from callers import call_at_once
from cases import random_stack
from children import run_python

from batchpinv import LinAlgError, pinv

DTYPES = ["float32", "float64", "complex64", "complex128"]


def test_many_callers_at_once_get_the_bits_that_one_gets_alone():
    shapes = [(1, 3, 2), (700, 4, 4), (40, 20, 30), (5, 65, 64), (2, 210, 200), (3000, 2, 2)]
    jobs = [
        ((a + a.conj().swapaxes(-1, -2)) if hermitian else a, hermitian)
        for dtype in DTYPES
        for seed, shape in enumerate(shapes)
        for a in [random_stack(*shape, dtype=dtype, seed=seed)]
        for hermitian in ([False, True] if shape[-1] == shape[-2] else [False])
    ]

    def compute(job, workers=None):
        x, rank = pinv(job[0], hermitian=job[1], return_rank=True, workers=workers)
        return x.tobytes(), rank.tobytes()

    expected = [compute(job, workers=1) for job in jobs]
    for workers in (None, 3):
        found = call_at_once(lambda job, w=workers: compute(job, w), jobs * 4, callers=32)
        assert found == expected * 4


def test_failures_and_good_batches_do_not_mix_between_callers():
    good = random_stack(2000, 6, 6)
    bad = good.copy()
    bad[::100] = np.nan
    expected = pinv(good).tobytes()

    def compute(index):
        if index % 2:
            return pinv(good).tobytes() == expected
        with pytest.raises(LinAlgError, match="20 of 2000"):
            pinv(bad)
        return True

    assert all(call_at_once(compute, range(96), callers=16))


@pytest.mark.parametrize("workers", [2, 3, 8, 40])
@pytest.mark.parametrize("shape", [(5000, 3, 4), (300, 33, 20), (7, 90, 90), (3, 430, 440)])
def test_workers_do_not_change_bits(shape, workers):
    a = random_stack(*shape)
    assert pinv(a, workers=workers).tobytes() == pinv(a, workers=1).tobytes()


def test_one_worker_starts_no_thread_and_more_start_as_many_as_are_asked_for():
    run_python("""
        import numpy as np
        from batchpinv import _pool, pinv
        def started():
            return len(_pool._pool._threads)
        a = np.random.default_rng(0).standard_normal((4000, 24, 24))
        assert started() == 0
        pinv(a, workers=1)
        pinv(a[:1], workers=4)
        assert started() == 0
        for workers in (3, 3, 5, 2):
            pinv(a, workers=workers)
        assert started() == 4
    """)


@pytest.mark.parametrize("startable", [0, 1])
def test_computes_if_no_more_threads_can_be_started(startable):
    run_python(f"""
        import numpy as np
        from batchpinv import _pool, pinv
        start, started = _pool.start_thread, []
        def refuse(function, idents):
            if len(started) == {startable}:
                raise RuntimeError("can't start new thread")
            started.append(function)
            start(function, idents)
        _pool.start_thread = refuse
        rng = np.random.default_rng(0)
        for shape in [(4000, 16, 16), (3, 430, 430), (500, 500)]:
            a = rng.standard_normal(shape)
            x = pinv(a, workers=4)
            assert abs(x @ a - np.eye(shape[-1])).max() < 1e-6
        assert len(started) == {startable}
    """)


def test_concurrent_holds_of_blas_give_its_threads_back():
    run_python("""
        import random, sys, threading
        from batchpinv._batch import is_blas_held
        from batchpinv._blas import find_blas, hold
        from batchpinv._lapack import load_lapack
        load_lapack()
        sys.setswitchinterval(1e-6)
        (blas,) = find_blas()
        blas.set_num_threads(4)
        wrong = []
        def call(seed):
            numbers = random.Random(seed)
            for _ in range(1000):
                threads = numbers.choice([1, 1, 2, 3])
                with hold(threads):
                    if blas.get_num_threads() > threads:
                        wrong.append(threads)
        callers = [threading.Thread(target=call, args=(seed,)) for seed in range(12)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert not wrong and not is_blas_held()
        assert blas.get_num_threads() == 4
    """)
