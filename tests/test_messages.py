"""Every error of the public functions has its type, and a message that names the argument, what was
given and what is accepted. It comes before any work: `out` is untouched, no progress is reported.
"""

import importlib.util
import pickle
import re
import sys

import numpy as np
import pytest
from children import run_python
from scipy.sparse import csr_array

import batchpinv
from batchpinv import get_workers, pinv, set_workers, show_config

EYE = np.eye(3)
STACK = np.stack([EYE] * 4)
ACCEPTED = "accepted are float32, float64, complex64, complex128, integers and booleans"
BROADCAST = r"tolerances must broadcast with the batch shape of a: a\.shape\[:-2\]"
CPUS = batchpinv.show_config("dicts")["workers"]["usable CPUs"]


def read_only(array):
    array.flags.writeable = False
    return array


def masked(mask):
    return np.ma.array(np.eye(2), mask=mask)


A_ERRORS = [
    (EYE.astype("float16"), TypeError, f"a has dtype float16; {ACCEPTED}"),
    (EYE.astype("longdouble"), TypeError, rf"a has dtype (float128|longdouble).*; {ACCEPTED}"),
    (EYE.astype("clongdouble"), TypeError, rf"a has dtype (complex256|clongdouble).*; {ACCEPTED}"),
    (EYE.astype(object), TypeError, f"a has dtype object; {ACCEPTED}"),
    ([["a", "b"]], TypeError, f"a has dtype <U1; {ACCEPTED}"),
    ([[b"a", b"b"]], TypeError, rf"a has dtype \|S1; {ACCEPTED}"),
    (np.zeros((2, 2), "datetime64[s]"), TypeError, rf"a has dtype datetime64\[s\]; {ACCEPTED}"),
    (np.zeros((2, 2), "timedelta64[s]"), TypeError, rf"a has dtype timedelta64\[s\]; {ACCEPTED}"),
    (np.zeros((2, 2), "i4,f8"), TypeError, rf"a has dtype \[\('f0'.*; {ACCEPTED}"),
    (None, TypeError, f"a has dtype object; {ACCEPTED}"),
    ({"a": 1}, TypeError, f"a has dtype object; {ACCEPTED}"),
    ("text", TypeError, f"a has dtype <U4; {ACCEPTED}"),
    ([[1, 2], [3]], ValueError, "a cannot be read as an array of numbers: .*inhomogeneous"),
    (5.0, ValueError, r"a must have two or more dimensions, \(\*, m, n\); got 0, shape \(\)"),
    ([1.0, 2.0], ValueError, r"a must have two or more dimensions, .*; got 1, shape \(2,\)"),
    ([], ValueError, r"a must have two or more dimensions, .*; got 1, shape \(0,\)"),
    (csr_array(np.eye(2)), TypeError, r"a is a sparse matrix.*give a\.toarray\(\)"),
    (masked([[1, 0], [0, 0]]), TypeError, r"a is a masked array with masked.*a\.filled\(0\)"),
]  # fmt: skip
NOT_TOLERANCES = [
    (-1e-9, ValueError, "NAME must be at least 0 and not NaN; got -1e-09"),
    ([0.1, -2, 0.1, 0.1], ValueError, "NAME must be at least 0 and not NaN; got -2.0"),
    (np.nan, ValueError, "NAME must be at least 0 and not NaN; got nan"),
    (-np.inf, ValueError, "NAME must be at least 0 and not NaN; got -inf"),
    (np.float32(-1), ValueError, "NAME must be at least 0 and not NaN; got -1.0"),
    (-(2**64), ValueError, r"NAME must be at least 0 and not NaN; got -1\.8\d+e\+19"),
    (10**400, ValueError, r"NAME must be .* no larger than float64 holds, 1\.8e\+308"),
    ([2**64, True], TypeError, "NAME must be a real number or an array of them; got \\[184"),
    (1j, ValueError, "NAME must be real; got dtype complex128"),
    (np.zeros(4, "complex64"), ValueError, "NAME must be real; got dtype complex64"),
    (True, TypeError, "NAME must be a real number or an array of them; got True"),
    (np.ones(4, bool), TypeError, "NAME must be a real number or an array of them; got dtype bool"),
    ("1e-3", TypeError, "NAME must be a real number or an array of them; got '1e-3'"),
    ({}, TypeError, "NAME must be a real number or an array of them; got {}"),
    ([[1, 2], [3]], ValueError, "NAME cannot be read as numbers: .*inhomogeneous"),
]
KEYWORD_ERRORS = [
    ({"rcond": 0.1, "rtol": 0.1}, ValueError, "rcond is the old name of rtol.*not both"),
    ({"rcond": 0.1, "rtol": [0.1]}, ValueError, "rcond is the old name of rtol.*not both"),
    ({"atol": np.zeros(3)}, ValueError, rf"{BROADCAST} is \(4,\), atol has shape \(3,\)"),
    ({"rtol": np.zeros((4, 3))}, ValueError, rf"{BROADCAST} is \(4,\), .*rtol has \(4, 3\)"),
    ({"rcond": np.zeros(3)}, ValueError, rf"{BROADCAST} is \(4,\), .*r(tol|cond) has \(3,\)"),
    ({"atol": np.zeros(2), "rtol": np.zeros((3, 1, 4))}, ValueError,
     rf"{BROADCAST} is \(4,\), atol has shape \(2,\), rtol has \(3, 1, 4\)"),
    ({"driver": "gesdd"}, ValueError, "driver must be one of 'auto', 'svd'; got 'gesdd'"),
    ({"driver": None}, ValueError, "driver must be one of 'auto', 'svd'; got None"),
    ({"driver": ["svd"]}, ValueError, r"driver must be one of 'auto', 'svd'; got \['svd'\]"),
    ({"on_failure": "ignore"}, ValueError,
     "on_failure must be one of 'raise', 'nan'; got 'ignore'"),
    ({"on_failure": True}, ValueError, "on_failure must be one of 'raise', 'nan'; got True"),
    ({"progress": "yes"}, TypeError, r"progress must be None, a bool or a function.*; got 'yes'"),
    ({"progress": 3}, TypeError, r"progress must be None, a bool or a function.*; got 3"),
    ({"out": np.empty((4, 2, 3))}, ValueError, r"out must have shape \(4, 3, 3\); got \(4, 2, 3\)"),
    ({"out": np.empty((3, 3))}, ValueError, r"out must have shape \(4, 3, 3\); got \(3, 3\)"),
    ({"out": np.empty((4, 3, 3), "float32")}, TypeError,
     "out must have dtype float64; got float32"),
    ({"out": np.empty((4, 3, 3), "complex128")}, TypeError,
     "out must have dtype float64; got complex128"),
    ({"out": np.empty((4, 3, 3), np.dtype("f8").newbyteorder())}, TypeError,
     "out must have dtype float64; got [<>]f8"),
    ({"out": STACK.tolist()}, TypeError, "out must be a numpy.ndarray; got list"),
    ({"out": (np.empty((4, 3, 3)),)}, TypeError, "out must be a numpy.ndarray; got tuple"),
    ({"out": read_only(np.empty((4, 3, 3)))}, ValueError, "out is read-only.*must be writeable"),
    ({"out": np.lib.stride_tricks.as_strided(np.zeros((3, 3)), (4, 3, 3), (0, 24, 8))}, ValueError,
     "out has elements that share memory"),
    ({"atol": np.zeros((2, 1)), "out": np.empty((4, 3, 3))}, ValueError,
     r"out must have shape \(2, 4, 3, 3\); got \(4, 3, 3\)"),
    *[({name: given}, error, message.replace("NAME", name))
      for name in ("atol", "rtol", "rcond") for given, error, message in NOT_TOLERANCES],
]  # fmt: skip
NOT_WORKERS = [
    (0, ValueError, f"workers must be positive, or negative and at least -{CPUS}, .*; got 0"),
    (-CPUS - 1, ValueError, f"workers must be positive, or negative.*; got -{CPUS + 1}"),
    (2.0, TypeError, r"workers must be an integer.*; got 2\.0"),
    ("2", TypeError, "workers must be an integer.*; got '2'"),
    ([2], TypeError, r"workers must be an integer.*; got \[2\]"),
]


