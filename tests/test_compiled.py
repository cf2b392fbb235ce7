"""What batchpinv.cython_pinv promises to compiled code: the bits of the Python functions, no heap,
no Python, any threads, and names and signatures that stay."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import compiled
import numpy as np
import pytest
from cases import DTYPES, LAYOUTS, Draw, mixed_stack, same_bits
from threadpoolctl import threadpool_limits

import batchpinv
from batchpinv.cython_pinv import Flags, Result, Status

HERE = Path(__file__).parent
# Square, tall and wide matrices for lanes and for LAPACK.
SHAPES = [(1, 1), (4, 4), (6, 3), (3, 6), (9, 9), (40, 7), (7, 40), (60, 60), (80, 50), (50, 80)]


@pytest.fixture(autouse=True)
def one_blas_thread():
    with threadpool_limits(1, "blas"):
        yield


def sides(dtype, count, m, k):
    draw = Draw(dtype, seed=k)
    return np.stack([draw.normal(m, k) for _ in range(count)]).astype(dtype)


# Names and signatures.

REST = "double, double, int, int64_t *, int *, void *, int64_t)"
C_TYPES = {"s": "float", "d": "double", "c": "__pyx_t_float_complex", "z": "__pyx_t_double_complex"}


def test_names_and_signatures_are_those_that_callers_were_compiled_for():
    expected = {}
    for prefix, of in C_TYPES.items():
        given, written = (
            f"{of} const *, int64_t, int64_t, int64_t",
            f"{of} *, int64_t, int64_t, int64_t",
        )
        n = "int64_t"
        expected |= {
            f"{prefix}pinv": f"int64_t ({n}, {n}, {n}, {given}, {written}, {REST}",
            f"{prefix}lstsq": f"int64_t ({n}, {n}, {n}, {n}, {given}, {given}, {written}, {REST}",
            f"{prefix}pinv_work": f"int64_t ({n}, {n}, int)",
            f"{prefix}lstsq_work": f"int64_t ({n}, {n}, {n}, int)",
        }
    of = "void const *, int64_t, int64_t, int64_t"
    to = "void *, int64_t, int64_t, int64_t"
    system = "double const *, int64_t, int64_t, double const *, int64_t"
    expected |= {
        "weighted_pinv": f"int64_t (char, {n}, {n}, {n}, {of}, {system}, {to}, {REST}",
        "weighted_lstsq": (
            f"int64_t (char, {n}, {n}, {n}, {n}, {of}, {of}, {system}, {to}, {to}, {REST}"
        ),
        "weighted_pinv_work": f"int64_t (char, {n}, {n}, int)",
        "weighted_lstsq_work": f"int64_t (char, {n}, {n}, {n}, int)",
    }
    assert compiled.signatures() == expected
    assert {flag.name: int(flag) for flag in Flags} == {"HERMITIAN": 1, "UPPER": 2, "SVD": 4}
    assert {s.name: int(s) for s in Status} == {"SOLVED": 0, "NON_FINITE": 1, "NO_CONVERGENCE": 2}
    assert {result.name: int(result) for result in Result} == {
        "BAD_SIZE": -1,
        "BAD_FLAGS": -2,
        "BAD_TOLERANCE": -3,
        "NO_MEMORY": -4,
    }


# The same bits.


@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_bits_are_those_of_the_python_functions(dtype, m, n):
    a = mixed_stack((11,), m, n, dtype)
    for work in None, compiled.work_for(a), compiled.work_for(a, offset=3):
        result, x, rank, status = compiled.compute(a, work=work)
        expected, expected_rank = batchpinv.pinv(a, return_rank=True)
        assert (result, status.any()) == (0, False)
        assert same_bits(x, expected)
        assert np.array_equal(rank, expected_rank)
    for k in 1, 5, 300:
        b = sides(dtype, 11, m, k)
        expected, expected_rank = batchpinv.lstsq(a, b, return_rank=True)
        for work in None, compiled.work_for(a, b), compiled.work_for(a, b, offset=3):
            result, x, rank, status = compiled.compute(a, b, work=work)
            assert (result, status.any()) == (0, False)
            assert same_bits(x, expected)
            assert np.array_equal(rank, expected_rank)


@pytest.mark.parametrize("flags", [0, Flags.HERMITIAN, Flags.HERMITIAN | Flags.UPPER, Flags.SVD])
@pytest.mark.parametrize("n", [5, 12, 60])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_flags_and_tolerances_mean_what_they_mean_in_python(dtype, n, flags):
    a = mixed_stack((6,), n, n, dtype, hermitian=bool(flags & Flags.HERMITIAN))
    b = sides(dtype, 6, n, 2)
    options = {
        "hermitian": bool(flags & Flags.HERMITIAN),
        "lower": not flags & Flags.UPPER,
        "driver": "svd" if flags & Flags.SVD else "auto",
    }
    for atol, rtol in (0.0, -1.0), (0.5, -1.0), (0.0, 0.1), (0.5, 0.1):
        given = {"atol": atol, "rtol": None if rtol < 0 else rtol, **options}
        work = compiled.work_for(a, flags=flags)
        _, x, rank, _ = compiled.compute(a, atol=atol, rtol=rtol, flags=flags, work=work)
        expected, expected_rank = batchpinv.pinv(a, return_rank=True, **given)
        assert same_bits(x, expected)
        assert np.array_equal(rank, expected_rank)
        work = compiled.work_for(a, b, flags=flags)
        _, x, _, _ = compiled.compute(a, b, atol=atol, rtol=rtol, flags=flags, work=work)
        assert same_bits(x, batchpinv.lstsq(a, b, **given))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_strides_give_the_same_bits(layout):
    place = LAYOUTS[layout]
    for m, n, k in [(5, 3, 2), (20, 20, 3), (50, 60, 2), (4, 3, 200)]:
        a, b = mixed_stack((6,), m, n, np.complex128), sides(np.complex128, 6, m, k)
        _, x, _, _ = compiled.compute(place(a), place(b), place(np.empty((6, n, k), a.dtype)))
        assert same_bits(np.ascontiguousarray(x), batchpinv.lstsq(a, b))
        _, x, _, _ = compiled.compute(place(a), x=place(np.empty((6, n, m), a.dtype)))
        assert same_bits(np.ascontiguousarray(x), batchpinv.pinv(a))


def test_one_matrix_may_serve_many_systems():
    for m, n in (5, 3), (60, 50):
        a, b = mixed_stack((1,), m, n, np.float64), sides(np.float64, 40, m, 1)
        _, x, rank, _ = compiled.compute(np.broadcast_to(a, (40, m, n)), b)
        assert same_bits(x, batchpinv.lstsq(a[0], b))
        assert set(rank) == {min(m, n)}


# What goes wrong.


@pytest.mark.parametrize("k", [0, 1, 300])
@pytest.mark.parametrize(("m", "n"), [(4, 4), (6, 3), (60, 60), (80, 50)])
def test_a_bad_matrix_spoils_only_itself(m, n, k):
    a, b = mixed_stack((7,), m, n, np.float64), sides(np.float64, 7, m, k) if k else None
    _, expected, good, _ = compiled.compute(a, b)
    a[2, 0, 0], a[5, 1, 1] = np.nan, np.inf
    result, x, rank, status = compiled.compute(a, b, work=compiled.work_for(a, b))
    assert result == 2
    assert status.tolist() == [0, 0, 1, 0, 0, 1, 0]
    assert np.isnan(x[[2, 5]]).all()
    assert (rank[[2, 5]] == -1).all()
    others = [0, 1, 3, 4, 6]
    assert same_bits(x[others], expected[others])
    assert np.array_equal(rank[others], good[others])


@pytest.mark.parametrize(
    ("m", "n", "k"), [(4, 4, 0), (6, 3, 2), (60, 60, 1), (80, 50, 0), (5, 5, 300)]
)
def test_workspace_that_is_too_small_is_reported_and_not_overrun(m, n, k):
    a, b = mixed_stack((3,), m, n, np.float64), sides(np.float64, 3, m, k) if k else None
    a[1, -1] = a[1, 0]  # all rungs are needed
    work = compiled.work_for(a, b)
    guarded = np.full(work.nbytes + 64, 0xCD, np.uint8)
    for size in 0, 64, work.nbytes // 16:
        result, _, _, _ = compiled.compute(a, b, work=guarded, work_bytes=size)
        assert result == Result.NO_MEMORY
        assert (guarded[size:] == 0xCD).all()
    result, _, _, _ = compiled.compute(a, b, work=guarded, work_bytes=work.nbytes)
    assert result == 0
    assert (guarded[work.nbytes :] == 0xCD).all()


def test_each_bad_argument_has_its_own_code():
    a = np.ones((1, 3, 2))
    assert compiled.compute(a, flags=8)[0] == Result.BAD_FLAGS
    assert compiled.compute(a, flags=Flags.HERMITIAN)[0] == Result.BAD_SIZE
    assert compiled.compute(a, atol=-1.0)[0] == Result.BAD_TOLERANCE
    assert compiled.compute(a, atol=np.nan)[0] == Result.BAD_TOLERANCE
    assert compiled.compute(a, rtol=np.nan)[0] == Result.BAD_TOLERANCE
    work = compiled.function("pinv_work", np.float64)
    assert work(-1, 2, 0) == Result.BAD_SIZE
    assert work(10**6, 10**6, 0) == Result.BAD_SIZE
    assert work(2**62, 2**62, 0) == Result.BAD_SIZE
    assert compiled.function("lstsq_work", np.float64)(2, 2, -1, 0) == Result.BAD_SIZE


def test_empty_matrices_and_stacks_succeed():
    for shape in (0, 3, 2), (2, 0, 3), (2, 3, 0):
        assert compiled.compute(np.ones(shape))[0] == 0
    result, x, rank, status = compiled.compute(np.ones((2, 0, 3)), np.ones((2, 0, 4)))
    assert (result, x.any(), rank.any(), status.any()) == (0, False, False, False)


# Weights, damping, covariances.


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize(("m", "n", "k"), [(6, 4, 1), (4, 6, 3), (70, 50, 2), (300, 60, 130)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_weighted_systems_have_the_bits_of_the_python_function(dtype, m, n, k, given):
    a, b = mixed_stack((9,), m, n, dtype), sides(dtype, 9, m, k)
    rng = np.random.default_rng(0)
    weights, damping = rng.random((9, m)), np.where(np.arange(9) % 2 == 0, 0, 0.1)
    weights[:, 0] = 0
    weights[[2, 6], 1] = -1
    size = compiled.function("weighted_lstsq_work", dtype)(m, n, k, 0)
    work = np.full(size, 0xAB, np.uint8) if given else None
    failed, x, covariance, rank, status = compiled.solve_weighted(a, b, weights, damping, work=work)
    expected = batchpinv.lstsq(
        a,
        b,
        weights=weights,
        damping=damping,
        return_rank=True,
        return_covariance=True,
        on_failure="nan",
        workers=1,
    )
    assert failed == 2
    assert status.tolist() == [0, 0, 1, 0, 0, 0, 1, 0, 0]
    for one, other in zip((x, rank, covariance), expected, strict=True):
        assert same_bits(one, other)


def test_each_bad_argument_of_a_weighted_system_has_its_own_code():
    a, b, w, d = np.ones((2, 3, 2)), np.ones((2, 3, 1)), np.ones((2, 3)), np.ones(2)
    solve = compiled.solve_weighted
    assert solve(a, b, w, d)[0] == 0
    assert solve(a, b, w, d, rtol=1e-9)[0] == Result.BAD_TOLERANCE
    assert solve(a, b, w, d, atol=1e-9)[0] == Result.BAD_TOLERANCE
    assert solve(a, b, w, 0 * d, rtol=1e-9)[0] == 0
    for bad in (-1, np.nan, np.inf):
        assert solve(a, b, w, np.array([1, bad]))[0] == Result.BAD_TOLERANCE
    assert solve(a, b[..., :0], w, d)[0] == Result.BAD_SIZE
    unknown = compiled.function("weighted_pinv_work", "float64")
    assert unknown.func(b"q", 3, 2, 0) == Result.BAD_SIZE
    short = np.empty(100, np.uint8)
    assert solve(a, b, w, d, work=short)[0] == Result.NO_MEMORY


# Heap, threads, and other compilers.


def compiler():
    return sysconfig.get_config_var("CC").split()


def test_a_call_with_workspace_allocates_nothing(tmp_path):
    library = tmp_path / "count_mallocs.so"
    source = HERE / "count_mallocs.c"
    subprocess.run([*compiler(), "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    child = """
