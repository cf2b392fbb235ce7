"""Injected faults: memory that is refused at each place that asks for it, LAPACK routines that fail
on each rung, a full disk, Ctrl-C at any moment. Each ends in the documented exception, or in the
right answer by another way; and the next call is right.
"""

import shutil
import subprocess
import sys
from textwrap import dedent

import pytest
from children import environment, run_python

# Memory.

# Replaces the operators of the C++ runtime, and posix_memalign, of which workspace is made: after
# arm(k), the k-th allocation is refused.
ALLOCATOR = r"""
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>

static std::atomic<long> left{0}, asked{0};

extern "C" void arm(long refused) { left = refused; asked = 0; }
extern "C" long disarm() { left = 0; return asked; }

static void *take(std::size_t bytes, std::size_t alignment) {
    ++asked;
    if (left > 0 && --left == 0)
        throw std::bad_alloc();
    void *memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (!memory)
        throw std::bad_alloc();
    return memory;
}

extern "C" int posix_memalign(void **memory, std::size_t alignment, std::size_t bytes) noexcept {
    try {
        *memory = take(bytes, alignment);
        return 0;
    } catch (const std::bad_alloc &) {
        return ENOMEM;
    }
}

void *operator new(std::size_t bytes) { return take(bytes, 16); }
void *operator new(std::size_t bytes, std::align_val_t to) { return take(bytes, std::size_t(to)); }
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void *memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
"""


@pytest.fixture(scope="module")
def allocator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("allocator")
    source, library = folder / "allocator.cpp", folder / "allocator.so"
    source.write_text(ALLOCATOR)
    command = ["c++", "-std=c++17", "-O1", "-shared", "-fPIC", "-o", library, source]
    subprocess.run(command, check=True)
    return library


# What a call computes: an expression for its arrays, and its options.
WORK = {
    "lanes": ("normal(50, 6, 6)", {}),
    "lanes, deficient": ("lowered(50, 6, 6)", {}),
    "lanes, near the tolerance": ("lowered(50, 6, 6)", {"rtol": 1e-15}),
    "elimination": ("normal(4, 70, 70)", {}),
    "long": ("normal(4, 150, 60)", {}),
    "long, single precision": ("normal(4, 150, 60).astype('f')", {}),
    "long, shared": ("normal(1, 9000, 40)", {}),
    "long, shared, deficient": ("lowered(1, 9000, 40)", {}),
    "long system, shared": ("normal(1, 9000, 40), normal(1, 9000, 2)", {}),
    "pivoted": ("lowered(4, 70, 70)", {}),
    "svd": ("normal(4, 40, 30)", {"driver": "svd"}),
    "definite": ("hermitian(4, 70, 70)", {"hermitian": True}),
    "eigenvalues": ("hermitian(4, 30, 30)", {"hermitian": True, "driver": "svd"}),
    "failures": ("np.full((300, 3, 3), np.nan)", {}),
    "systems in lanes": ("normal(50, 8, 3), normal(50, 8, 2)", {}),
    "systems": ("normal(4, 150, 60), normal(4, 150, 3)", {"return_residuals": True}),
    "systems, deficient": ("lowered(4, 70, 70), normal(4, 70, 3)", {}),
    "systems by the SVD": ("normal(4, 20, 10), normal(4, 20, 3)", {"driver": "svd"}),
    "many right-hand sides": ("normal(60, 20), normal(60, 500)", {"return_residuals": True}),
}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("work", WORK)
def test_memory_refused_at_any_place_raises_and_the_next_call_is_right(allocator, work, workers):
    arrays, options = WORK[work]
    printed = run_python(
        f"""
    import ctypes
    import numpy as np
    from batchpinv import LinAlgError, lstsq, pinv
    memory = ctypes.CDLL({str(allocator)!r})
    rng = np.random.default_rng(0)
    def normal(*shape):
        return rng.standard_normal(shape)
    def lowered(*shape):
        return normal(*shape[:-1], 3) @ normal(*shape[:-2], 3, shape[-1])
    def hermitian(*shape):
        a = normal(*shape)
        return a @ a.swapaxes(-1, -2)
    arrays = {arrays}
    if isinstance(arrays, np.ndarray):
        arrays = arrays,
    function = lstsq if len(arrays) == 2 else pinv
    def call():
        try:
            found = function(*arrays, workers={workers}, **{options})
        except LinAlgError as error:
            return error.count
        return [x.tobytes() for x in found] if isinstance(found, tuple) else found.tobytes()
    expected = call()
    other = normal(1, 5000, 33)
    refused = 0
    while True:
        pinv(other)  # frees the workspace that was kept for `call`, so that it asks everywhere
        memory.arm(refused + 1)
        try:
            found = call()
        except MemoryError:
            refused += 1
            memory.disarm()
            assert call() == expected
        else:
            asked = memory.disarm()
            if asked > refused:  # by a worker that could be done without
                refused += 1
                assert found == expected
                continue
            break
    assert found == expected
    print(refused)
    """,
        LD_PRELOAD=str(allocator),
    )
    assert int(printed) > 3