def check_error(error, message, a, **options):
    calls = []
    defaults = {"out": np.full((4, 3, 3), 5.0), "progress": lambda *call: calls.append(call)}
    options = defaults | options
    before = pickle.dumps(options["out"])
    with pytest.raises(error, match=f"(?s)^{message}") as caught:
        pinv(a, **options)
    assert type(caught.value) is error
    assert pickle.dumps(options["out"]) == before
    assert not calls


@pytest.mark.parametrize(("a", "error", "message"), A_ERRORS)
def test_arguments_that_are_no_stack_of_matrices_are_refused(a, error, message):
    check_error(error, message, a)


@pytest.mark.parametrize("dtype", ["int8", "float32", "complex128"])
@pytest.mark.parametrize(
    "shape", [(50_000, 50_000), (3, 50_000, 50_000), (30_000, 30_000), (2**31, 1), (1, 2**32 + 3)]
)
def test_matrices_too_large_for_lapack_are_refused(shape, dtype):
    message = rf"a holds matrices of {shape[-2]} by {shape[-1]}, .* integers .* end at \d+"
    check_error(ValueError, message, np.broadcast_to(np.ones((), dtype), shape))


@pytest.mark.parametrize(("options", "error", "message"), KEYWORD_ERRORS)
def test_wrong_keyword_arguments_are_named(options, error, message):
    check_error(error, message, STACK, **options)


