"""Calls of a few small ndarrays take a short way (`_small`), but return and raise the same."""

import numpy as np
import pytest
from cases import same_bits

import batchpinv
from batchpinv import _small

HAS_LANES = batchpinv.show_config("dicts")["simd"]["own kernels"] != "none"
DTYPES = ["f", "d", "F", "D"]
SMALL = [(1, 1), (2, 2), (3, 3), (1, 7), (6, 3), (3, 6), (6, 7), (8, 8), (20, 6), (6, 20), (31, 8)]
SMALL += [(12, 12), (3, 86), (200, 8), (1, 2048)]
# Those that may need LAPACK. One is brief; nine are, if they have 8192 entries at most.
LARGER = [(25, 25), (32, 32), (48, 48), (64, 64), (128, 64), (100, 20), (20, 100), (1000, 8)]
LARGER += [(2049, 1), (60, 50)]
SHAPES = [*SMALL, *LARGER, (16, 16), (17, 17), (65, 65), (8193, 1)]


class Elsewhere:
    """Takes the place of `_small`, and accepts no call."""

    @staticmethod
    def pinv(*_):
        return None

    lstsq = pinv


@pytest.fixture
def usual(monkeypatch):
    """Calls a function without the short way."""

    def call(function, *arguments, **options):
        with monkeypatch.context() as patch:
            patch.setattr(f"batchpinv._{function.__name__}._small", Elsewhere)
            patch.setattr("batchpinv._libraries._numpy._small", Elsewhere)
            return function(*arguments, **options)

    return call


def draw(rng, dtype, *shape):
    a = rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if dtype in "FD" else 0)
    kind = rng.random()
    if kind < 0.2:  # of lower rank
        a[..., -1] = a[..., 0]
    elif kind < 0.5:  # without a gap
        a = a * 2.0 ** -np.linspace(0, 70, shape[-1])
    return a.astype(dtype)


def laid_out(rng, a):
    """The same numbers in some other layout."""
    kind = rng.integers(5)
    if kind == 1:
        a = np.asfortranarray(a)
    if kind == 2:
        a = np.repeat(a, 2, axis=-1)[..., ::2]
    if kind == 3:
        a = np.ascontiguousarray(a[..., ::-1, :])[..., ::-1, :]
    if kind == 4:
        memory = np.empty(a.nbytes + 1, np.uint8)
        memory[1:] = np.frombuffer(a.tobytes(), np.uint8)
        a = memory[1:].view(a.dtype).reshape(a.shape)
    return a


