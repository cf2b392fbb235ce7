"""driver='auto' keeps as many singular values as driver='svd', however near the tolerance one is.

`python -m benchmarks ranks` searches for counter-examples by the million.
"""

import numpy as np
import pytest

from batchpinv import Rung, pinv

DTYPES = ["f4", "f8", "c8", "c16"]
SQUARE = [(n, n) for n in (2, 4, 8, 16, 24, 64)]
OBLONG = [(3, 2), (5, 12), (60, 7), (70, 50)]
COUNT = 26  # tol * (1 + 10^-k) and tol * (1 - 10^-k), k = 0 ... 12


def normal(rng, shape, dtype):
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return values


def check_ranks(a, **options):
    info = pinv(a, return_info=True, **options)[1]
    rank = pinv(a, return_rank=True, driver="svd", **options)[1]
    assert np.array_equal(info.rank, rank)
    return info


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "hermitian"),
    [*((shape, False) for shape in SQUARE + OBLONG), *((shape, True) for shape in SQUARE)],
)
@pytest.mark.parametrize("relative", [None, 1e-4, 0.1])
def test_singular_values_next_to_the_tolerance(dtype, shape, relative, hermitian):
    rng = np.random.default_rng(5)
    k = min(shape)
    rtol = max(shape) * float(np.finfo(dtype).eps) if relative is None else relative
    near = np.concatenate([1 + 10.0 ** -np.arange(13), 1 - 10.0 ** -np.arange(13)])
    for near_the_tolerance in (1, max(1, k // 2)):
        values = np.geomspace(1, 2 * rtol, k) * np.ones((COUNT, 1))
        values[:, k - near_the_tolerance :] = rtol * near[:, None]
        values[:, 0] = 1
        left = np.linalg.qr(normal(rng, (COUNT, shape[0], k), dtype))[0]
        right = left if hermitian else np.linalg.qr(normal(rng, (COUNT, shape[1], k), dtype))[0]
        signs = rng.choice([-1, 1], k) if hermitian else 1
        a = (left * (signs * values)[:, None, :] @ right.conj().swapaxes(1, 2)).astype(dtype)
        info = check_ranks(a, rtol=relative, hermitian=hermitian)
        inside = np.abs(near - 1) < 1e-3
        assert not np.isin(info.rung[inside], [Rung.QR_LANES, Rung.DIRECT]).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [3, 8, 16, 40, 64])
def test_triangles_that_hide_how_singular_they_are(dtype, n):
    upper = np.triu(np.ones((n, n)), 1)
    sines = np.linspace(0.05, 0.999, 100)[:, None, None]
    kahan = sines ** np.arange(n)[:, None] * (np.eye(n) - np.sqrt(1 - sines**2) * upper)
    steep = np.eye(n) - np.linspace(0, 4, 100)[:, None, None] * upper
    for a in (kahan, steep):
        check_ranks(a.astype(dtype))
        check_ranks(a.swapaxes(1, 2).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 3), (8, 8), (40, 12), (64, 64), (130, 130)])
def test_rows_and_columns_of_wild_sizes(dtype, shape):
    rng = np.random.default_rng(8)
    digits = -np.log10(np.finfo(dtype).eps) * np.linspace(0, 1.2, 60)[:, None]
    rows = 10 ** (digits * rng.uniform(-1, 0, shape[0]))
    columns = 10 ** (digits * rng.uniform(-1, 0, shape[1]))
    a = normal(rng, (60, *shape), dtype)
    for scales in (rows[:, :, None], columns[:, None, :], rows[:, :, None] * columns[:, None, :]):
        check_ranks((a * scales).astype(dtype))
        check_ranks((a * scales).astype(dtype), rtol=0.0, atol=1e-3)
