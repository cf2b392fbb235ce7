"""Calls in pools of threads and processes, in event loops, in signal handlers, and while the
interpreter ends; and short runs of `tests.load` and `tests.leaks`.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from children import run_python

# A module that child processes can import; the children of `spawn` start from nothing.
WORK = """
import numpy as np
from batchpinv import pinv, show_config

def stack(seed):
    shape = [(3000, 5, 4), (40, 60, 60), (3, 300, 200), (200, 30, 30)][seed % 4]
    return np.random.default_rng(seed).standard_normal(shape)

def compute(seed, workers=None):
    return pinv(stack(seed), workers=workers).tobytes()

def blas():
    pinv(np.eye(70))  # loads LAPACK
    return show_config("dicts")["lapack"]["threads"]
"""


@pytest.fixture
def work(tmp_path):
    (tmp_path / "work.py").write_text(WORK)
    return f"import sys; sys.path.insert(0, {str(tmp_path)!r})"


@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("busy", [False, True])
def test_processes_of_multiprocessing_get_the_same_bits(work, start, busy):
    """Their parent may be computing while they start."""
    run_python(
        f"""
    {work}
    import multiprocessing, threading
    from work import blas, compute
    if __name__ == "__main__":
        expected, threads = [compute(seed, 1) for seed in range(12)], blas()
        ended = False
        def compute_on():
            while not ended:
                assert compute(3) == expected[3]
        others = [threading.Thread(target=compute_on) for _ in range(3 * {busy})]
        for other in others:
            other.start()
        with multiprocessing.get_context("{start}").Pool(2) as pool:
            assert pool.map(compute, range(12), chunksize=1) == expected
            assert set(pool.starmap(blas, [()] * 4)) == {{threads}}
        ended = True
        for other in others:
            other.join()
        assert blas() == threads
    """,
        "-W",
        "ignore:This process:DeprecationWarning",
    )


@pytest.mark.parametrize("kind", ["Thread", "Process"])
def test_executors_of_concurrent_futures_get_the_same_bits(work, kind):
    run_python(
        f"""
    {work}
    from concurrent.futures import {kind}PoolExecutor
    from work import blas, compute
    expected, threads = [compute(seed, 1) for seed in range(24)], blas()
    with {kind}PoolExecutor(4) as executor:
        assert list(executor.map(compute, range(24))) == expected
        assert list(executor.map(compute, range(24), [3] * 24)) == expected
    assert blas() == threads
    """,
        "-W",
        "ignore:This process:DeprecationWarning",
    )


def test_an_event_loop_goes_on_while_its_executor_computes(work):
    run_python(f"""
    {work}
    import asyncio
    from work import compute
    expected = [compute(seed, 1) for seed in range(8)]
    async def main():
        ticks = 0
        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1
        ticking = asyncio.create_task(tick())
        found = await asyncio.gather(*(asyncio.to_thread(compute, seed) for seed in range(8)))
        ticking.cancel()
        assert found == expected
        assert ticks > 0
    asyncio.run(main())
    """)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_signal_handler_may_call_while_its_thread_does(work, workers):
    run_python(f"""
    {work}
    import signal, time
    from work import blas, compute
    expected, threads = [compute(seed, 1) for seed in range(4)], blas()
    answers = []
    def handle(number, frame):
        seed = len(answers) % 4
        answers.append(compute(seed, {workers}) == expected[seed])
        signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    end, own = time.monotonic() + 3, []
    while time.monotonic() < end:
        own.append(compute(len(own) % 4, {workers}) == expected[len(own) % 4])
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert all(own) and all(answers) and len(answers) > 5
    assert blas() == threads
    """)


@pytest.mark.parametrize("daemon", [True, False])
@pytest.mark.parametrize(
    "end", ["pass", "sys.exit(0)", "raise SystemExit", "os.kill(os.getpid(), 2)"]
)
def test_the_interpreter_may_end_while_batches_run(work, end, daemon):
    """Daemon threads are cut off, others are waited for; neither crashes nor hangs."""
    printed = run_python(f"""
    {work}
    import atexit, os, signal, sys, threading, time
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    from work import compute
    expected = [compute(seed, 1) for seed in range(4)]
    last = time.monotonic() + 1
    def compute_on(seed):
        while {daemon} or time.monotonic() < last:
            assert compute(seed) == expected[seed]
    for seed in range(4):
        threading.Thread(target=compute_on, args=[seed], daemon={daemon}).start()
    atexit.register(lambda: print("ended", compute(0) == expected[0]))
    time.sleep(0.5)
    {end}
    """)
    assert printed == "ended True\n"


def test_500_workers_get_the_same_bits(work):
    run_python(f"""
    {work}
    from work import compute
    for seed in range(4):
        assert compute(seed, 500) == compute(seed, 1)
    """)


# Short runs.


def run_module(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=400,
    )


def test_64_threads_with_forks_and_interrupts_get_right_answers():
    ran = run_module("tests.load", "--minutes", "0.2")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "; 0 wrong; " in ran.stdout


def test_calls_leak_nothing():
    ran = run_module("tests.leaks", "--calls", "30000")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " 0 threads, 0 files more" in ran.stdout
