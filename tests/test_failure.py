"""Matrices without a pseudo-inverse, and missing memory: all other matrices are computed, the error
names those that failed, and nothing hangs or breaks the next call.
"""

import pickle

import numpy as np
import pytest
from children import run_python

from batchpinv import LinAlgError, pinv

DTYPES = ["float32", "float64", "complex64", "complex128"]
BAD = {
    "nan": np.nan,
    "inf": np.inf,
    "-inf": -np.inf,
    "imaginary nan": complex(1, np.nan),
    "imaginary inf": complex(1, -np.inf),
}
CASES = [
    (dtype, bad) for dtype in DTYPES for bad in BAD if dtype[0] == "c" or "imaginary" not in bad
]


def random_stack(shape, dtype, hermitian=False):
    rng = np.random.default_rng(7)
    a = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    if hermitian:
        a = a + a.conj().swapaxes(-1, -2)
    return (a if np.dtype(dtype).kind == "c" else a.real).astype(dtype)


def is_nan(x):
    """Where x is NaN, in both parts if complex."""
    return np.isnan(x.real) & (np.isnan(x.imag) | (x.dtype.kind != "c"))


@pytest.mark.parametrize("size", [(3, 3), (5, 3), (3, 5), (1, 1), (80, 70)])
@pytest.mark.parametrize(("dtype", "bad"), CASES)
def test_others_keep_their_bits_and_failures_become_nan_or_raise(dtype, bad, size):
    a = random_stack((9, *size), dtype)
    expected, expected_rank = pinv(a, return_rank=True)
    a[2, -1, 0] = a[7, 0, -1] = BAD[bad]
    good = np.delete(np.arange(9), [2, 7])

    x, rank = pinv(a, return_rank=True, on_failure="nan")
    assert x[good].tobytes() == expected[good].tobytes()
    assert rank[good].tolist() == expected_rank[good].tolist()
    assert is_nan(x[[2, 7]]).all()
    assert rank[[2, 7]].tolist() == [-1, -1]

    out = np.full_like(x, 5)
    with pytest.raises(LinAlgError, match=r"2 of 9 .* NaN or Inf in 2 \(batch indices 2, 7\)"):
        pinv(a, out=out)
    assert out[good].tobytes() == expected[good].tobytes()


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize(("dtype", "bad"), CASES)
def test_hermitian_failures_are_those_in_the_triangle_that_is_read(dtype, bad, lower):
    a = random_stack((9, 5, 5), dtype, hermitian=True)
    expected = pinv(a, hermitian=True, lower=lower)
    a[2, 3, 1] = a[7, 1, 3] = BAD[bad]
    a[4][np.triu_indices(5, 1) if lower else np.tril_indices(5, -1)] = BAD[bad]
    failed = 2 if lower else 7
    x, rank = pinv(a, hermitian=True, lower=lower, return_rank=True, on_failure="nan")
    good = np.delete(np.arange(9), failed)
    assert x[good].tobytes() == expected[good].tobytes()
    assert is_nan(x[failed]).all()
    assert np.flatnonzero(rank == -1).tolist() == [failed]
    with pytest.raises(LinAlgError, match=rf"1 of 9 .* \(batch index {failed}\)"):
        pinv(a, hermitian=True, lower=lower)


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize(
    ("batch_shape", "failed", "message"),
    [
        ((), [()], r"1 of 1 matri.*NaN or Inf in the matrix\."),
        ((6,), [(4,)], r"1 of 6 matrices.*NaN or Inf in 1 \(batch index 4\)\."),
        ((6,), [(5,), (0,)], r"2 of 6 matrices.*NaN or Inf in 2 \(batch indices 0, 5\)\."),
        ((40,), [(i,) for i in range(9, 30)],
         r"21 of 40 matrices.*in 21 \(batch indices 9, 10, 11, 12, 13, \.\.\.\)\."),
        ((2, 3), [(1, 0)], r"1 of 6 matrices.*in 1 \(batch index \(1, 0\)\)\."),
        ((2, 1, 3), [(0, 0, 2), (1, 0, 1)], r"2 of 6 .*indices \(0, 0, 2\), \(1, 0, 1\)\)\."),
        ((1, 1), [(0, 0)], r"1 of 1 matri.*in 1 \(batch index \(0, 0\)\)\."),
        ((200, 50), [(i, j) for i in range(200) for j in range(i % 3, 50, 7)],
         r"1467 of 10000 .*\(0, 0\), \(0, 7\), \(0, 14\), \(0, 21\), \(0, 28\), \.\.\.\)\."),
    ],
)  # fmt: skip
def test_error_counts_failures_names_the_first_and_indexes_all(
    batch_shape, failed, message, hermitian
):
    a = random_stack((*batch_shape, 3, 3), "float64", hermitian)
    for index in failed:
        a[index][2, 0] = np.nan
    with pytest.raises(LinAlgError, match=message) as caught:
        pinv(a, hermitian=hermitian)
    error = caught.value
    assert isinstance(error, np.linalg.LinAlgError)
    assert "on_failure='nan'" in str(error)
    assert error.count == len(failed)
    assert [tuple(index) for index in np.argwhere(np.isnan(a).any((-2, -1)))] == sorted(failed)
    expected = np.nonzero(np.isnan(a).any((-2, -1))) if batch_shape else ()
    assert isinstance(error.indices, tuple)
    assert len(error.indices) == len(expected)
    assert all(map(np.array_equal, error.indices, expected))
    assert np.isnan(a[error.indices]).any((-2, -1)).all()
    assert a[error.indices].size == 9 * len(failed)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_error_survives_pickling(protocol):
    a = random_stack((2, 3, 4, 4), "float64")
    a[1, 2, 0, 0] = np.inf
    with pytest.raises(LinAlgError) as caught:
        pinv(a)
    copy = pickle.loads(pickle.dumps(caught.value, protocol))
    assert type(copy) is LinAlgError
    assert str(copy) == str(caught.value)
    assert (copy.count, *map(np.ndarray.tolist, copy.indices)) == (1, [1], [2])