@pytest.mark.filterwarnings("ignore::batchpinv.RankWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_bits_are_those_of_the_usual_way(m, n, dtype, usual):
    rng = np.random.default_rng([m, n, DTYPES.index(dtype)])
    for stack in [(), (), (1,), (2,), (9,)]:
        for options in ({}, {"rtol": 1e-3}, {"rtol": np.float64(1e-7)}, {"rtol": 0.0}):
            a = laid_out(rng, draw(rng, dtype, *stack, m, n))
            x = batchpinv.pinv(a, **options)
            assert same_bits(x, usual(batchpinv.pinv, a, **options))
            out = np.empty_like(x, order="C")
            assert batchpinv.pinv(a, out=out, **options) is out
            assert same_bits(out, x)
            for k in (1, 3):
                b = laid_out(rng, draw(rng, dtype, *stack, m, k))
                if k == 1 and rng.random() < 0.5 and (stack or m > 1):
                    b = b[..., 0]
                x = batchpinv.lstsq(a, b, **options)
                assert same_bits(x, usual(batchpinv.lstsq, a, b, **options))
                out = np.empty_like(x, order="C")
                assert batchpinv.lstsq(a, b, out=out, **options) is out
                assert same_bits(out, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_ranks_and_rungs_are_those_of_the_usual_way(m, n, dtype, usual):
    rng = np.random.default_rng([m, n, DTYPES.index(dtype), 1])
    for stack in [(), (2,), (9,)]:
        a, b = draw(rng, dtype, *stack, m, n), draw(rng, dtype, *stack, m, 2)
        for function, operands in ((batchpinv.pinv, (a,)), (batchpinv.lstsq, (a, b))):
            for wanted in ("return_rank", "return_info"):
                found = function(*operands, rtol=np.array(1e-5), **{wanted: True})
                expected = usual(function, *operands, rtol=np.array(1e-5), **{wanted: True})
                assert is_same(found, expected)


@pytest.mark.skipif(not HAS_LANES, reason="the short way needs lanes")
@pytest.mark.parametrize("dtype", DTYPES)
def test_plain_calls_take_the_short_way(dtype):
    rng = np.random.default_rng(0)
    for m, n in SMALL:
        a, b = draw(rng, dtype, m, n), draw(rng, dtype, m)
        out = np.empty((n, m), dtype)
        assert _small.pinv(a, None, None) is not None
        assert _small.pinv(a, 1e-3, out) is out
        assert _small.lstsq(a, b, None, None) is not None
        if m == n:
            for lower in True, False:
                assert _small.pinv(a, None, None, True, lower) is not None
                assert _small.lstsq(a, b, None, None, True, lower) is not None


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_in_b_leave_the_same_bits_alone_and_in_a_stack(dtype):
    """A few matrices are computed in narrower registers; the sign of NaN counts, too."""
    rng = np.random.default_rng(2)
    for m, n in [*SMALL, (9, 9), (13, 13), (4, 496), (10, 10)]:
        for k in (1, 4):
            a, b = draw(rng, dtype, 20, m, n), draw(rng, dtype, 20, m, k)
            b[::2, 0, 0] = np.nan
            b[1::2, -1, -1] = np.inf
            with np.errstate(invalid="ignore"):
                b[::3, 0, 0] *= 1 if dtype in "fd" else 1j
            x = batchpinv.lstsq(a, b, rtol=1e-3)
            for at in range(20):
                assert same_bits(batchpinv.lstsq(a[at], b[at], rtol=1e-3), x[at])


@pytest.mark.parametrize("dtype", DTYPES)
def test_larger_matrices_take_the_short_way_once_blas_is_known(dtype):
    rng = np.random.default_rng(0)
    batchpinv.pinv(np.eye(70))  # finds BLAS: too large for the short way
    for m, n in LARGER:
        a, b = draw(rng, dtype, m, n), draw(rng, dtype, m)
        out = np.empty((n, m), dtype)
        assert _small.pinv(a, 1e-3, out) is out
        assert _small.lstsq(a, b, np.float32(1e-3), None) is not None
        is_brief = 9 * m * n <= 8192
        assert (_small.pinv(np.stack([a] * 9), 1e-3, None) is not None) == is_brief


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 8, 9, 12, 16, 24, 25, 40, 64])
def test_bits_of_hermitian_matrices_are_those_of_the_usual_way(n, dtype, usual):
    """Only one triangle is read."""
    rng = np.random.default_rng([n, DTYPES.index(dtype)])
    for stack in [(), (3,)]:
        for lower in (True, False):
            a, b = laid_out(rng, draw(rng, dtype, *stack, n, n)), draw(rng, dtype, *stack, n, 2)
            for function, operands in ((batchpinv.pinv, (a,)), (batchpinv.lstsq, (a, b))):
                x = function(*operands, hermitian=True, lower=lower)
                assert same_bits(x, usual(function, *operands, hermitian=True, lower=lower))
                whole = np.tril(a) if lower else np.triu(a)
                whole = whole + np.swapaxes(whole, -1, -2).conj()
                index = np.arange(n)
                whole[..., index, index] = a[..., index, index].real
                x_whole = function(whole, *operands[1:], hermitian=True)
                assert same_bits(x, x_whole)


