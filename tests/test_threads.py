"""Threads: Ctrl-C, progress, forks, many callers at once, and BLAS's own threads, which are given
back as they were. How many compute is the caller's choice, and never changes a bit of a batch.
"""

import asyncio
import contextlib
import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from children import run_python
from threadpoolctl import ThreadpoolController, threadpool_limits

from batchpinv import LinAlgError, _workers, get_workers, pinv, set_workers, show_config

DTYPES = ["float32", "float64", "complex64", "complex128"]
# The caller computes too in the first two, and only waits in the last two.
SIZES = {
    "one small matrix": (5, 4),
    "many small matrices": (3000, 12, 10),
    "few large matrices": (3, 430, 420),
    "one large matrix": (400, 400),
}


def random_stack(*shape, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return (a if np.dtype(dtype).kind == "c" else a.real).astype(dtype)


def call_at_once(function, items, callers):
    """[function(item) for item in items], by many threads; none may hang."""
    found, waiting = {}, list(enumerate(items))

    def serve():
        with contextlib.suppress(IndexError):
            while True:
                index, item = waiting.pop()
                found[index] = function(item)

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(callers)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
        assert not thread.is_alive()
    return [found[index] for index in range(len(items))]


@pytest.fixture(params=SIZES)
def stack(request):
    return random_stack(*SIZES[request.param])


# ---- Ctrl-C ------------------------------------------------------------------------------------

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
    busy = [thread for thread in threading.enumerate() if thread.name == "batchpinv"]
    assert (left == 7).any()
    assert pinv(probe).tobytes() == expected
    for thread in busy:
        thread.join(0.2 if "{kind}" == "small matrices" else 30)
    assert (out == left).all()
    """)
    print(f"{kind}, {workers} workers: {float(delay):.3f} s from the signal to KeyboardInterrupt")
    assert float(delay) < 2


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
    time.sleep(0.3)
    assert (out == left).all()
    """)
    assert float(delay) < 2


def test_interrupted_matrix_does_not_keep_the_pool_waiting():
    run_python(
        f"""{INTERRUPT}
    from children import hang_routine
    """.replace("from batchpinv import pinv", "")
        + """
    hang_routine("dgesdd")
    from batchpinv import pinv
    hanging = np.random.default_rng(0).standard_normal((3, 600, 600))
    for count in (1, 3):
        progress = interrupt_soon
        try:
            pinv(hanging[:count], driver="svd", workers=2, progress=progress_once)
        except KeyboardInterrupt:
            pass
        else:
            raise SystemExit("the routine did not hang")
        for shape in [(400, 20, 20), (3, 450, 450)]:
            a = np.random.default_rng(1).standard_normal(shape) + 50 * np.eye(shape[-1])
            a = a.astype("float32")
            assert abs(pinv(a, driver="svd", workers=2) @ a - np.eye(shape[-1])).max() < 1e-2
    os._exit(0)
    """,
        timeout=60,
    )


@pytest.mark.parametrize("shape", [(4, 900, 900), (1200, 1200)])
def test_process_ends_well_after_an_interrupt_although_lapack_is_still_busy(shape):
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


# ---- progress ----------------------------------------------------------------------------------


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
def test_nothing_is_shown_unasked(capfd, stack, progress):
    pinv(stack, progress=progress)
    assert capfd.readouterr() == ("", "")


# ---- forks -------------------------------------------------------------------------------------

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


# ---- many callers ------------------------------------------------------------------------------


def test_many_callers_at_once_get_the_bits_of_one():
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
        import threading
        import numpy as np
        from batchpinv import pinv
        def started():
            return sum(thread.name == "batchpinv" for thread in threading.enumerate())
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
def test_computes_where_no_more_threads_can_be_started(startable):
    run_python(f"""
        import threading
        import numpy as np
        from batchpinv import pinv
        start, started = threading.Thread.start, []
        def refuse(thread):
            if len(started) == {startable}:
                raise RuntimeError("can't start new thread")
            started.append(thread)
            start(thread)
        threading.Thread.start = refuse
        rng = np.random.default_rng(0)
        for shape in [(4000, 16, 16), (3, 430, 430), (500, 500)]:
            a = rng.standard_normal(shape)
            x = pinv(a, workers=4)
            assert abs(x @ a - np.eye(shape[-1])).max() < 1e-6
        assert len(started) == {startable}
    """)


# ---- BLAS threads ------------------------------------------------------------------------------


@pytest.fixture
def blas_threads():
    """How many threads the BLAS that computes may use, as a function; 3 is the user's own limit."""
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
    while blas_threads() != 3:  # until LAPACK has left the matrices that nobody waits for
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


# ---- how many workers --------------------------------------------------------------------------


@pytest.fixture
def cpus(monkeypatch):
    """How many CPUs this process may use, with no default set by the environment."""
    monkeypatch.delenv("BATCHPINV_NUM_THREADS", raising=False)
    return show_config("dicts")["workers"]["usable CPUs"]


def test_default_is_all_usable_cpus(cpus):
    assert get_workers() == cpus
    assert 1 <= cpus <= os.cpu_count()


