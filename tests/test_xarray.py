"""Labelled arrays of xarray: through `apply_ufunc`, in memory and chunked by Dask."""

import numpy as np
import pytest
import xarray as xr

from batchpinv import pinv


def designs():
    a = np.random.default_rng(0).standard_normal((5, 4, 6, 3))
    return xr.DataArray(
        a, dims=("y", "x", "scan", "term"), coords={"y": range(5), "term": list("abc")}
    )


def invert(a):
    return xr.apply_ufunc(
        pinv,
        a,
        input_core_dims=[["scan", "term"]],
        output_core_dims=[["term", "scan"]],
        kwargs={"workers": 1},
        dask="parallelized",
        output_dtypes=[a.dtype],
    )


@pytest.mark.parametrize("chunks", [None, {"y": 2}])
def test_labels_and_chunks_are_kept(chunks):
    a = designs()
    x = invert(a if chunks is None else a.chunk(chunks))
    assert (x.chunks is None) == (chunks is None)
    assert x.dims == ("y", "x", "term", "scan")
    assert x.dtype == a.dtype
    assert list(x.coords["term"].values) == list("abc")
    np.testing.assert_array_equal(x.compute(), pinv(a.values))


def test_arrays_alone_give_arrays():
    a = designs()
    assert type(pinv(a)) is np.ndarray
    np.testing.assert_array_equal(pinv(a), pinv(a.values))
