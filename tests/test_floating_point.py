"""Answers do not depend on the flags of a thread's floating-point unit, which PyTorch and XLA set;
and the flags are the same after a call.
"""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import compiled
import numpy as np
import pytest
from cases import random_stack

from batchpinv import lstsq, pinv, pinv_jvp, pinv_vjp
from batchpinv.cython_pinv import Result

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="flags.c knows the floating-point units of Linux on x86-64 and arm64",
)

FLAGS = ["flush_subnormals", "round_up", "round_down", "trap", "raise_inexact"]


@pytest.fixture(scope="module")
def unit(tmp_path_factory):
    library = tmp_path_factory.mktemp("flags") / "flags.so"
    source = Path(__file__).with_name("flags.c")
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", library, source, "-lm"], check=True
    )
    unit = ctypes.CDLL(str(library))
    unit.get_flags.restype = ctypes.c_uint64
    return unit


def subnormal(*shape):
    """Stacks with a singular value that is lost if subnormal numbers are flushed to zero."""
    a = np.zeros(shape)
    a[...] = np.diag([1e-3, 1e-5, 1.25e-308])[: shape[-2], : shape[-1]]
    return a


CALLS = {
    "one small matrix": (pinv, [random_stack(4, 3)], {}),
    "zeros": (pinv, [np.zeros((9, 3, 3))], {}),
    "small matrices": (pinv, [random_stack(4000, 6, 5)], {}),
    "tiny values": (pinv, [subnormal(3000, 3, 3)], {"rtol": 0}),
    "without a gap": (pinv, [random_stack(50, 20, 20) / 1e150], {"rtol": 0.05}),
    "subnormal entries": (pinv, [random_stack(50, 70, 60) * 1e-310], {"on_failure": "nan"}),
    "a subnormal tolerance": (pinv, [subnormal(8, 3, 3)], {"atol": 1e-310}),
    "single precision": (pinv, [random_stack(9, 80, 70, dtype="float32")], {}),
    "complex": (pinv, [random_stack(9, 70, 80, dtype="complex128")], {}),
    "by the SVD": (pinv, [random_stack(3, 90, 70)], {"driver": "svd"}),
    "a large matrix": (pinv, [random_stack(430, 430)], {"driver": "svd"}),
    "systems": (lstsq, [random_stack(900, 9, 4), random_stack(900, 9, 2)], {}),
    "larger systems": (lstsq, [random_stack(5, 90, 70), random_stack(5, 90, 3)], {}),
    "many right-hand sides": (lstsq, [random_stack(80, 20), random_stack(80, 700)], {}),
    "weights": (
        lstsq,
        [random_stack(900, 9, 4), random_stack(900, 9, 2)],
        {"weights": np.abs(random_stack(900, 9, 1)[..., 0]) * 1e-310},
    ),
    "weights of the other byte order": (
        pinv,
        [random_stack(90, 60, 50)],
        {"weights": np.geomspace(1e-44, 1e-40, 60).astype(">f4")},
    ),
    "a subnormal damping": (
        lstsq,
        [random_stack(9, 4) * 1e-22, random_stack(9, 2)],
        {"damping": np.float32(1e-44)},
    ),
    "dampings": (pinv, [random_stack(90, 3, 4)], {"damping": np.linspace(0, 5e-310, 90)}),
    "covariances without rows": (
        lambda *arrays, **options: lstsq(*arrays, return_covariance=True, **options)[1],
        [np.empty((3, 0, 2)), np.empty((0, 1))],
        {"damping": np.array([0.3, 5e-310, 1e-309])},
    ),
    "residuals without columns": (
        lambda *arrays, **options: lstsq(*arrays, return_residuals=True, **options)[1],
        [np.empty((3, 0)), np.array([[0.1, 1e-160, 1e200], [0.2, 0, 0], [0.7, 0, 0]])],
        {"weights": np.array([0.3, 0.1, 0.2])},
    ),
}
_INEXACT = 0x20 << 48 | 0x20  # Python's own arithmetic raises it