@pytest.mark.parametrize("number", [int, np.int8, np.int64])
def test_negative_workers_count_from_the_end(cpus, number):
    for given, meant in [(1, 1), (5, 5), (-1, cpus), (-cpus, 1)]:
        with set_workers(number(given)):
            assert get_workers() == meant
        assert _workers.resolve_workers(number(given)) == meant
    for wrong in (0, -cpus - 1):
        with pytest.raises(ValueError, match="workers must be positive"), set_workers(wrong):
            pass
    assert get_workers() == cpus


def test_set_workers_nests_and_ends_with_an_exception_too(cpus):
    with set_workers(3):
        with contextlib.suppress(KeyError), set_workers(4):
            assert get_workers() == 4
            raise KeyError
        assert get_workers() == 3
        with set_workers(-1):
            assert get_workers() == cpus
            assert pinv(np.eye(2), workers=None).tolist() == np.eye(2).tolist()
        assert get_workers() == 3
    assert get_workers() == cpus


def test_set_workers_is_usable_as_a_decorator(cpus):
    assert set_workers(7)(get_workers)() == 7
    assert get_workers() == cpus


def test_set_workers_belongs_to_its_thread(cpus):
    both_inside = threading.Barrier(3)

    def choose(workers):
        with set_workers(workers):
            both_inside.wait(20)
            chosen = get_workers()
            both_inside.wait(20)
        return chosen, get_workers()

    with ThreadPoolExecutor(2) as threads:
        results = threads.map(choose, [11, 12])
        both_inside.wait(20)
        assert get_workers() == cpus
        both_inside.wait(20)
        assert list(results) == [(11, cpus), (12, cpus)]


def test_set_workers_belongs_to_its_asyncio_task(cpus):
    async def choose(workers):
        with set_workers(workers):
            await asyncio.sleep(0.01)
            return get_workers()

    async def choose_both():
        return await asyncio.gather(choose(21), choose(22))

    assert asyncio.run(choose_both()) == [21, 22]
    assert get_workers() == cpus


def test_environment_variable_is_the_default_under_set_workers(cpus, monkeypatch):
    for value, workers in [("5", 5), ("-1", cpus), (" 3 ", 3), ("", cpus)]:
        monkeypatch.setenv("BATCHPINV_NUM_THREADS", value)
        assert get_workers() == workers
        with set_workers(6):
            assert get_workers() == 6


def test_affinity_of_the_process_limits_workers():
    printed = run_python(
        """
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        import batchpinv
        print(batchpinv.get_workers(), batchpinv.show_config("dicts")["workers"]["usable CPUs"])
        """,
        BATCHPINV_NUM_THREADS="",
    )
    assert printed.split() == ["1", "1"]


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/", {}, None),
        ("0::/user/job", {"user/job/cpu.max": "50000 100000"}, 0.5),
        ("0::/user/job", {"user/cpu.max": "300000 100000", "user/job/cpu.max": "max 100000"}, 3),
        ("0::/user/job", {"user/cpu.max": "2 1", "user/job/cpu.max": "400000 100000"}, 2),
        ("0::/user/job", {"cpu.max": "1 1", "user/cpu.max": "2 1", "user/job/cpu.max": "3 1"}, 1),
        ("0::/user", {"user/job/cpu.max": "1 1", "other/cpu.max": "1 1"}, None),
        ("0::/", {"cpu.max": "lots of it"}, None),
        ("0::/", {"cpu.max": ""}, None),
        ("0::/", {"cpu.max": "100000 0"}, None),
        ("4:cpu,cpuacct:/job",
         {"cpu/job/cpu.cfs_quota_us": "250000", "cpu/job/cpu.cfs_period_us": "100000"}, 2.5),
        ("4:cpu:/job", {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000",
                        "cpu/cpu.cfs_quota_us": "4", "cpu/cpu.cfs_period_us": "2"}, 2),
        ("4:cpu:/job", {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "5"}, None),
        ("4:cpu:/job", {"cpu/job/cpu.cfs_quota_us": "100000"}, None),
        ("4:cpuset:/\n5:memory:/", {"cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_period_us": "1"},
         None),
        ("3:memory:/job\n2:cpu:/job\n0::/job",
         {"cpu/job/cpu.cfs_quota_us": "3", "cpu/job/cpu.cfs_period_us": "1", "job/cpu.max": "2 1"},
         2),
        (None, {"cpu.max": "1 1"}, None),
    ],
)  # fmt: skip
def test_cgroup_quota_limits_workers(tmp_path, monkeypatch, groups, files, quota):
    proc, root = tmp_path / "proc", tmp_path / "root"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    if groups is not None:
        proc.write_text(groups + "\n")
    places = {"/proc/self/cgroup": proc, "/sys/fs/cgroup": root}
    monkeypatch.setattr(_workers, "Path", lambda name: places.get(name) or Path(name))
    monkeypatch.setattr(_workers, "_cgroup_cpus", _workers._cgroup_cpus.__wrapped__)
    assert _workers._cgroup_cpus() == quota
    monkeypatch.delenv("BATCHPINV_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert get_workers() == (8 if quota is None else math.ceil(quota))
