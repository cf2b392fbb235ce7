"""Dask's arrays: lazy, one task for each chunk, the bits of the whole stack."""

import dask
import dask.array as da
import numpy as np
import pytest

from batchpinv import LinAlgError, Rung, lstsq, pinv
from batchpinv._libraries import _numpy

DTYPES = ["float32", "float64", "complex64", "complex128"]


def normal(*shape, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return a.astype(dtype) if np.dtype(dtype).kind == "c" else a.real.astype(dtype)


def stack(*shape, chunks, dtype="float64", seed=0):
    """Normal matrices, one of which has rank 1, in NumPy and in Dask."""
    a = normal(*shape, dtype=dtype, seed=seed)
    if a.ndim > 2 and a.size:
        a[..., -1, :, :] = 1
    return a, da.from_array(a, chunks=chunks)


def assert_same(lazy, expected, rtol=0):
    """Shape, dtype and meta are right, and so are the values: bit for bit if rtol is 0."""
    assert isinstance(lazy, da.Array)
    assert lazy.shape == expected.shape
    assert lazy.dtype == expected.dtype
    assert lazy._meta.dtype == expected.dtype
    assert lazy._meta.ndim == expected.ndim
    found = lazy.compute()
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol, atol=rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((7, 4, 3), (3, 4, 3)),
        ((7, 3, 4), (1, 3, 4)),
        ((4, 3, 5, 5), (2, 2, 5, 5)),
        ((3, 2), (3, 2)),
        ((0, 3, 2), (1, 3, 2)),
        ((3, 0, 2), (2, 1, 2)),
    ],
)
def test_answers_are_those_of_the_whole_stack(shape, chunks, dtype):
    a, lazy = stack(*shape, chunks=chunks, dtype=dtype)
    x, rank = pinv(a, return_rank=True)
    assert_same(pinv(lazy), x)
    lazy_x, lazy_rank = pinv(lazy, return_rank=True)
    assert_same(lazy_x, x)
    assert_same(lazy_rank, np.asarray(rank))
    assert lazy_x.chunks[:-2] == lazy_rank.chunks == lazy.chunks[:-2]


def test_nothing_is_computed_until_it_is_asked_for():
    def fail(block):
        raise AssertionError("computed")

    a = da.ones((6, 3, 2), chunks=(2, 3, 2)).map_blocks(fail, dtype=float, meta=np.empty((0, 0, 0)))
    for lazy in (*pinv(a, return_rank=True), lstsq(a, np.ones(3))):
        with pytest.raises(AssertionError, match="computed"):
            lazy.compute()


def test_results_together_take_one_pass():
    a, lazy = stack(8, 4, 3, chunks=(2, 4, 3))
    calls = []

    def count(block):
        calls.append(len(block))
        return block

    counted = lazy.map_blocks(count, dtype=float, meta=np.empty((0, 0, 0)))
    x, info = pinv(counted, return_info=True)
    x, rank, rung = dask.compute(x, info.rank, info.rung)
    assert calls == [2] * 4
    expected, expected_info = pinv(a, return_info=True)
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(rank, expected_info.rank)
    np.testing.assert_array_equal(rung, expected_info.rung)
    assert set(rung) == {Rung.QR_LANES, Rung.PIVOTED_LANES}


def test_info_tells_which_ranks_are_certain():
    """If the tolerance is 0, not those of singular matrices, unless rows are zero or equal."""
    a = np.stack([np.eye(2), [[3.0, 7], [9, 21]], [[1, 0.5], [0.5, 0.25]], np.eye(2)])
    info = pinv(da.from_array(a, chunks=(2, 2, 2)), rtol=0, return_info=True)[1]
    assert info.certain.compute().tolist() == [True, False, False, True]
    one = pinv(da.from_array(a[1], chunks=(2, 2)), rtol=0, return_info=True)[1]
    assert not one.certain.compute()


def test_systems_tell_rank_and_rung():
    a, lazy = stack(8, 4, 3, chunks=(2, 4, 3))
    for sides in np.ones((8, 4)), np.ones((8, 4, 2)):
        given = da.from_array(sides, chunks=(2, *sides.shape[1:]))
        x, info, residuals = lstsq(lazy, given, return_info=True, return_residuals=True)
        expected = lstsq(a, sides, return_info=True, return_residuals=True)
        np.testing.assert_array_equal(x, expected[0])
        for found, wanted in zip(info, expected[1], strict=True):
            np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(residuals, expected[2])