import ctypes, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import compiled
from cases import Draw, mixed_stack
from threadpoolctl import threadpool_limits

count = ctypes.PyDLL(sys.argv[2]).mallocs
count.restype = ctypes.c_long
kept = compiled.function("pinv_work", np.float64)  # ctypes' own are made beforehand


def measured(name, dtype, *arguments):
    call = compiled.function(name, dtype)
    call(*arguments)
    before = count()
    call(*arguments)
    return count() - before


with threadpool_limits(1, "blas"):
    for dtype in compiled.PREFIX:
        for m, n, k in (4, 4, 1), (6, 3, 9), (60, 60, 1), (80, 50, 3), (5, 4, 300), (60, 50, 300):
            a = mixed_stack((9,), m, n, np.dtype(dtype))
            a[3, 0, 0] = np.nan
            b, x = np.ones((9, m, k), dtype), np.empty((9, n, k), dtype)
            work = compiled.work_for(a, b)
            stacks = compiled.stack(a), compiled.stack(b), compiled.stack(x)
            sizes = 9, m, n, k, *stacks[0], *stacks[1], *stacks[2], 0.0, -1.0, 0, None, None
            taken = measured("lstsq", dtype, *sizes, work.ctypes.data, work.nbytes)
            own = measured("lstsq", dtype, *sizes, None, 0)
            print(dtype, m, n, k, taken, own)
            is_brief = 9 * m * n <= 8192 and k <= 8  # for such calls a thread keeps memory
            assert own <= 2 if is_brief else own > taken + 3, "the counter does not count"
            assert taken <= 2, "allocated"
            if k > 9:
                continue
            weights, damping, c = np.ones((9, m)), np.arange(9.0) % 2, np.empty((9, n, n), dtype)
            size = compiled.function("weighted_lstsq_work", dtype)(m, n, k, 0)
            work = np.empty(size, np.uint8)
            system = weights.ctypes.data, *weights.strides, damping.ctypes.data, *damping.strides
            sizes = 9, m, n, k, *stacks[0], *stacks[1], *system, *stacks[2], *compiled.stack(c)
            sizes = *sizes, 0.0, -1.0, 0, None, None
            taken = measured("weighted_lstsq", dtype, *sizes, work.ctypes.data, work.nbytes)
            print("weighted", dtype, m, n, k, taken)
            assert taken <= 2, "allocated"
