"""Labelled arrays of xarray, in memory and chunked by Dask: directly, and by `apply_ufunc`."""

import numpy as np
import pytest
import xarray as xr

from batchpinv import lstsq, pinv


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


# Directly.


@pytest.mark.parametrize("chunks", [None, {"y": 2}])
def test_the_last_two_dimensions_are_exchanged(chunks):
    a = designs() if chunks is None else designs().chunk(chunks)
    x, rank = pinv(a, return_rank=True)
    assert isinstance(x, xr.DataArray)
    assert x.dims == ("y", "x", "term", "scan")
    assert rank.dims == ("y", "x")
    assert (x.chunks is None) == (rank.chunks is None) == (chunks is None)
    assert list(x.coords) == list(a.coords)
    assert list(rank.coords) == ["y"]
    np.testing.assert_array_equal(x.compute(), pinv(a.values))
    assert (rank == 3).all()


def test_one_labelled_matrix():
    a = designs()[0, 0]
    x, rank = pinv(a, return_rank=True)
    assert x.dims == ("term", "scan")
    assert rank == 3
    _, info = pinv(a, return_info=True)
    assert info.certain


def test_info_is_labelled():
    _, info = pinv(designs(), return_info=True)
    assert info.rank.dims == info.certain.dims == ("y", "x")
    assert bool(info.certain.all())
    assert sum(info.counts().values()) == 20


def test_tolerances_are_matched_by_name():
    a = designs()
    rtol = xr.DataArray([0.0, 0.9, 0.0, 0.9, 0.0], dims="y", coords={"y": range(5)})
    found = pinv(a, rtol=rtol)
    np.testing.assert_array_equal(found, pinv(a.values, rtol=rtol.values[:, None]))
    with pytest.raises(ValueError, match="rtol must have dimensions among"):
        pinv(a, rtol=xr.DataArray([0.1] * 3, dims="term"))
    with pytest.raises(ValueError, match="exact"):
        pinv(a, rtol=rtol.assign_coords(y=range(1, 6)))


def test_out_is_filled():
    a = designs()
    out = pinv(a) * 0
    assert pinv(a, out=out) is out
    np.testing.assert_array_equal(out, pinv(a.values))
    with pytest.raises(ValueError, match="out must have the dimensions"):
        pinv(a, out=a)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("dims", [("scan",), ("scan", "day"), ("day", "scan", "hour")])
def test_one_design_for_all_right_hand_sides(dims, chunked):
    """The dimensions of b may be in any order, and x has them in the same."""
    sizes = {"scan": 6, "day": 7, "hour": 2}
    b = np.random.default_rng(1).standard_normal([sizes[dim] for dim in dims])
    b = xr.DataArray(b, dims=dims, coords={dim: range(10, 10 + sizes[dim]) for dim in dims})
    a = designs()[0, 0].drop_vars("y").assign_coords(scan=range(10, 16))
    x, rank, residuals = lstsq(
        a, b.chunk(day=3) if chunked and "day" in dims else b,
        return_rank=True, return_residuals=True,
    )  # fmt: skip
    assert x.dims == tuple("term" if dim == "scan" else dim for dim in dims)
    assert rank == 3
    columns = b.transpose("scan", ...).values.reshape(6, -1)
    expected = lstsq(a.values, columns)
    found = x.transpose("term", ...).values.reshape(3, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert residuals.dims == tuple(dim for dim in dims if dim != "scan")
    left = ((a @ x - b) ** 2).sum("scan")
    np.testing.assert_allclose(residuals.transpose(*left.dims), left, rtol=1e-10)
    if "day" in dims:
        assert list(x.coords["day"].values) == list(b.coords["day"].values)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_design_for_each_pixel(chunked):
    a = designs()
    b = xr.DataArray(np.random.default_rng(1).standard_normal((4, 6, 5)), dims=("x", "scan", "y"))
    x = lstsq(a.chunk(y=2) if chunked else a, b)
    assert x.dims == ("x", "term", "y")
    assert (x.chunks is None) != chunked
    expected = lstsq(a.values, b.transpose("y", "x", "scan").values)
    np.testing.assert_allclose(x.transpose("y", "x", "term"), expected, rtol=1e-13)


def test_operands_that_do_not_fit_are_refused():
    a = designs()
    with pytest.raises(ValueError, match="b must have the dimension 'scan' of a"):
        lstsq(a, xr.DataArray(np.ones(6), dims="time"))
    with pytest.raises(ValueError, match="and not 'term'"):
        lstsq(a, xr.DataArray(np.ones((6, 3)), dims=("scan", "term")))
    with pytest.raises(ValueError, match="a must have two or more dimensions"):
        pinv(a[0, 0, 0])
    with pytest.raises(ValueError, match="a must have two or more dimensions"):
        lstsq(a[0, 0, 0], a[0, 0, 0])
    with pytest.raises(TypeError, match="lstsq of labelled arrays takes no out"):
        lstsq(a, a[..., 0], out=np.empty((5, 4, 3)))


def test_right_hand_sides_without_names():
    a, b = designs(), np.ones((5, 4, 6))
    np.testing.assert_array_equal(lstsq(a, b), lstsq(a.values, b))


def test_a_matrix_without_names_may_have_labelled_weights():
    a, weights = np.eye(3, 2), np.array([1.0, 4.0, 0.5])
    x = pinv(a, weights=xr.DataArray(weights, dims="scan"))
    np.testing.assert_array_equal(x, pinv(a, weights=weights))