def test_info_counts_rungs():
    _, info = pinv(stack(8, 4, 3, chunks=(2, 4, 3))[1], return_info=True)
    assert info.counts() == {Rung.QR_LANES: 7, Rung.PIVOTED_LANES: 1}


def test_one_result_is_one_layer_that_dask_can_fuse():
    lazy = stack(8, 4, 3, chunks=(2, 4, 3))[1]
    [fused] = dask.optimize(pinv(lazy + 1) + 1)
    assert len(fused.dask) <= 2 * lazy.npartitions  # the chunks of the source, and one task each


def test_flags_are_handed_on():
    a, lazy = stack(5, 4, 4, chunks=(2, 4, 4))
    options = {"hermitian": True, "lower": False, "driver": "svd"}
    assert_same(pinv(lazy, **options), pinv(a, **options))
    assert_same(pinv(lazy, 0.5), pinv(a, 0.5))
    assert_same(pinv(lazy, atol=0.7, rtol=0.1), pinv(a, atol=0.7, rtol=0.1))


@pytest.mark.parametrize("lazily", [False, True])
@pytest.mark.parametrize("shape", [(6,), (1,), (2, 1), (2, 6)])
def test_tolerance_arrays_broadcast_both_ways(shape, lazily):
    a, lazy = stack(6, 4, 3, chunks=(4, 4, 3))
    rtol = np.linspace(0.1, 0.9, np.prod(shape)).reshape(shape)
    given = da.from_array(rtol, chunks=5) if lazily else rtol
    x, rank = pinv(a, rtol=rtol, return_rank=True)
    lazy_x, lazy_rank = pinv(lazy, rtol=given, return_rank=True)
    assert_same(lazy_x, x)
    assert_same(lazy_rank, rank)
    assert_same(pinv(lazy[0], atol=given), pinv(a[0], atol=rtol))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("a_shape", "a_chunks", "b_shape", "b_chunks"),
    [
        # Only the last three are cut between the columns of a system, which can change its bits.
        ((7, 4, 3), (3, 4, 3), (7, 4), (2, 4)),
        ((7, 4, 3), (3, 4, 3), (4,), (4,)),
        ((5, 1, 4, 3), (2, 1, 4, 3), (6, 4, 2), (4, 4, 2)),
        ((5, 5, 3), (2, 5, 3), (5, 5), (2, 5)),
        ((4, 3), (4, 3), (4,), (4,)),
        ((7, 3, 4), (3, 3, 4), (7, 3, 5), (7, 3, 2)),
        ((4, 3), (4, 3), (4, 10), (4, 3)),
        ((4, 3), (4, 3), (5, 4, 2), (2, 4, 1)),
    ],
)
def test_solutions_are_those_of_the_whole_stack(a_shape, a_chunks, b_shape, b_chunks, dtype):
    a, lazy_a = stack(*a_shape, chunks=a_chunks, dtype=dtype)
    b = normal(*b_shape, dtype=dtype, seed=1)
    lazy_b = da.from_array(b, chunks=b_chunks)
    x, rank, residuals = lstsq(a, b, return_rank=True, return_residuals=True)
    found = lstsq(lazy_a, lazy_b, return_rank=True, return_residuals=True)
    cut = len(lazy_b.chunks[-1]) > 1
    rtol = 1000 * np.finfo(dtype).eps if cut else 0
    for lazy, expected in zip(found, (x, rank, residuals), strict=True):
        assert_same(lazy, np.asarray(expected), rtol)
    assert_same(lstsq(lazy_a, lazy_b), x, rtol)
    assert_same(lstsq(lazy_a, lazy_b, return_rank=True)[1], np.asarray(rank))
    assert_same(lstsq(lazy_a, lazy_b, return_residuals=True)[1], np.asarray(residuals), rtol)


def test_systems_may_be_partly_of_numpy():
    a, lazy = stack(6, 4, 3, chunks=(4, 4, 3))
    b = normal(6, 4, dtype="float32")
    assert_same(lstsq(lazy, b), lstsq(a, b))
    assert_same(lstsq(a, da.from_array(b, chunks=(2, 4))), lstsq(a, b))
    assert_same(lstsq(a[0], da.from_array(b.T, chunks=(4, 6))), lstsq(a[0], b.T))
    rtol = np.linspace(0.1, 0.9, 6)
    assert_same(lstsq(lazy, b, rtol=rtol), lstsq(a, b, rtol=rtol))


