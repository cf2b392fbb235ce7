"""On a device norms certify full rank, without singular values. Matrices that are not certain go on
in one stack, and nothing waits for the device more often than that takes.
"""

import numpy as np
import pytest
from cuda_device import Array
from extended import svd

from batchpinv import Rung, pinv
from batchpinv.cuda import _stack as stack_module
from batchpinv.cuda._rule import Row

DTYPES = ["f", "d", "F", "D"]
# Decompositions that take over, by their names without the letter of the dtype.
OTHERS = ["gesvdjBatched", "syevjBatched", "heevjBatched"]

pytestmark = pytest.mark.usefixtures("device")


def stack_with(condition, count, m, n, dtype="d", definite=False, seed=0):
    """Singular values from 1 to 1 / condition."""
    rng = np.random.default_rng(seed)

    def unitary(side):
        z = rng.standard_normal((count, side, side)) + 1j * rng.standard_normal((count, side, side))
        return np.linalg.qr(z if np.dtype(dtype).kind == "c" else z.real)[0]

    k, u, v = min(m, n), unitary(m), unitary(n)
    v = u if definite else v
    s = np.geomspace(1, 1 / condition, k)
    return ((u[..., :k] * s) @ v[..., :k].conj().swapaxes(-1, -2)).astype(dtype)


def decompositions(device):
    return sum(device.count(f"cusolverDn{t}{name}") for t in "SDCZ" for name in OTHERS) + sum(
        device.count(name) for name in ("cusolverDnXsyevBatched", "cusolverDnXgesvdp")
    )


def error(x, y):
    return np.abs(x - y).max() / np.abs(y).max() / np.finfo(y.dtype).eps


@pytest.mark.parametrize("definite", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 4, 33])
def test_squares_of_full_rank_are_answered_directly(n, dtype, definite, device):
    a = stack_with(10, 5, n, n, dtype, definite)
    x, info = pinv(Array.of(a), hermitian=definite, return_info=True)
    assert (info.rung == Rung.DIRECT).all()
    assert info.certain.all()
    assert (info.rank.numpy() == n).all()
    assert error(x.numpy(), pinv(a, hermitian=definite)) < 100
    assert not decompositions(device)
    made = "potrf" if definite else "getrf"
    assert sum(
        device.count(f"cu{lib}{t}{made}Batched") for lib in ("blas", "solverDn") for t in "SDCZ"
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(9, 2), (2, 9), (40, 39), (33, 40), (300, 5)])
def test_tall_and_wide_matrices_of_full_rank_are_answered_directly(shape, dtype, device):
    a = stack_with(10, 5, *shape, dtype)
    x, info = pinv(Array.of(a), return_info=True)
    assert (info.rung == Rung.DIRECT).all()
    assert info.certain.all()
    assert error(x.numpy(), pinv(a)) < 100
    assert not decompositions(device)


@pytest.mark.parametrize("shape", [(20, 20), (60, 9), (9, 60)])
@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6])
def test_errors_are_bounded_by_the_condition(shape, condition):
    a = stack_with(condition, 4, *shape)
    x, info = pinv(Array.of(a), return_info=True)
    assert (info.rung == Rung.DIRECT).all()
    y = svd(a).pinv(min(shape)).astype(float)
    assert error(x.numpy(), y) < 20 * condition


def test_gram_matrices_of_single_precision_are_computed_in_double(device, monkeypatch):
    """If the work of the arrays' library keeps the stream's order."""
    a = stack_with(1e4, 4, 40, 6, "f")
    assert (pinv(Array.of(a), return_info=True)[1].rung == Rung.SVD).all()
    start = stack_module.Stack.__init__

    def ordered(self, problem, trusted, library, stream):
        start(self, problem, trusted, library._replace(is_ordered=True), stream)

    monkeypatch.setattr(stack_module.Stack, "__init__", ordered)
    x, info = pinv(Array.of(a), return_info=True)
    assert (info.rung == Rung.DIRECT).all()
    assert device.count("cusolverDnDpotrfBatched") == 2
    exact = pinv(a.astype("d"))
    assert np.abs(x.numpy() - exact).max() < 2 * np.finfo("f").eps * np.abs(exact).max()


# What is not certain.