def test_one_matrix_that_fails_gives_nan_and_rank_minus_one_on_request():
    x, rank = pinv([[1, np.inf], [0, 1]], return_rank=True, on_failure="nan")
    assert np.isnan(x).all()
    assert rank == -1
    assert type(rank) is int


def test_failure_counts_once_for_each_tolerance_that_it_meets():
    a = random_stack((3, 3), "float64")
    a[0, 0] = np.nan
    with pytest.raises(LinAlgError, match="2 of 2") as caught:
        pinv(a, rtol=[0.0, 0.5])
    assert caught.value.indices[0].tolist() == [0, 1]


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_failures_found_by_many_workers_are_sorted(workers):
    a = random_stack((5000, 4, 3), "float64")
    a[::3, 1, 1] = np.inf
    with pytest.raises(LinAlgError, match="1667 of 5000") as caught:
        pinv(a, workers=workers)
    assert caught.value.indices[0].tolist() == list(range(0, 5000, 3))


@pytest.mark.parametrize("hermitian", [False, True])
def test_inf_or_nan_anywhere_fails_and_never_hangs(hermitian):
    sizes = [(1, 1), (4, 4), (16, 16)] if hermitian else [(1, 3), (4, 4), (3, 5), (5, 3), (60, 9)]
    printed = run_python(f"""
        import numpy as np
        from batchpinv import pinv
        bad = [np.inf, -np.inf, np.nan]
        count = 0
        for dtype in {DTYPES}:
            for m, n in {sizes}:
                values = [*bad, *(complex(1, x) for x in bad)] if dtype[0] == "c" else bad
                a = np.random.default_rng(3).standard_normal((len(values), m * n, m, n))
                a = a.astype(dtype)
                for k, value in enumerate(values):
                    a[k, np.arange(m * n), np.arange(m * n) // n, np.arange(m * n) % n] = value
                if {hermitian}:
                    a = a[:, np.ravel_multi_index(np.tril_indices(m, -1 if k > 2 else 0), (m, m))]
                x, rank = pinv(a, hermitian={hermitian}, return_rank=True, on_failure="nan")
                assert (rank == -1).all(), (dtype, m, n, np.argwhere(rank != -1))
                assert np.isnan(x).all()
                count += rank.size
        print(count)
    """)
    assert int(printed) > 1000