@pytest.mark.parametrize(("workers", "error", "message"), NOT_WORKERS)
def test_wrong_numbers_of_workers_are_refused(workers, error, message):
    check_error(error, message, STACK, workers=workers)
    with pytest.raises(error, match=message), set_workers(workers):
        pass


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (5, 1, 4), (2, 0), (0, 1, 3)])
def test_hermitian_matrices_must_be_square(shape):
    message = rf"hermitian=True needs square matrices; a has shape \({', '.join(map(str, shape))}\)"
    check_error(ValueError, message, np.ones(shape), hermitian=True)


def test_masked_array_without_masked_entries_is_computed():
    assert np.array_equal(pinv(masked(False)), np.eye(2))


@pytest.mark.parametrize("name", ["atol", "rtol", "rcond"])
@pytest.mark.parametrize("large", [2**63, 2**64, 10**300, [2**64, 1], [[10**300]]])
def test_tolerances_may_be_integers_of_any_size(name, large):
    assert not pinv(STACK[:2], **{name: large})[0].any()


def test_out_is_checked_for_an_empty_batch_too():
    with pytest.raises(ValueError, match=r"out must have shape \(0, 3, 2\); got \(1, 3, 2\)"):
        pinv(np.ones((0, 2, 3)), out=np.ones((1, 3, 2)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: pinv(EYE, None, False, 1e-9),
        lambda: pinv(EYE, tol=1e-9),
        lambda: pinv(),
        lambda: set_workers(),
        lambda: get_workers(2),
    ],
)
def test_arguments_that_do_not_exist_are_type_errors(call):
    with pytest.raises(TypeError, match=r"(pinv|set_workers|get_workers)\(\)"):
        call()


