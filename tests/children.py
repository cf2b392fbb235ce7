"""Child processes for what must not happen in pytest's own process: hangs, signals, forks, limits.

A child can import this module too, to make LAPACK routines fail or hang.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

HERE = Path(__file__).parent
# Which arguments are `a`, its number of rows, the singular values, and `lwork`.
_PLACES = {
    "gesdd": (3, 1, 5, 11),
    "gesvd": (4, 2, 6, 12),
    "syevd": (3, 2, 5, 7),
    "syev": (3, 2, 5, 7),
    "heevd": (3, 2, 5, 7),
    "heev": (3, 2, 5, 7),
}
_SCALARS = {"s": (ctypes.c_float, 1), "d": (ctypes.c_double, 1),
            "c": (ctypes.c_float, 2), "z": (ctypes.c_double, 2)}  # fmt: skip
_kept = []


def environment(**variables: str) -> dict[str, str]:
    """This process's environment for a child: with this folder on its path, without pytest's
    options."""
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    own = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return {**own, "PYTHONPATH": path, **variables}


def run_python(
    code: str, *flags: str, timeout: float = 100, cwd: Path | None = None, **variables: str
) -> str:
    """What `code` prints in a new Python, where warnings are errors; its exit status must be 0."""
    child = subprocess.run(
        [sys.executable, "-P", "-W", "error", *flags, "-c", dedent(code)],
        env=environment(**variables),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert child.returncode == 0, f"exit status {child.returncode}\n{child.stderr}"
    return child.stdout


def replace_routine(name: str, stand_in: Callable[..., None]) -> None:
    """Make SciPy hand out a LAPACK routine that calls stand_in(original, *addresses).

    Call this before batchpinv is imported: batchpinv reads SciPy's table only once.
    """
    from scipy.linalg import cython_lapack

    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype = ctypes.c_char_p
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    capsule = ctypes.py_object(cython_lapack.__pyx_capi__[name])
    signature = api.PyCapsule_GetName(capsule)
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (signature.count(b",") + 1))
    original = prototype(api.PyCapsule_GetPointer(capsule, ctypes.c_char_p(signature)))
    callback = prototype(lambda *addresses: stand_in(original, *addresses))
    api.PyCapsule_SetPointer(capsule, ctypes.cast(callback, ctypes.c_void_p))
    _kept.append(callback)


def break_routine(name: str, first_entry: float, how: str = "info") -> list[str]:
    """Make a routine destroy its matrix and fail if the matrix begins with `first_entry`.

    The routine reports this by `info`; or, if how="nan", only by singular values that are NaN.
    Returns a list that grows with each failure.
    """
    failures: list[str] = []
    real, parts = _SCALARS[name[0]]
    at_a, at_rows, at_values, at_lwork = _PLACES[name[1:]]
    integer = lapack_integer()

    def fail(original: Callable[..., None], *addresses: int) -> None:
        a = addresses[at_a]
        query = integer.from_address(addresses[at_lwork]).value == -1
        if query or real.from_address(a).value != first_entry:
            return original(*addresses)
        failures.append(name)
        sides = at_rows, at_rows + (name[1:3] == "ge")
        rows, columns = (integer.from_address(addresses[side]).value for side in sides)
        ctypes.memset(a, 0xFF, rows * columns * parts * ctypes.sizeof(real))
        if how == "info":
            integer.from_address(addresses[-1]).value = 1
        else:
            values = addresses[at_values]
            ctypes.memset(values, 0xFF, min(rows, columns) * ctypes.sizeof(real))

    replace_routine(name, fail)
    return failures


def hang_routine(name: str) -> None:
    """Make a routine never return, except from workspace queries."""
    from threading import Event

    integer, at_lwork = lapack_integer(), _PLACES[name[1:]][3]

    def hang(original: Callable[..., None], *addresses: int) -> None:
        if integer.from_address(addresses[at_lwork]).value == -1:
            return original(*addresses)
        Event().wait()

    replace_routine(name, hang)


def lapack_integer() -> type[ctypes.c_int] | type[ctypes.c_int64]:
    """The integer type of SciPy's LAPACK."""
    from scipy.linalg import cython_blas

    size = getattr(cython_blas, "_blas_int_size", lambda: 4)()
    return ctypes.c_int64 if size == 8 else ctypes.c_int