# LAPACK.

# Which arguments of the routines of the upper rungs are the matrix, its rows, and its columns.
PLACES = {
    "getrf": (2, 0, 1),
    "getri": (1, 0, 0),
    "potrf": (2, 1, 1),
    "trtri": (3, 2, 2),
    "geqrf": (2, 0, 1),
    "geqrt": (3, 0, 1),
    "geqp3": (2, 0, 1),
}
# Batches that reach them, as NumPy expressions of complex128 normal(*shape).
REACHED_BY = {
    "getrf": "conditioned(40, 70, 70)",
    "getri": "conditioned(40, 70, 70)",
    "potrf": "normal(3, 150, 60)",
    "potrf, Hermitian": "squared(lowered(3, 70, 70))",
    "trtri": "normal(3, 150, 60)",
    "geqrf": "np.concatenate([conditioned(1, 140, 140)] * 3, axis=1)",
    "geqrt": "lowered(1, 530, 520)",
    "geqp3": "lowered(1, 1100, 520)",
}


@pytest.mark.parametrize("solves", [False, True])
@pytest.mark.parametrize("prefix", "dz")
@pytest.mark.parametrize("name", REACHED_BY)
def test_another_rung_answers_if_a_routine_fails(name, prefix, solves):
    """The routine reports it by info, and its results are destroyed."""
    routine = prefix + name.split(",")[0]
    at_a, at_rows, at_columns = PLACES[routine[1:]]
    run_python(f"""
    import ctypes
    import numpy as np
    from children import lapack_integer, replace_routine
    called = []
    broken = False
    integer = lapack_integer()
    def fail(original, *addresses):
        original(*addresses)
        info = integer.from_address(addresses[-1])
        if broken and info.value >= 0 and addresses[{at_a}]:
            rows, columns = (integer.from_address(addresses[i]).value
                             for i in ({at_rows}, {at_columns}))
            ctypes.memset(addresses[{at_a}], 0xFF, rows * columns * {8 if prefix == "d" else 16})
            info.value = 1
            called.append(1)
    replace_routine("{routine}", fail)
    from batchpinv import lstsq, pinv
    rng = np.random.default_rng(0)
    def normal(*shape):
        a = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        return a if "{prefix}" == "z" else a.real
    def lowered(count, m, n):
        left, right = np.linalg.qr(normal(count, m, 9))[0], np.linalg.qr(normal(count, n, 9))[0]
        return left @ right.conj().swapaxes(-1, -2)
    def squared(a):
        return a @ a.conj().swapaxes(-1, -2)
    def conditioned(count, m, n):
        left, right = (np.linalg.qr(normal(count, n, n))[0] for _ in "lr")
        return left * np.logspace(0, -10, n) @ right
    a = {REACHED_BY[name]}
    b = normal(len(a), a.shape[1], 2)
    def call():
        options = dict(hermitian={name.endswith("Hermitian")}, return_rank=True, workers=1)
        return lstsq(a, b, **options) if {solves} else pinv(a, **options)
    expected, expected_rank = call()
    broken = True
    x, rank = call()
    if not {solves}:
        assert called, "no batch came to the routine"
    assert (rank == expected_rank).all()
    assert abs(x - expected).max() < 1e-5 * abs(expected).max()
    broken = False
    assert call()[0].tobytes() == expected.tobytes()
    """)