"""
    preloaded = {**os.environ, "LD_PRELOAD": str(library)}
    command = [sys.executable, "-c", child, HERE, library]
    done = subprocess.run(command, env=preloaded, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_many_threads_may_call_at_once():
    a = mixed_stack((300,), 5, 4, np.float64)
    large, b = mixed_stack((4,), 80, 50, np.float64), sides(np.float64, 4, 80, 2)
    expected, solved = batchpinv.pinv(a), batchpinv.lstsq(large, b)

    def call(_):
        return compiled.compute(a)[1], compiled.compute(large, b)[1]

    with ThreadPoolExecutor(16) as pool:
        for small, other in pool.map(call, range(64)):
            assert same_bits(small, expected)
            assert same_bits(other, solved)


@pytest.fixture(scope="module")
def extension(tmp_path_factory):
    """tests/compiled_use.pyx, built as another package would."""
    folder = tmp_path_factory.mktemp("extension")
    c_file, module = folder / "compiled_use.c", folder / "compiled_use.so"
    source = HERE / "compiled_use.pyx"
    # Cython finds the declarations of an editable install only if it is told where they are.
    where = Path(batchpinv.__file__).parents[1]
    command = [sys.executable, "-m", "cython", "-I", where, source, "-o", c_file]
    subprocess.run(command, check=True, cwd=folder)
    include = sysconfig.get_path("include")
    flags = ["-shared", "-fPIC", "-O1", f"-I{include}"]
    subprocess.run([*compiler(), *flags, c_file, "-o", module], check=True)
    spec = importlib.util.spec_from_file_location("compiled_use", module)
    built = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(built)
    return built


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cython_code_of_another_package_can_call_it(extension, dtype):
    for m, n in (4, 4), (6, 3), (60, 50):
        a, b = mixed_stack((20,), m, n, dtype), sides(dtype, 20, m, 2)
        x, rank = np.empty((20, n, m), dtype), np.empty(20, np.int64)
        assert extension.pinv(a, x, rank) == 0
        expected, expected_rank = batchpinv.pinv(a, return_rank=True)
        assert same_bits(x, expected)
        assert np.array_equal(rank, expected_rank)
        x = np.empty((20, n, 2), dtype)
        assert extension.lstsq(a, b, x) == 0
        assert same_bits(x, batchpinv.lstsq(a, b))
    assert extension.constants() == (Flags.HERMITIAN, Flags.UPPER, Result.NO_MEMORY)