@pytest.mark.parametrize("size", [(400, 400), (500, 30)])
def test_large_matrix_with_inf_does_not_hang(size):
    run_python(f"""
        import numpy as np
        from batchpinv import pinv
        a = np.random.default_rng(3).standard_normal({size})
        a[-1, -1] = np.inf
        assert np.isnan(pinv(a, on_failure="nan")).all()
    """)


def test_imaginary_parts_on_a_hermitian_diagonal_are_not_read():
    a = random_stack((4, 4), "complex128", hermitian=True)
    expected = pinv(a, hermitian=True)
    a[2, 2] = complex(a[2, 2].real, np.nan)
    assert pinv(a, hermitian=True).tobytes() == expected.tobytes()


# The matrix whose first entry is 13 makes the broken routines fail.
BROKEN = """
    import numpy as np
    from children import break_routine
    failures = [break_routine(name, 13.0, {how!r}) for name in {broken}]
    from batchpinv import LinAlgError, pinv
    rng = np.random.default_rng(5)
    a = rng.standard_normal((2, 4, 10, 10 if {hermitian} else 4))
    if "{dtype}"[0] == "c":
        a = a + 1j * rng.standard_normal(a.shape)
    if {hermitian}:
        a = a + a.conj().swapaxes(-1, -2)
    a = a.astype("{dtype}")
    a[:, 2, 0, 0] = 13
    def call(a, **options):
        return pinv(a, hermitian={hermitian}, driver="svd", **options)
"""
ROUTINES = {
    ("float32", False): ["sgesdd", "sgesvd"],
    ("float64", False): ["dgesdd", "dgesvd"],
    ("complex64", False): ["cgesdd", "cgesvd"],
    ("complex128", False): ["zgesdd", "zgesvd"],
    ("float32", True): ["ssyevd", "ssyev"],
    ("float64", True): ["dsyevd", "dsyev"],
    ("complex64", True): ["cheevd", "cheev"],
    ("complex128", True): ["zheevd", "zheev"],
}


@pytest.mark.parametrize("how", ["info", "nan"])
@pytest.mark.parametrize(("dtype", "hermitian"), ROUTINES)
def test_second_svd_answers_if_the_first_does_not_converge(dtype, hermitian, how):
    broken = ROUTINES[dtype, hermitian][:1]
    run_python(
        BROKEN.format(broken=broken, how=how, dtype=dtype, hermitian=hermitian)
        + """
    x, rank = call(a, return_rank=True)
    expected = np.linalg.pinv(a.astype("complex128"))
    eps = np.finfo(a.dtype).eps
    assert (rank == a.shape[-1]).all()
    assert abs(x - expected).max() < 1000 * eps * abs(expected).max()
    assert list(map(len, failures)) == [2]
    """
    )