@pytest.mark.parametrize("name", CALLS)
def test_flags_change_no_bit_and_are_not_changed(unit, name):
    function, arrays, options = CALLS[name]
    # One large matrix may use BLAS's own threads if it has several workers, which changes bits.
    expected = {w: function(*arrays, workers=w, **options).tobytes() for w in (1, 3)}
    for flags in FLAGS:
        for workers in expected:
            try:
                getattr(unit, flags)()
                before = unit.get_flags()
                x = function(*arrays, workers=workers, **options)
                after = unit.get_flags()
            finally:
                unit.usual()
            assert x.tobytes() == expected[workers], (flags, workers)
            assert after | _INEXACT == before | _INEXACT, (flags, workers, hex(before), hex(after))


def test_flags_of_the_thread_that_started_the_pool_do_not_matter(unit):
    """New threads inherit the flags of those that start them."""
    a = subnormal(40_000, 3, 3)
    unit.flush_subnormals()
    try:
        pinv(np.ones((40_000, 3, 3)), workers=5)
    finally:
        unit.usual()
    for workers in (1, 5):
        assert set(pinv(a, rtol=0, return_rank=True, workers=workers)[1].tolist()) == {3}


@pytest.mark.parametrize(
    ("atol", "rtol", "result"),
    [
        (5e-311, 0.0, 0),
        (0.0, 5e-311, 0),
        (1e-310, -1.0, 0),
        (np.nan, 0.0, Result.BAD_TOLERANCE),
        (0.0, np.nan, Result.BAD_TOLERANCE),
    ],
)
def test_compiled_functions_read_tolerances_under_usual_flags(unit, atol, rtol, result):
    a, x, flags = np.diag([1.0, 2.0, 3.0]), np.zeros((3, 3)), np.zeros(2, np.uint64)
    given = (a, x, np.array([atol, rtol]), flags)
    found = unit.call_trapped(
        compiled.function("pinv", "d"), *(ctypes.c_void_p(part.ctypes.data) for part in given)
    )
    assert found == result
    assert flags[0] == flags[1]


@pytest.mark.parametrize(
    "options",
    [
        {"damping": 5e-324, "rtol": 1e-3},
        {"damping": np.full(2, 5e-324), "atol": 1e-3},
        {"damping": -5e-324},
        {"damping": -np.full(2, 5e-324)},
        {"rtol": -5e-324},
        {"rtol": -np.full(2, 5e-324)},
        {"atol": -5e-324},
    ],
)
def test_arguments_are_refused_whatever_the_flags_are(unit, options):
    for a in np.eye(3) + np.zeros((2, 3, 3)), np.eye(3):
        if any(np.ndim(value) for value in options.values()) and a.ndim == 2:
            continue
        unit.flush_subnormals()
        try:
            with pytest.raises(ValueError, match=r"at least 0|no meaning"):
                pinv(a, **options)
        finally:
            unit.usual()


def calls_that_under_and_overflow():
    tiny, eye = np.full((3, 2), 1e-200) * [1, 2], np.eye(2) * 1e-200
    single = np.array(1e-30, np.float32) * np.ones((3, 2), np.float32)
    yield pinv, (tiny,), {"rtol": np.array([1e-320, 0])}
    yield pinv, (single,), {"atol": np.float32(1e-38)}
    yield pinv, (np.full((70, 70), 1e300),), {"atol": 1e-310}
    yield pinv, (np.full((2, 5, 3), 5e-324),), {"driver": "svd", "return_info": True}
    yield pinv, ([[1, 2], [3, 4]],), {"hermitian": True}
    for a in np.zeros((3, 0)), tiny, np.full((90, 60), 1e-250):
        for b in np.full(len(a), 1e-200), np.full((len(a), 200), 1e200):
            yield lstsq, (a, b), {"return_residuals": True}
    yield pinv_jvp, (eye, pinv(eye), eye), {}
    yield pinv_vjp, (eye, pinv(eye), pinv(eye)), {}


def test_no_floating_point_error_reaches_the_callers_errstate():
    calls, raised = list(calls_that_under_and_overflow()), []
    with np.errstate(all="raise"):
        for function, arguments, options in calls:
            function(*arguments, **options)
    with np.errstate(all="call", call=lambda *found: raised.append(found)):
        for function, arguments, options in calls:
            function(*arguments, **options)
        assert np.geterr()["over"] == "call"
    assert raised == []