@pytest.mark.parametrize("shape", [(5, 5), (9, 4), (4, 9)])
def test_uncertain_matrices_go_on_in_one_stack(shape, device):
    a = stack_with(10, 30, *shape)
    a[3::4] = 0
    a[5::9, 0] = a[5::9, 1]
    a[7] = np.nan
    a[8] *= 1e300
    x, info = pinv(Array.of(a), return_info=True, on_failure="nan")
    y, expected = pinv(a, return_info=True, on_failure="nan")
    assert decompositions(device) == 1
    assert np.array_equal(info.rank.numpy(), expected.rank)
    left = expected.rank != min(shape)
    left[8] = True
    assert np.array_equal(info.rung == Rung.SVD, left)
    good = np.isfinite(y).all(axis=(-2, -1))
    assert np.array_equal(np.isfinite(x.numpy()).all(axis=(-2, -1)), good)
    for i in np.flatnonzero(good):
        assert np.allclose(x.numpy()[i], y[i], rtol=1e-10, atol=1e-12 * np.abs(y[i]).max())


def test_a_chunk_waits_once_and_once_more_if_something_is_left(device):
    """The call waits once more at its end."""
    for bad, waits in ((0, 1), (1, 2), (9, 2)):
        a = stack_with(10, 9, 6, 6)
        a[:bad, 0] = a[:bad, 1]
        given = Array.of(a)
        before = device.count("synchronisations")
        pinv(given)
        assert device.count("synchronisations") - before == waits + 1


@pytest.mark.parametrize("shape", [(6, 6), (12, 5)])
def test_matrices_with_a_value_near_the_tolerance_are_decomposed(shape):
    a = stack_with(1e3, 3, *shape)
    s = np.linalg.svd(a, compute_uv=False)[:, -1]
    for factor, rung in ((0.01, Rung.DIRECT), (0.999, Rung.SVD), (1.001, Rung.SVD)):
        x, info = pinv(Array.of(a), atol=s * factor, return_info=True)
        assert (info.rung == rung).all()
        assert (info.rank.numpy() == min(shape) - (factor > 1)).all()
        assert info.certain.all()
        assert np.allclose(x.numpy(), pinv(a, atol=s * factor), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("shape", "hermitian"), [((5, 5), False), ((5, 5), True), ((9, 4), False), ((4, 9), False)]
)
def test_matrices_that_a_factorisation_refuses_are_decomposed(shape, hermitian, device):
    """Whatever numbers the factorisation leaves behind."""
    a = stack_with(10, 9, *shape, definite=hermitian)
    device.set("singular", 4)
    x, info = pinv(Array.of(a), hermitian=hermitian, return_info=True)
    assert np.flatnonzero(info.rung == Rung.SVD).tolist() == [0, 4, 8]
    assert np.allclose(x.numpy(), pinv(a, hermitian=hermitian), rtol=1e-10)


def test_matrices_whose_inverse_has_lost_digits_are_decomposed(device):
    """If the elements of U have grown, A X is not near I."""
    a = stack_with(10, 6, 8, 8)
    for growth, rung in ((0, Rung.DIRECT), (200, Rung.DIRECT), (10**6, Rung.SVD)):
        device.set("growth", growth)  # in 1e-18
        x, info = pinv(Array.of(a), return_info=True)
        assert (info.rung == rung).all()
        assert error(x.numpy(), pinv(a)) < 100


def test_indefinite_matrices_are_decomposed():
    a = stack_with(10, 4, 6, 6, definite=True)
    a[1] *= -1
    a[2] -= 0.5 * np.eye(6)
    x, info = pinv(Array.of(a), hermitian=True, return_info=True)
    assert (info.rung == Rung.SVD).tolist() == [False, True, True, False]
    assert np.allclose(x.numpy(), pinv(a, hermitian=True), rtol=1e-9)


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA_TF32_OVERRIDE",
        "CUBLAS_EMULATE_SINGLE_PRECISION",
        "CUBLAS_EMULATE_DOUBLE_PRECISION",
    ],
)
def test_nothing_is_certain_if_the_environment_allows_fewer_digits(name, device, monkeypatch):
    a = stack_with(10, 4, 5, 5)
    monkeypatch.setenv(name, "0")
    assert pinv(Array.of(a), return_info=True)[1].certain.all()
    monkeypatch.setenv(name, "1")
    before = device.count("cublasDgetrfBatched")
    x, info = pinv(Array.of(a), return_info=True)
    assert not info.certain.any()
    assert (info.rung == Rung.SVD).all()
    assert device.count("cublasDgetrfBatched") == before
    assert np.allclose(x.numpy(), pinv(a), rtol=1e-10)