@pytest.mark.parametrize("how", ["info", "nan"])
@pytest.mark.parametrize(("dtype", "hermitian"), ROUTINES)
def test_matrix_on_which_no_svd_converges_fails_alone(dtype, hermitian, how):
    broken = ROUTINES[dtype, hermitian]
    run_python(
        BROKEN.format(broken=broken, how=how, dtype=dtype, hermitian=hermitian)
        + """
    sound = a.copy()
    sound[:, 2, 0, 0] = 12
    expected = call(sound)
    good = np.arange(4) != 2
    x, rank = call(a, return_rank=True, on_failure="nan")
    assert np.isnan(x[:, 2]).all()
    assert (rank == np.where(good, a.shape[-1], -1)).all()
    assert x[:, good].tobytes() == expected[:, good].tobytes()
    assert list(map(len, failures)) == [2, 2]
    a[1, 3, 1, 0] = np.inf
    out = np.zeros_like(x)
    try:
        call(a, out=out)
    except LinAlgError as error:
        assert "3 of 8" in str(error)
        assert "NaN or Inf in 1 (batch index (1, 3))" in str(error), error
        assert "did not converge on 2 (batch indices (0, 2), (1, 2))" in str(error), error
        assert [index.tolist() for index in error.indices] == [[0, 1, 1], [2, 2, 3]]
        assert error.count == 3
    else:
        raise SystemExit("no error")
    assert out[0, good].tobytes() == expected[0, good].tobytes()
    """
    )


@pytest.mark.parametrize("shape", [(4, 4), (60, 40), (40, 60)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("broken", [["bdsdc"], ["bdsdc", "bdsqr"]])
def test_systems_are_solved_by_the_second_svd_or_fail(dtype, shape, broken):
    run_python(f"""
    import ctypes
    import numpy as np
    from children import lapack_integer, replace_routine
    calls, integer = [], lapack_integer()
    def fail(original, *addresses):
        calls.append(1)
        integer.from_address(addresses[-1]).value = 1
    for name in {broken}:
        replace_routine({"s" if dtype in ("float32", "complex64") else "d"!r} + name, fail)
    from batchpinv import LinAlgError, lstsq
    rng = np.random.default_rng(0)
    a = rng.standard_normal({shape})
    b = rng.standard_normal(({shape[0]}, 2))
    if "{dtype}"[0] == "c":
        a, b = a + 1j * rng.standard_normal(a.shape), b - 1j
    a, b = a.astype("{dtype}"), b.astype("{dtype}")
    try:
        x = lstsq(a, b, driver="svd")
    except LinAlgError as error:
        assert {len(broken)} == 2 and "did not converge" in str(error)
    else:
        assert {len(broken)} == 1
        expected = np.linalg.lstsq(a.astype("complex128"), b)[0]
        eps = np.finfo(a.dtype).eps
        assert abs(x - expected).max() < 1000 * eps * abs(expected).max()
    assert len(calls) == {len(broken)}
    """)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("missing", "shape"),
    [
        ("result", (3, 1500, 1500)),
        ("result", (20_000_000, 2, 2)),
        ("workspace of waiting caller", (3, 1500, 1500)),
        ("workspace of computing caller", (3, 250, 280)),
        ("workspace of one matrix", (2500, 2500)),
    ],
)
def test_no_memory_raises_and_leaves_the_pool_usable(missing, shape, workers):
    code = f"""
        import os, resource
        from pathlib import Path
        import numpy as np
        from batchpinv import pinv
        small = np.random.default_rng(0).standard_normal((2000, 12, 12))
        middle = np.random.default_rng(0).standard_normal((4, 300, 300))
        expected = [pinv(a, workers={workers}).tobytes() for a in (small, middle)]
        *batch_shape, m, n = {shape}
        a = np.broadcast_to(1j, {shape})
        out = None if "{missing}" == "result" else np.empty((*batch_shape, n, m), complex)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        for attempt in range(3):
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**22, hard))
            try:
                pinv(a, out=out, workers={workers})
            except MemoryError:
                pass
            else:
                raise SystemExit("there was memory")
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for a, bits in zip((small, middle), expected):
            assert pinv(a, workers={workers}).tobytes() == bits
    """
    # Else glibc may serve the call from a thread's arena, or from memory that it kept.
    run_python(code, MALLOC_ARENA_MAX="1", MALLOC_MMAP_THRESHOLD_="65536")