def test_progress_bar_without_tqdm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    message = "progress=True needs tqdm: pip install tqdm, or give a function"
    check_error(ModuleNotFoundError, message, STACK, progress=True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("many", "BATCHPINV_NUM_THREADS must be an integer; got 'many'"),
        ("2.5", r"BATCHPINV_NUM_THREADS must be an integer; got '2\.5'"),
        ("0", f"BATCHPINV_NUM_THREADS must be positive, or negative and at least -{CPUS}.*got 0"),
        ("-1000", "BATCHPINV_NUM_THREADS must be positive, or negative.*got -1000"),
    ],
)
def test_a_wrong_environment_variable_is_named(monkeypatch, value, message):
    monkeypatch.setenv("BATCHPINV_NUM_THREADS", value)
    check_error(ValueError, message, np.ones((40_000, 3, 3)), out=np.zeros((40_000, 3, 3)))
    with pytest.raises(ValueError, match=message):
        get_workers()
    assert pinv(EYE, workers=1).tolist() == EYE.tolist()


def test_unknown_kernels_are_named_beside_those_that_there_are():
    said = run_python(
        """
        try:
            import batchpinv
        except ImportError as error:
            print(error)
        """,
        BATCHPINV_SIMD="sse9",
    )
    assert re.match(r"BATCHPINV_SIMD is 'sse9'; .* have (avx512, )?(avx2, )?baseline, none$", said)


def test_show_config_says_why_blas_cannot_be_asked(monkeypatch):
    def fail():
        raise OSError("no such library")

    monkeypatch.setattr(batchpinv._config, "find_blas", fail)
    pinv(EYE, driver="svd")  # loads LAPACK
    assert show_config("dicts")["lapack"]["library"] == "no such library"


@pytest.mark.parametrize("mode", ["dict", None, 3])
def test_show_config_names_its_modes(mode):
    with pytest.raises(ValueError, match=f"mode must be 'stdout' or 'dicts'; got {mode!r}"):
        show_config(mode)


# Units.


class Quantity(np.ndarray):
    """An array with a unit, like those of astropy; unyt calls the unit `units`."""

    unit = "m"

    @property
    def value(self):
        return self.view(np.ndarray)


class Plain(np.ndarray):
    """A dimensionless array, as astropy marks it, without an attribute for its numbers."""

    unit = ""


def test_arrays_with_units_are_refused_by_name():
    a, b, one = EYE.view(Quantity), np.ones(3).view(Quantity), np.ones(()).view(Quantity)
    calls = [
        (lambda: pinv(a), r"a has units \(m\); give its numbers, a.value, and divide .* a.unit$"),
        (lambda: batchpinv.lstsq(a, b), "a.value, and divide the result by a.unit$"),
        (lambda: batchpinv.lstsq(EYE, b), "b.value, and multiply the result by b.unit$"),
        (
            lambda: pinv(EYE.view(Plain)),
            r"a has units \(dimensionless\); .*a.view\(numpy.ndarray\)",
        ),
        (lambda: pinv(EYE, atol=one), "atol has units .*, in the units of a"),
        (lambda: pinv(EYE, rtol=one), "rtol has units .*, without units"),
        (lambda: pinv(EYE, out=a), "out has units .*, out.value, which are without units"),
    ]
    for call, message in calls:
        with pytest.raises(TypeError, match=message):
            call()


def test_quantities_of_installed_libraries_are_refused_and_the_advice_is_right():
    for module in "astropy.units", "unyt", "pint":
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            continue
        library = importlib.import_module(module)
        metre = library.UnitRegistry().m if module == "pint" else library.m
        message = r"a has units \(m(eter)?\); give .*, a.\w+, .* by a.units?$"
        a = 2 * EYE * metre
        with pytest.raises(TypeError, match=message):
            pinv(a)
        number = "magnitude" if module == "pint" else "value"
        unit = "unit" if module == "astropy.units" else "units"
        x = pinv(getattr(a, number)) / getattr(a, unit)
        assert np.array_equal(getattr(x, number), EYE / 2)
        assert str(getattr(x, unit)).replace(" ", "") in ("1/m", "1/meter")
