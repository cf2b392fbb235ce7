"""Sizes beyond 32-bit integers, as far as they fit into a small machine; big.py has larger ones."""

import big
import numpy as np
import pytest

from batchpinv import lstsq, pinv


def test_the_large_run_passes_at_a_hundredth_of_its_size(tmp_path):
    big.run(tmp_path, 0.01)


def test_strides_may_be_2_to_the_31_bytes():
    """In `a` and in `out`: one matrix at each end of a large array, of which the rest is unused."""
    a = np.zeros((2**25 + 1, 8, 8), np.int8)
    a[-1] = np.random.default_rng(0).integers(-9, 9, (8, 8))
    ends = a[:: 2**25]
    assert ends.strides[0] == 2**31
    assert np.array_equal(pinv(ends)[1], pinv(a[-1].copy()))
    room = np.zeros(2**28 + 64)  # of which only the pages at its ends are ever touched
    out = np.lib.stride_tricks.as_strided(room, (2, 8, 8), (2**31, 64, 8))
    assert pinv(ends, out=out) is out
    assert np.array_equal(out[1], pinv(a[-1].copy()))


# The number of elements of the matrix, of its rows or of a workspace is past 2^31.
@pytest.mark.parametrize(
    "shape", [(2**31, 1), (1, 2**31), (46341, 46341), (2**16, 2**15), (2**40, 2), (2**30, 3)]
)
def test_what_lapack_cannot_count_is_refused_before_any_work(shape):
    a = np.ndarray(shape, np.float32, np.ones(1, np.float32), strides=(0, 0))
    b = np.ndarray(shape[:1], np.float32, np.ones(1, np.float32), strides=(0,))
    for call in (lambda: pinv(a), lambda: lstsq(a, b)):
        with pytest.raises(ValueError, match="need LAPACK integers up to"):
            call()