# Disk.


UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]


def can_mount():
    """Whether a small disk can be mounted, in a namespace of its own."""
    probe = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "x", "/mnt"]
    return (
        bool(shutil.which("unshare")) and not subprocess.run(probe, capture_output=True).returncode
    )


if can_mount():

    @pytest.mark.parametrize("view", ["out", "out[::-1, :, ::2]", "out.T[::2].T[:, ::-1]"])
    def test_mapped_out_on_a_full_disk_is_an_error_not_a_killed_process(tmp_path, view):
        code = dedent(f"""
            import errno, sys
            import numpy as np
            from batchpinv import pinv
            out = np.memmap("{tmp_path}/small/out", float, "w+", shape=(2000, 4, 6))
            view = {view}
            a = np.random.default_rng(0).standard_normal((2000, view.shape[2], 4))
            try:
                pinv(a, out=view)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
            else:
                raise SystemExit("there was room")
            assert pinv(a).shape == view.shape
            print("refused")
        """)
        small = tmp_path / "small"
        small.mkdir()
        script = f'mount -t tmpfs -o size=64k tmpfs {small} && exec "$@"'
        ran = subprocess.run(
            [*UNSHARE, "sh", "-c", script, "sh", sys.executable, "-P", "-c", code],
            env=environment(),
            capture_output=True,
            text=True,
        )
        assert (ran.returncode, ran.stdout) == (0, "refused\n"), ran.stderr


def test_mapped_out_of_any_layout_is_filled_even_if_its_file_is_removed(tmp_path):
    run_python(f"""
        import os
        import numpy as np
        from batchpinv import pinv
        a = np.random.default_rng(0).standard_normal((3000, 4, 4))
        path = "{tmp_path}/out"
        for view in ("out", "out[1::2]", "out.swapaxes(1, 2)", "np.asarray(out)[::-1]"):
            out = np.memmap(path, float, "w+", shape=(6000, 4, 4), offset=512)
            place = eval(view)
            given = np.resize(a, place.shape)
            assert pinv(given, out=place) is place
            assert np.array_equal(place, pinv(given))
            os.remove(path)
            assert np.array_equal(pinv(given, out=place), pinv(given))
    """)


# Ctrl-C.


@pytest.mark.parametrize("seed", range(10))
def test_an_interrupt_at_any_moment_is_answered_and_the_next_call_is_right(seed):
    """Ten interrupts in each process."""
    run_python(f"""
    import os, signal, threading, time
    import numpy as np
    from batchpinv import lstsq, pinv, show_config
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng = np.random.default_rng({seed})
    calls = [
        (pinv, [rng.standard_normal((400_000, 4, 4))], {{}}),
        (pinv, [rng.standard_normal((3000, 24, 20))], {{"driver": "svd"}}),
        (pinv, [rng.standard_normal((6, 400, 400))], {{}}),
        (pinv, [rng.standard_normal((900, 900))], {{"driver": "svd"}}),
        (lstsq, [rng.standard_normal((100_000, 9, 4)), rng.standard_normal((100_000, 9, 2))], {{}}),
    ]
    small = rng.standard_normal((500, 6, 5))
    expected = pinv(small).tobytes()
    pinv(np.eye(70))  # loads LAPACK
    def blas():
        return show_config("dicts")["lapack"]["threads"]
    slowest, answered, threads = 0, 0, blas()
    for attempt in range(10):
        function, arrays, options = calls[attempt % len(calls)]
        wait = rng.uniform(0, 0.2)
        sent = []
        def interrupt():
            time.sleep(wait)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=interrupt)
        try:
            thread.start()
            while True:
                function(*arrays, workers=int(rng.integers(1, 4)), **options)
        except KeyboardInterrupt:
            slowest = max(slowest, time.perf_counter() - sent[0])
            answered += 1
        thread.join()
        assert pinv(small, workers=2).tobytes() == expected
    deadline = time.monotonic() + 60  # for the matrices that LAPACK was busy with
    while blas() != threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert blas() == threads
    assert answered == 10
    print(f"slowest answer: {{slowest:.3f}} s")
    """)
