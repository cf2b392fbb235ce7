"""Errors of pseudo-inverses are within the bounds of the rung that answered, for every rung at the
sizes that it serves.

`python -m benchmarks accuracy` measures longer stacks, more families, and sizes up to 1000x1000 and
100,000 rows.
"""

import numpy as np
import pytest
from ladder import FEW, FEWEST, LARGE, SMALL, Maker, Sample, measure
from pairs import find_pinv
from references import mp, pinv_mp

from batchpinv import Rung, pinv, show_config

DTYPES = ["float64", "float32", "complex128", "complex64"]
HAS_LANES = show_config("dicts")["simd"]["own kernels"] != "none"


def samples(shape, dtype):
    m, n = shape
    maker = Maker(max(1, min(40, 4000 // (m * n))), m, n, dtype)
    if m * n <= 4096:
        return maker.samples()
    if m * n <= 200_000:
        return maker.samples((1.0, 10.0), FEW)
    return maker.samples((1.0,), FEWEST)


# Complex matrices of 512x512 take half a minute, and are left to the benchmark.
CASES = [
    pytest.param(shape, dtype, id=f"{shape[0]}x{shape[1]}-{dtype}")
    for shape in SMALL + LARGE
    for dtype in DTYPES
    if shape != (512, 512) or dtype.startswith("float")
]


@pytest.mark.parametrize(("shape", "dtype"), CASES)
def test_errors_are_within_the_bounds_of_the_rungs(shape, dtype):
    above = []
    for sample in samples(shape, dtype):
        found = measure(sample)
        drivers = [
            ("auto", found.auto, found.bound, found.rung),
            ("svd", found.svd, found.svd_bound, found.rung * 0 + Rung.SVD),
        ]
        for driver, error, bound, rung in drivers:
            share = error / bound
            worst = int(np.argmax(share))
            if not share[worst] <= 1:
                limit = np.broadcast_to(bound, error.shape)[worst]
                name = Rung(rung[worst]).name
                above.append(f"{sample}, {driver}, {name}: {error[worst]:.3g} > {limit:.3g}")
    assert not above, "\n".join(above)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.parametrize("cond", [1, 2, 4, 8, 30])
def test_inverses_in_single_precision_lose_no_more_than_an_svd(dtype, cond):
    """Pivots grow here, so that elimination alone errs by more."""
    a = Maker(1, 400, 400, dtype).of_values(np.linspace(1, 1 / cond, 400))[0].astype(dtype)
    exact = np.linalg.inv(a.astype(np.result_type(dtype, np.float64)))
    error = np.linalg.norm(pinv(a) - exact) / np.linalg.norm(exact)
    assert error <= 4 * np.finfo(dtype).eps * cond


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *(("repeated", "complex128"), ("zero", "float64"), ("graded", "float64")),
        *(("all but one", "float64"), ("Kahan", "float64")),
    ],
)
def test_columns_chosen_by_blocks_keep_the_error_bounds(kind, dtype):
    """Blocks are used from 512 columns on. In random matrices, any columns would do."""
    maker = Maker(1, 530, 520, dtype)
    whole = maker.of_values(np.linspace(1, 0.1, 520))
    place = maker.rng.permutation(520)
    if kind == "repeated":
        a, rank = whole[..., place % 50], 50
    elif kind == "zero":
        a, rank = whole * (place < 300), 300
    elif kind == "graded":
        a, rank = whole * np.where(place < 200, 10.0 ** (-place / 40), 0), 200
    elif kind == "all but one":
        others = np.where(place == 0, 0, whole)
        a, rank = np.where(place == 0, others.sum(-1, keepdims=True), others), 519
    else:
        diagonal, above = np.eye(100), np.triu(np.ones((100, 100)), 1)
        kahan = (0.98 ** np.arange(100))[:, None] * (diagonal - np.sqrt(1 - 0.98**2) * above)
        left, right = (maker.of_values(np.ones(520))[:, :n] for n in (530, 100))
        a, rank = left[..., :100] @ kahan @ right, 100
    found = measure(Sample(kind, a.astype(dtype), rank))
    assert (found.rung == Rung.PIVOTED).all()
    assert (found.auto <= found.bound).all()


@pytest.mark.skipif(not HAS_LANES, reason="no kernels in lanes for this processor")
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_rung_is_measured(dtype):
    reached = set()
    for shape in ((3, 3), (64, 64)):
        for sample in Maker(4, *shape, dtype).samples((1.0, 10.0)):
            reached.update(np.unique(measure(sample).rung))
    assert reached == set(Rung) - {Rung.NONE}


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(
    ("m", "n", "rank", "cond"),
    [(5, 5, 5, 10), (6, 6, 6, 1e12), (9, 4, 4, 1e8), (9, 5, 3, 1e3), (4, 9, 2, 10), (6, 6, 4, 1e6)],
)
def test_references_agree_with_those_of_60_digits(m, n, rank, cond, dtype):
    maker = Maker(1, m, n, dtype)
    a = maker.of_values(np.geomspace(1, 1 / cond, rank))
    if rank < min(m, n):
        a = a + maker.noise(a)
    exact = pinv_mp(a[0], rtol=1e-2 / cond if rank < min(m, n) else 0)
    assert exact.rank == rank
    found = find_pinv(a, rank).x
    high, low = (np.vectorize(mp.mpmathify, otypes=[object])(part[0]) for part in found)
    error = np.abs(((exact.x - high) - low).astype(complex))
    assert np.linalg.norm(error) < 1e-4 * maker.eps * cond * np.linalg.norm(found.high)