def test_chunks_of_unknown_length_are_computed():
    _, lazy = stack(9, 4, 3, chunks=(3, 4, 3))
    kept = np.array([True, False, True] * 3)
    for chosen in (lazy[da.from_array(kept, chunks=3)], lazy[da.from_array(~kept, chunks=3)]):
        x, rank = pinv(chosen, return_rank=True)
        assert np.isnan(x.shape[0])
        expected, expected_rank = pinv(chosen.compute(), return_rank=True)
        np.testing.assert_array_equal(x.compute(), expected)
        np.testing.assert_array_equal(rank.compute(), expected_rank)
        sides = chosen.sum(axis=-1)
        solutions = lstsq(chosen, sides).compute()
        np.testing.assert_array_equal(solutions, lstsq(chosen.compute(), sides.compute()))


def test_each_task_has_one_worker_unless_told_otherwise(monkeypatch):
    seen = []

    def spy(plan_workers):
        def plan(*arguments):
            seen.append(arguments[-1])
            return plan_workers(*arguments)

        return plan

    monkeypatch.setattr(_numpy, "make_plan", spy(_numpy.make_plan))
    lazy = stack(6, 4, 3, chunks=(2, 4, 3))[1]
    pinv(lazy).compute()
    assert seen == [1] * 3
    lstsq(lazy, np.ones(4)).compute()
    assert seen == [1] * 6
    pinv(lazy, workers=2).compute()
    assert seen[6:] == [2] * 3


def test_failures_are_named_by_their_index_in_the_whole_batch():
    a, _ = stack(9, 2, 4, 3, chunks=-1)
    a[7, 1, 0, 0] = np.nan
    lazy = da.from_array(a, chunks=(3, 1, 4, 3))
    for call in (pinv(lazy), pinv(lazy, return_rank=True)[1], lstsq(lazy, np.ones(4))):
        with pytest.raises(
            LinAlgError, match=r"begins at \(6, 1\): .*batch index \(1, 0\)"
        ) as caught:
            call.compute()
        assert [int(i[0]) for i in caught.value.indices] == [7, 1]
        assert np.isnan(a[caught.value.indices]).any()
    x, rank = dask.compute(*pinv(lazy, on_failure="nan", return_rank=True))
    np.testing.assert_array_equal(x, pinv(a, on_failure="nan"))
    assert rank[7, 1] == -1


def test_failures_of_one_matrix_and_of_chunks_of_unknown_length():
    a = np.ones((4, 3, 2))
    a[3, 0, 0] = np.inf
    with pytest.raises(LinAlgError, match=r"^no pseudo-inverse for 1 of 1"):
        pinv(da.from_array(a[3])).compute()
    lazy = da.from_array(a, chunks=(2, 3, 2))
    with pytest.raises(LinAlgError, match=r"begins at an unknown index: .*batch index 1"):
        pinv(lazy[da.ones(4, chunks=2) > 0]).compute()
    with pytest.raises(LinAlgError, match=r"begins at 2: .*batch index 1") as caught:
        pinv(lazy).compute()
    assert caught.value.indices[0].tolist() == [3]


