"""`RankWarning`: the default tolerance never silently drops what stands out from rounding."""

import re
import warnings

import numpy as np
import pytest
from cases import DTYPES
from compiled import compute

import batchpinv
from batchpinv import RankWarning, lstsq, pinv
from batchpinv.__main__ import main

SHAPES = [(100, 2), (2, 100), (200, 9), (400, 5), (100, 20), (64, 700), (3000, 30), (40000, 8)]


def with_values(shape, values, dtype, seed=0):
    """A matrix with these singular values, up to rounding."""
    rng = np.random.default_rng(seed)
    shorter, longer = min(shape), max(shape)
    is_complex = np.dtype(dtype).kind == "c"

    def basis(rows, columns):
        g = rng.standard_normal((rows, columns))
        return np.linalg.qr(g + 1j * rng.standard_normal(g.shape) if is_complex else g)[0]

    a = (basis(longer, shorter) * values) @ basis(shorter, shorter)
    return (a if shape[0] == longer else a.T).astype(dtype)


def warned(call, *arguments, **options):
    """The messages of the RankWarnings of a call, which must give no other warnings."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call(*arguments, **options)
    assert all(w.category is RankWarning and w.filename == __file__ for w in found)
    return [str(w.message) for w in found]


def sides(a):
    return np.ones((*a.shape[:-1], 1), a.dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_a_default_that_drops_what_stands_out_warns(shape, dtype):
    eps = np.finfo(dtype).eps
    shorter, longer = min(shape), max(shape)
    values = np.geomspace(1, 0.5, shorter)
    values[-1] = longer * eps / 2  # at least 50 eps
    a = with_values(shape, values, dtype)
    for call in lambda **o: pinv(a, **o), lambda **o: lstsq(a, sides(a), **o):
        (message,) = warned(call)
        assert f"rtol = {longer * eps:.3g} ({longer} eps), dropped 1 of the {shorter}" in message
        assert "the matrix" in message
        keeping = float(message.split("rtol=")[1].split()[0])
        *_, rank = call(rtol=keeping, return_rank=True)
        assert rank == shorter


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_dropping_what_rounding_leaves_does_not_warn(shape, dtype):
    rng = np.random.default_rng(1)
    a = rng.standard_normal(shape).astype(dtype)
    if shape[0] > shape[1]:
        a[:, -1] = a[:, 0]
    else:
        a[-1] = a[0]
    zero = np.zeros_like(a)
    of_lower_rank = with_values(shape, np.r_[np.ones(min(shape) - 1), 0], dtype)
    for given in a, zero, of_lower_rank, np.stack([zero, a, of_lower_rank]):
        assert not warned(pinv, given)
        assert not warned(lstsq, given, sides(given))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_given_tolerance_or_a_square_matrix_does_not_warn(dtype):
    a = with_values((200, 4), [1, 1, 1, 100 * np.finfo(dtype).eps], dtype)
    for options in {"rtol": 200 * np.finfo(dtype).eps}, {"rcond": 0.1}, {"atol": 0.1}, {"atol": 0}:
        assert not warned(pinv, a, **options)
        assert not warned(lstsq, a, sides(a), **options)
    square = with_values((40, 40), [*[1] * 39, 39 * np.finfo(dtype).eps], dtype)
    assert not warned(pinv, square)
    assert not warned(pinv, square + square.T.conj(), hermitian=True)


def test_only_values_that_stand_out_warn():
    """Values from noise to the tolerance: never below min(m, n) eps, always 100 eps above that."""
    eps = np.finfo(np.float32).eps
    for at, value in enumerate(np.geomspace(1, 2000, 300)):
        a = with_values((1000, 6), [1, 1, 0.5, 0.3, 0.1, value * eps], np.float32, at)
        s = np.linalg.svd(a.astype(float), compute_uv=False)
        found = bool(warned(pinv, a))
        assert found == bool(warned(lstsq, a, sides(a)))
        if s[-1] > 1001 * eps * s[0] or s[-1] < 6 * eps * s[0]:
            assert not found, value
        elif 106 * eps * s[0] < s[-1] < 999 * eps * s[0]:
            assert found, value


@pytest.mark.parametrize("driver", ["auto", "svd"])
def test_a_call_warns_once_and_names_the_first_matrix(driver):
    eps = np.finfo(np.float32).eps
    good = with_values((300, 3), [1, 0.5, 0.2], np.float32)
    cut = with_values((300, 3), [1, 0.5, 250 * eps], np.float32)
    stack = np.broadcast_to(good, (2, 50, 300, 3)).copy()
    stack[1, 7] = stack[1, 30] = cut
    for call in (
        lambda: pinv(stack, driver=driver),
        lambda: lstsq(stack, np.ones((300, 2), np.float32), driver=driver),
        lambda: lstsq(stack, np.ones((300, 500), np.float32), driver=driver),
    ):
        (message,) = warned(call)
        assert "of matrix (1, 7) that" in message
    (message,) = warned(pinv, stack[1])
    assert "of matrix 7 that" in message
    (message,) = warned(lstsq, cut, np.ones((300, 900), np.float32))
    assert "of the matrix that" in message


def test_one_value_that_stands_out_is_found_among_ten_thousand_suspects():
    """The pivoted columns make all matrices suspect; the singular values of most clear them."""
    rng = np.random.default_rng(3)
    eps = np.finfo(np.float32).eps
    stack = np.tile(rng.standard_normal((60, 8)), (10_000, 1, 1))
    stack[..., 4:] = stack[..., :4]
    stack += 2 * eps * rng.standard_normal(stack.shape)
    assert not warned(pinv, stack.astype(np.float32))
    stack[9_999] += 20 * eps * rng.standard_normal((60, 8))
    (message,) = warned(pinv, stack.astype(np.float32))
    assert "of matrix 9999 that" in message


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1000, 60), (100, 700)], ids=["1000x60", "100x700"])
def test_after_an_svd_the_warning_needs_no_second_computation(shape, dtype, monkeypatch):
    """Singular values that leave no gap, down to rounding."""
    from batchpinv._libraries import _numpy

    eps, shorter = np.finfo(dtype).eps, min(shape)
    values = np.geomspace(1, eps / 10, shorter)
    a = with_values(shape, values, dtype, 5)
    _, info = pinv(a, rtol=max(shape) * eps, return_info=True)
    assert info.rung == batchpinv.Rung.SVD
    *_, most = pinv(a, rtol=shorter * eps, return_rank=True)
    monkeypatch.delattr(_numpy, "lstsq")  # which would compute it again
    (message,) = warned(pinv, a)
    words = message.split()
    dropped, standing = (
        int(words[words.index("dropped") + 1]),
        int(words[words.index("the", 8) + 1]),
    )
    assert standing - dropped == info.rank
    assert info.rank < standing <= most


def test_the_warning_of_a_long_regression_says_what_keeps_the_values():
    rng = np.random.default_rng(4)
    a = (100 + rng.standard_normal((300_000, 40))).astype(np.float32)
    (message,) = warned(lstsq, a, np.ones(300_000, np.float32))
    assert "rtol = 0.0358 (300000 eps), dropped 39 of the 40 singular values" in message
    assert "rtol=4.76e-06 keeps them; float64 keeps their digits, too" in message


def test_the_tolerance_that_it_names_keeps_a_value_just_above_it():
    """17 eps are 2.0266e-06 in float32."""
    eps = np.finfo(np.float32).eps
    values = np.array([1 / eps] * 4 + [30, 19.1, 17.02] + [8] * 10) * eps
    a = with_values((17, 5000), values, np.float32)
    with pytest.warns(RankWarning) as found:
        pinv(a)
    [named] = re.findall(r"rtol=(\S+) keeps", str(found[0].message))
    assert 2.015e-06 < float(named) <= 17 * eps


def test_a_warning_made_an_error_is_raised_after_all_is_computed():
    eps = np.finfo(np.float32).eps
    a = with_values((300, 3), [1, 0.5, 150 * eps], np.float32)
    out = np.full((3, 300), np.nan, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RankWarning):
            pinv(a, out=out)
    assert np.array_equal(out, pinv(a, rtol=300 * eps))
    assert issubclass(RankWarning, np.exceptions.RankWarning)


def test_compiled_code_reports_no_failure_for_it():
    eps = np.finfo(np.float32).eps
    a = with_values((300, 3), [1, 0.5, 150 * eps], np.float32)[None]
    failed, x, rank, status = compute(a)
    assert (failed, rank, status) == (0, 2, 0)
    assert np.array_equal(x, pinv(a, rtol=300 * eps))


def test_compat_functions_do_not_warn():
    from batchpinv.compat import numpy as as_numpy
    from batchpinv.compat import scipy as as_scipy

    eps = np.finfo(np.float32).eps
    a = with_values((300, 3), [1, 0.5, 150 * eps], np.float32)
    assert not warned(as_numpy.pinv, a)
    assert not warned(as_numpy.pinv, a, rtol=None)
    assert not warned(as_numpy.matrix_rank, a)
    assert not warned(as_scipy.pinv, a)
    assert not warned(as_scipy.lstsq, a, sides(a))


def test_tensors_of_pytorch_warn_and_its_compat_functions_do_not():
    torch = pytest.importorskip("torch")
    from batchpinv.compat.torch import linalg

    eps = np.finfo(np.float32).eps
    a = torch.from_numpy(with_values((300, 3), [1, 0.5, 150 * eps], np.float32))
    b = torch.ones(300, 1)
    assert len(warned(pinv, a)) == 1
    assert len(warned(lstsq, a, b)) == 1
    assert len(warned(pinv, a.clone().requires_grad_())) == 1
    assert not warned(linalg.pinv, a)
    assert not warned(linalg.lstsq, a, b)


def test_lazy_arrays_warn_when_they_are_computed():
    eps = np.finfo(np.float32).eps
    a = with_values((300, 3), [1, 0.5, 150 * eps], np.float32)
    da = pytest.importorskip("dask.array")
    lazy = batchpinv.pinv(da.from_array(a[None].repeat(4, 0), chunks=(2, 300, 3)))
    with pytest.warns(RankWarning):
        lazy.compute(scheduler="synchronous")


def test_arrays_of_jax_warn_outside_jit_and_its_compat_functions_do_not():
    jax = pytest.importorskip("jax")
    eps = np.finfo(np.float32).eps
    a = jax.numpy.asarray(with_values((300, 3), [1, 0.5, 150 * eps], np.float32))
    assert len(warned(pinv, a)) == 1
    assert not warned(jax.jit(pinv), a)
    from batchpinv.compat import jax as as_jax

    assert not warned(as_jax.pinv, a)


def test_the_command_line_prints_the_warning(tmp_path, capsys):
    a = with_values((300, 3), [1, 0.5, 150 * np.finfo(np.float32).eps], np.float32)
    np.save(tmp_path / "a.npy", a)
    given = [str(tmp_path / name) for name in ("a.npy", "x.npy")]
    assert main(given) == 0
    said = capsys.readouterr().err
    assert said.startswith("batchpinv: warning: the default tolerance, rtol = 3.58e-05 (300 eps)")
    assert "--rtol 3.57e-07 keeps them" in said
    assert main([*given, "--rtol", "3.57e-07"]) == 0
    assert not capsys.readouterr().err
