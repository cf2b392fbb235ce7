"""Arrays of the array API's strict implementation: in and out through DLPack, without a copy."""

import array_api_strict as xp
import numpy as np
import pytest

from batchpinv import Rung, lstsq, pinv

DTYPES = [xp.float32, xp.float64, xp.complex64, xp.complex128]


def normal(*shape, dtype=xp.float64):
    rng = np.random.default_rng(0)
    a = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return xp.asarray(a.astype(dtype._np_dtype) if "complex" in str(dtype) else a.real, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 4, 2), (2, 5), (0, 3, 3)])
def test_answers_equal_those_of_an_ndarray_of_the_same_memory(shape, dtype):
    a = normal(*shape, dtype=dtype)
    expected, expected_rank = pinv(np.from_dlpack(a), return_rank=True)
    x, rank = pinv(a, return_rank=True)
    assert type(x) is type(rank) is type(a)
    assert x.dtype == dtype
    np.testing.assert_array_equal(np.from_dlpack(x), expected)
    np.testing.assert_array_equal(np.from_dlpack(rank), expected_rank)


def test_out_and_tolerances_may_be_arrays_of_the_same_library():
    a, out = normal(2, 4, 3), xp.zeros((2, 3, 4))
    rtol = xp.asarray([0.1, 0.9])
    assert pinv(a, rtol=rtol, out=out) is out
    expected = pinv(np.from_dlpack(a), rtol=np.from_dlpack(rtol))
    np.testing.assert_array_equal(np.from_dlpack(out), expected)


def test_info_tells_rank_and_rung():
    _, info = pinv(normal(2, 4, 3), return_info=True)
    assert type(info.rank) is type(normal(1, 1))
    assert info.counts() == {Rung.QR_LANES: 2}
    assert type(info.rung) is type(info.certain) is type(info.rank)
    assert np.from_dlpack(info.certain).tolist() == [True, True]
    assert pinv(normal(4, 3), return_info=True)[1][1:] == (Rung.QR_LANES, True)


def test_other_devices_are_refused_not_moved():
    class Elsewhere:
        def __array_namespace__(self):
            return xp

        def __dlpack_device__(self):
            return 10, 0  # ROCm

    with pytest.raises(TypeError, match=r"a is a \S+Elsewhere outside the CPU's memory .*type 10"):
        pinv(Elsewhere())


@pytest.mark.parametrize("dtype", DTYPES)
def test_lstsq_answers_in_arrays_of_the_same_library(dtype):
    a, b = normal(3, 4, 2, dtype=dtype), normal(4, 2, dtype=dtype)
    expected = lstsq(np.from_dlpack(a), np.from_dlpack(b), return_rank=True, return_residuals=True)
    found = lstsq(a, b, return_rank=True, return_residuals=True)
    for given, numbers in zip(found, expected, strict=True):
        assert type(given) is type(a)
        np.testing.assert_array_equal(np.from_dlpack(given), numbers)
    out = xp.zeros((3, 2, 2), dtype=dtype)
    assert lstsq(a, np.from_dlpack(b), out=out) is out
    np.testing.assert_array_equal(np.from_dlpack(out), expected[0])


ELSEWHERE = xp.Device("device1")


@pytest.mark.parametrize("shape", [(2, 4, 3), (4, 3)])
def test_results_are_on_the_device_of_the_input(shape):
    a = normal(*shape)
    moved, b = a.to_device(ELSEWHERE), xp.ones(4, device=ELSEWHERE)
    results = [
        *pinv(moved, return_rank=True),
        *lstsq(moved, b, return_rank=True, return_residuals=True),
        *lstsq(np.from_dlpack(a), b, return_rank=True, return_residuals=True),
    ]
    assert [part.device for part in results] == [ELSEWHERE] * 8
    x, info = pinv(moved, return_info=True)
    np.testing.assert_array_equal(np.from_dlpack(x), pinv(np.from_dlpack(a)))
    assert info.counts() == {Rung.QR_LANES: shape[0] if len(shape) == 3 else 1}
    assert len(shape) == 2 or info.rung.device == info.certain.device == ELSEWHERE


def test_arrays_on_different_devices_are_refused():
    a, b, out = normal(4, 3), normal(4), xp.zeros((3, 4))
    moved = a.to_device(ELSEWHERE)
    for call, names in [
        (lambda: lstsq(moved, b), "a is on .*device1.*, and b is on .*CPU"),
        (lambda: pinv(moved, out=out), "a is on .*device1.*, and out is on .*CPU"),
        (lambda: pinv(moved, atol=xp.asarray(0.1)), "atol is on"),
        (lambda: lstsq(np.ones((4, 3)), b, out=xp.zeros(3, device=ELSEWHERE)), "b is .*CPU.* out"),
    ]:
        with pytest.raises(ValueError, match=names):
            call()
