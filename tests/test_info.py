"""`return_info` says which rung answered each matrix, and its rank."""

import numpy as np
import pytest

from batchpinv import Info, Rung, pinv, show_config

LANES = show_config("dicts")["simd"]["own kernels"] != "none"
NEAR = np.diag([1.0, 1, 1, 1e-15])  # its last singular value is near the tolerance


def normal(*shape):
    return np.random.default_rng(3).standard_normal(shape)


def check_rungs(a, expected, **options):
    x, info = pinv(a, return_info=True, **options)
    y, rank = pinv(a, return_rank=True, **options)
    assert isinstance(info, Info)
    assert x.tobytes() == y.tobytes()
    assert np.array_equal(info.rank, rank)
    assert np.array_equal(info.rung, expected)
    return info


def test_small_matrices():
    a = np.stack([normal(4, 4), np.ones((4, 4)), np.diag([1.0, 1, 1, 1e-9]), NEAR])
    expected = [Rung.QR_LANES, Rung.PIVOTED_LANES, Rung.SVD_LANES, Rung.SVD]
    if not LANES:
        expected = [Rung.DIRECT, Rung.PIVOTED, Rung.SVD, Rung.SVD]
    info = check_rungs(a, expected, rtol=[1e-12, 1e-12, 1e-6, 1e-15])
    assert info.counts() == {rung: expected.count(rung) for rung in expected}


@pytest.mark.parametrize("shape", [(96, 96), (200, 60), (60, 200)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_large_matrices(shape, dtype):
    a = np.stack([normal(*shape), np.ones(shape), np.ones(shape)]).astype(dtype)
    check_rungs(a, [Rung.DIRECT, Rung.PIVOTED, Rung.SVD], rtol=[1e-6, 1e-5, 1e-20])


def test_driver_svd():
    check_rungs(normal(5, 3, 3), [Rung.SVD] * 5, driver="svd")


def test_one_matrix():
    info = check_rungs(normal(96, 96), Rung.DIRECT)
    assert type(info.rung) is Rung
    assert info.counts() == {Rung.DIRECT: 1}


def test_batch_dimensions_and_broadcast_tolerances():
    a = normal(2, 1, 96, 96)
    info = check_rungs(a, np.full((2, 3), [Rung.DIRECT, Rung.DIRECT, Rung.SVD]), atol=[0, 1e-9, 1])
    assert info.rung.dtype == np.uint8


def test_failed_matrices_ended_on_the_last_rung():
    a = normal(3, 4, 4)
    a[1, 0, 0] = np.nan
    info = pinv(a, return_info=True, on_failure="nan")[1]
    assert info.rung[1] == Rung.SVD
    assert info.rank.tolist() == [4, -1, 4]


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 3), (2, 3, 0)])
def test_nothing_to_compute(shape):
    info = check_rungs(np.ones(shape), np.full(shape[:-2], Rung.NONE))
    assert set(info.counts()) <= {Rung.NONE}


def test_not_together_with_the_rank_alone():
    with pytest.raises(ValueError, match="give one of return_rank and return_info"):
        pinv(normal(3, 3), return_rank=True, return_info=True)