# The rule.


def decide(way, *numbers):
    return bool(way(*(np.array([float(number)]) for number in numbers))[0])


def test_rows_of_the_device_are_four_times_those_of_the_cpu():
    from batchpinv._batch import backward_errors

    names = {
        "device_svd": "svd",
        "device_eigen": "eigen",
        "device_inverse": "elimination",
        "device_definite": "sweep",
        "device_gram": "gram",
    }
    # Long sums, as in a 100x7, lose more in LAPACK's SVD.
    for (m, n), (name, other) in ((x, y) for x in [(3, 3), (99, 99)] for y in names.items()):
        row, (absolute, relative) = Row(name, 1.0, m, n), backward_errors(1.0, m, n)[other]
        assert 3.9 * absolute <= row.absolute <= 4.1 * absolute
        assert 3.9 * relative <= row.relative <= 4.1 * relative
        finer = Row(name, 0.5, m, n)
        assert (finer.absolute, finer.relative) == (row.absolute / 2, row.relative / 2)


def test_the_perturbation_of_a_routine_adds_to_its_rounding():
    row = Row("device_svd", 2.0**-52, 100, 50)
    values = np.array([[1.0, 1e-6]])
    for error, certain in ((0, True), (4e-7, True), (6e-7, False)):
        found = row.decide_values(values, *(np.array([x]) for x in (float(error), 5e-7, 0.0)))
        assert found.tolist() == [certain]


def test_inverses_are_judged_by_their_residual_too():
    row = Row("device_inverse", 2.0**-52, 4, 4)
    assert decide(row.decide_inverses, 1, 100, 1e-14, 0, 1e-3)
    assert not decide(row.decide_inverses, 1, 100, 1e-14, 0, 1e-2)
    assert not decide(row.decide_inverses, 1, 100, 1e-14, 0.01, 0)
    assert not decide(row.decide_inverses, 1, 100, 1e-12, 0, 0)
    assert not decide(row.decide_inverses, 1, 1e15, 1, 0, 0)
    for at in range(3):
        numbers = [1, 100, 1e-14, 0, 1e-3]
        numbers[at] = np.nan
        assert not decide(row.decide_inverses, *numbers)


def test_gram_matrices_need_a_moderate_condition():
    row = Row("device_gram", 2.0**-52, 100, 4)
    limit = (16 * row.absolute) ** -0.5
    assert decide(row.decide_grams, 2, limit / 2 * 0.999, 0, 0)
    assert not decide(row.decide_grams, 2, limit / 2 * 1.001, 0, 0)
    assert decide(row.decide_grams, 1, 100, 0, 0.009)
    assert not decide(row.decide_grams, 1, 100, 0, 0.01)
    for at in range(2):
        numbers = [1, 100, 0, 1e-3]
        numbers[at] = np.nan
        assert not decide(row.decide_grams, *numbers)


# Faults that the stand-in has to see.


def test_a_handle_that_may_round_to_fewer_digits_is_seen(device):
    import ctypes

    from cuda_device import libraries

    handle = ctypes.c_void_p()
    libraries().cublasCreate_v2(ctypes.byref(handle))
    libraries().cublasSetMathMode(handle, 3)
    numbers = Array.of(np.zeros(9))
    at, number = ctypes.c_void_p(numbers.pointer), ctypes.byref(ctypes.c_double(1))
    libraries().cublasDgemmStridedBatched(
        handle, 0, 0, 1, 1, 1, number, at, 1, ctypes.c_longlong(0),
        at, 1, ctypes.c_longlong(0), number, ctypes.c_void_p(numbers.pointer + 64), 1,
        ctypes.c_longlong(0), 1,
    )  # fmt: skip
    assert "may compute with fewer digits" in device.complaints()
    libraries().cublasDestroy_v2(handle)