def odd_call(rng):
    """Operands and options that somebody may give, right or wrong."""

    def one_of(*choices):
        return choices[rng.integers(len(choices))]

    m, n, k = rng.integers(0, 10, 3)
    stack = one_of((), (), (2,), (1,), (0,), (2, 3))
    dtype = one_of(*DTYPES, *DTYPES, "e", "g", "i", "?", ">f8", ">c8")
    a = np.ones((*stack, m, n)).astype(dtype)
    if rng.random() < 0.7:
        a = (10 * rng.standard_normal(a.shape)).astype(dtype)
    if rng.random() < 0.2 and a.size and a.dtype.kind in "fc":
        with np.errstate(all="ignore"):
            odd = np.array(one_of(np.nan, np.inf, 1e300, 1e-320, -0.0)).astype(a.dtype)
        a.reshape(-1)[rng.integers(a.size)] = odd
    a = one_of(a, a, a, a.swapaxes(-1, -2), a[..., ::-1], a.tolist(), np.ma.masked_array(a))
    shape = np.shape(a)
    x_shape = (*shape[:-2], *shape[:-3:-1])
    b_stack = one_of(stack, stack, (), (1,), (3,))
    b = np.ones(one_of((*b_stack, *shape[-2:-1], k), (*b_stack, *shape[-2:-1]), (k,), (k, k), ()))
    b = b.astype(one_of(dtype, dtype, "d", "F", "i"))
    read_only = np.empty(x_shape)
    read_only.flags.writeable = False
    options = {}
    if rng.random() < 0.5:
        numbers = 1e-3, 0.0, 0, -1.0, np.nan, np.inf, 5, True, 1j, np.float32(0.1), np.float64(1e-9)
        options["rtol"] = one_of(*numbers, "x", [1e-3], np.array(1e-3))
    if rng.random() < 0.3:
        outs = np.empty(x_shape), np.empty(x_shape, dtype), np.empty(x_shape, order="F"), read_only
        options["out"] = one_of(None, *outs, a, b, 3)
    if rng.random() < 0.3:
        name, values = one_of(
            ("hermitian", (True, False, 1, np.False_, None, [])),
            ("lower", (False, True, 1, None)),
            ("driver", ("auto", "svd", "qr", None, 3)),
            ("workers", (None, 1, 2, 0, -1, "2", 1.5)),
            ("on_failure", ("raise", "nan", "warn", None)),
            ("atol", (None, 0.0, 1.0, -1, np.nan, [0.5])),
            ("rcond", (None, 1e-3, "x", -1)),
            ("return_rank", (True, False, 1, None)),
            ("return_info", (True, False, 1, None)),
            ("return_residuals", (True, False)),
            ("progress", (None, False, 3)),
        )
        options[name] = one_of(*values)
    return a, b, options


def outcome(function, *arguments, **options):
    try:
        return function(*arguments, **options)
    except Exception as error:
        return type(error), str(error), getattr(error, "count", None)


def is_same(one, other):
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return all(map(is_same, one, other))
    if isinstance(one, np.ndarray):
        return type(one) is type(other) and same_bits(one, other)
    return type(one) is type(other) and one == other


def compare_odd_calls(count, usual, seed=0):
    rng = np.random.default_rng(seed)
    for at in range(count):
        a, b, options = odd_call(rng)
        for function, operands in ((batchpinv.pinv, (a,)), (batchpinv.lstsq, (a, b))):
            if function is batchpinv.pinv:
                options.pop("return_residuals", None)
            kept = [np.copy(given) for given in (a, b)]
            found = outcome(function, *operands, **options)
            if isinstance(found, np.ndarray) and options.get("out") is not None:
                found = found.copy()
            for given, before in zip((a, b), kept, strict=True):  # `out` may be one of them
                if isinstance(given, np.ndarray):
                    given[...] = before
            expected = outcome(usual, function, *operands, **options)
            assert is_same(found, expected), (at, function, operands, options, found, expected)


def test_odd_calls_end_as_they_do_the_usual_way(usual):
    compare_odd_calls(3000, usual)