class Quantity(np.ndarray):
    unit = "m"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a: pinv(a.rechunk((2, 2, 3))), ValueError, r"a.rechunk\(\{1: -1, 2: -1"),
        (lambda a: pinv(a.rechunk((2, 4, 1))), ValueError, r"a must lie in one chunk"),
        (lambda a: lstsq(a, da.ones(4, chunks=2)), ValueError, r"b must .* b.rechunk\(\{0: -1"),
        (lambda a: lstsq(a, da.ones((4, 5), chunks=2)), ValueError, r"b.rechunk\(\{0: -1\}\)"),
        (lambda a: pinv(a[:, a[0, :, 0] > 0]), ValueError, "unknown size.*a.compute_chunk_sizes"),
        (lambda a: pinv(a[0, 0]), ValueError, "two or more dimensions"),
        (lambda a: lstsq(a[0, 0], np.ones(3)), ValueError, "two or more dimensions"),
        (lambda a: lstsq(a, np.ones(3)), ValueError, r"shape \(3,\), a has \(5, 4, 3\)"),
        (lambda a: pinv(a.astype(np.float16)), TypeError, "a has dtype float16"),
        (lambda a: pinv(a, hermitian=True), ValueError, r"square.* a has shape \(5, 4, 3\)"),
        (lambda a: lstsq(a, np.ones(4), hermitian=True), ValueError, r"square.*\(5, 4, 3\)"),
        (lambda a: lstsq(a, np.ones((3, 4, 2))), ValueError, r"is \(5,\), that of b is \(3,\)"),
        (lambda a: lstsq(a, np.ma.array([1.0] * 4, mask=True)), TypeError, "b is a masked array"),
        (lambda a: lstsq(a, np.ones(4).view(Quantity)), TypeError, r"b has units \(m\)"),
        (lambda a: pinv(a, driver="qr"), ValueError, "driver must be"),
        (lambda a: pinv(a, workers=0), ValueError, "workers must be"),
        (lambda a: pinv(a, rtol=0.1, rcond=0.1), ValueError, "one of them, not both"),
        (lambda a: pinv(a, rtol=da.ones(5), rcond=0.1), ValueError, "one of them, not both"),
        (lambda a: pinv(a, rtol=-1), ValueError, "at least 0"),
        (lambda a: pinv(a, rtol=[0.1, -1, 0, 0, 0]), ValueError, "at least 0"),
        (lambda a: pinv(a, rtol=np.ones(4)), ValueError, r"atol has shape \(\), rtol has \(4,\)"),
        (lambda a: pinv(a, rcond=np.ones(4)), ValueError, r"atol .* \(\), rtol has \(4,\)"),
        (lambda a: pinv(a, atol=np.ones(4)), ValueError, r"atol has shape \(4,\), rtol has \(\)"),
        (lambda a: pinv(a, rtol="much"), TypeError, "rtol must be a real number"),
        (lambda a: pinv(a, out=a), TypeError, "dask.array.store"),
        (lambda a: pinv(a, progress=True), ValueError, "dask.diagnostics"),
    ],
)  # fmt: skip
def test_wrong_calls_raise_at_once(call, error, message):
    lazy = stack(5, 4, 3, chunks=(2, 4, 3))[1]
    with pytest.raises(error, match=message):
        call(lazy)


def test_the_advice_of_messages_works():
    a, _ = stack(6, 4, 4, chunks=-1)
    lazy = da.from_array(a, chunks=(2, 2, 2))
    assert_same(pinv(lazy.rechunk({1: -1, 2: -1})), pinv(a))
    unknown = lazy[:, da.ones(4, chunks=2) > 0]
    assert_same(pinv(unknown.compute_chunk_sizes().rechunk({1: -1, 2: -1})), pinv(a))


def test_bad_values_of_a_lazy_tolerance_are_found_by_its_task():
    lazy = stack(5, 4, 3, chunks=(2, 4, 3))[1]
    x = pinv(lazy, rtol=da.from_array([0.1, 0.1, 0.1, -1, 0.1], chunks=2))
    with pytest.raises(ValueError, match="at least 0"):
        x.compute()


def test_equal_calls_have_equal_names():
    lazy = stack(5, 4, 3, chunks=(2, 4, 3))[1]
    assert pinv(lazy, 0.1).name == pinv(lazy, 0.1).name
    assert pinv(lazy, 0.1).name != pinv(lazy, 0.2).name
    assert pinv(lazy).name.startswith("pinv")


def test_chunks_may_be_sliced_and_persisted():
    a, lazy = stack(9, 4, 3, chunks=(2, 4, 3))
    x = pinv(lazy.persist())[3:8:2, :, 1]
    assert_same(x, pinv(a)[3:8:2, :, 1])


def test_progress_bars_of_dask_see_the_tasks(capsys):
    from dask.diagnostics import ProgressBar

    with ProgressBar():
        pinv(stack(5, 4, 3, chunks=(2, 4, 3))[1]).compute()
    assert "100% Completed" in capsys.readouterr().out


def test_chunks_of_other_libraries_stay_what_they_are():
    class Meta(np.ndarray):
        pass

    a = normal(4, 3, 2).view(Meta)
    lazy = da.from_array(a, chunks=(2, 3, 2), asarray=False)
    assert type(pinv(lazy)._meta) is Meta
    assert type(pinv(lazy).blocks[0].compute()) is Meta


def test_info_of_one_matrix():
    a, b = normal(4, 3), normal(4)
    _, info = pinv(da.from_array(a), return_info=True)
    _, same, residual = lstsq(da.from_array(a), b, return_info=True, return_residuals=True)
    for found in (info, same):
        assert found.rung.compute() == Rung.QR_LANES
        assert found.rung.compute().dtype == found.rung.dtype == np.uint8
        assert found.rank.compute() == 3
        assert found.certain.compute()
        assert found.counts() == {Rung.QR_LANES: 1}
    assert residual.compute() == lstsq(a, b, return_residuals=True)[1]
