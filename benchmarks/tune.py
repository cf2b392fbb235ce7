"""Measures the constants of `batchpinv._plan`: a model of the time, and two thresholds."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy.optimize import nnls

from batchpinv import _plan, get_workers, pinv

from .cases import Case
from .report import print_table
from .timing import Contender, compare

_BUDGET = 0.3  # seconds for one comparison
_BATCH = 10e-3  # about what one worker takes for the batches from which the model is measured
_SQUARE = (2, 3, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
_TALL = ((6, 3), (64, 8), (100, 6), (128, 32), (512, 64), (1000, 20), (4000, 100))
_MODELLED = (
    ("random", "float64"),
    ("deficient", "float64"),
    ("hermitian", "float64"),
    ("random", "complex128"),
    ("random", "float32"),
)
_TERMS = ("", " m n", " k^2", " m n k")
_TOTALS = (10e-6, 20e-6, 40e-6, 80e-6, 160e-6, 320e-6, 640e-6)
_ALONE = (64, 96, 128, 192, 256, 384, 512, 768)

Result = dict[str, Any]


def tune(quick: bool) -> dict[str, list[Result]]:
    return {"model": tune_model(quick), "handoff": tune_handoff(), "large": tune_large(quick)}


def tune_model(quick: bool) -> list[Result]:
    """One matrix in one worker, compared with the models of `_plan`; and the constants that fit."""
    shapes = [(n, n) for n in _SQUARE[: 8 if quick else None]]
    results = [
        _model_row(Case(kind, m, n, 1, dtype))
        for kind, dtype in _MODELLED
        for m, n in (shapes if kind == "hermitian" else [*shapes, *_TALL[: 4 if quick else None]])
    ]
    _print_results("One matrix in one worker, in microseconds, and what _plan says", results)
    for driver in ("auto", "svd"):
        _print_fit(driver, results)
    return results


def tune_handoff() -> list[Result]:
    """The total time from which on two workers beat one."""
    results = [_handoff_row(size, total) for size in (3, 8, 16) for total in _TOTALS]
    title = f"Microseconds a call; _HANDOFF is {_plan._HANDOFF * 1e6:.0f}"
    _print_results(title, results)
    return results


def tune_large(quick: bool) -> list[Result]:
    """The size from which on BLAS's own threads help a single matrix."""
    sizes = _ALONE[: 5 if quick else None]
    kinds = ("random", "deficient", "hermitian")
    results = [_large_row(Case(kind, n, n, 1, "float64")) for kind in kinds for n in sizes]
    _print_results(f"Milliseconds a matrix; _LARGE_FROM is {_plan._LARGE_FROM}", results)
    return results


def _model_row(case: Case) -> Result:
    dtype = np.dtype(case.dtype)
    models = {
        "auto": _plan._direct_seconds(case.m, case.n, dtype),
        "svd": _plan._svd_seconds(case.m, case.n, dtype, case.hermitian),
    }
    stack = case.make(max(2, int(_BATCH / models["svd"])))
    call = partial(pinv, stack, hermitian=case.hermitian, workers=1)
    drivers = [
        Contender(driver, partial(call, driver=driver), len(stack)) for driver in ("auto", "svd")
    ]
    seconds = {name: timing.seconds for name, timing in compare(drivers, _BUDGET).items()}
    return {
        **_described(case),
        **{driver: time * 1e6 for driver, time in seconds.items()},
        **{f"{driver}/model": time / models[driver] for driver, time in seconds.items()},
    }


def _handoff_row(size: int, total: float) -> Result:
    sample = Case("random", size, size, 20_000, "float64").make()
    alone = Contender("one", partial(pinv, sample, workers=1), len(sample))
    count = max(2, round(total / compare([alone], _BUDGET / 4)["one"].seconds))
    calls = [
        Contender(name, partial(pinv, sample[:count], workers=workers), 1)
        for name, workers in (("one", 1), ("two", 2))
    ]
    with patch.object(_plan, "_HANDOFF", 0.0):
        timings = compare(calls, _BUDGET)
    one, two = timings["one"], timings["two"]
    return {
        "size": f"{size}x{size}",
        "count": count,
        "one worker": one.seconds * 1e6,
        "two workers": two.seconds * 1e6,
        "two/one": two.ratio,
    }


def _large_row(case: Case) -> Result:
    call = partial(pinv, case.make(), hermitian=case.hermitian)
    contenders = [
        Contender("one", call, 1, partial(patch.object, _plan, "_LARGE_FROM", 1 << 31)),
        Contender("BLAS", call, 1, partial(patch.object, _plan, "_LARGE_FROM", 1)),
    ]
    timings = compare(contenders, _BUDGET)
    return {
        **_described(case),
        "one thread": timings["one"].seconds * 1e3,
        f"{get_workers()} threads": timings["BLAS"].seconds * 1e3,
        "ratio": timings["BLAS"].ratio,
    }


def _described(case: Case) -> Result:
    return {"kind": case.kind, "dtype": case.dtype, "m": case.m, "n": case.n}


def _print_results(title: str, results: list[Result]) -> None:
    print_table(title, list(results[0]), [list(result.values()) for result in results])


def _print_fit(driver: str, results: list[Result]) -> None:
    """Prints the model's constants, fitted by least squares of relative errors, and the factors by
    which each kind of matrix differs from the fit."""
    terms = np.array([_terms(row["m"], row["n"]) for row in results])
    seconds = np.array([row[driver] * 1e-6 for row in results])
    kinds = np.array([f"{row['kind']} {row['dtype']}" for row in results])
    first = kinds == kinds[0]
    constants, _ = nnls(terms[first] / seconds[first, None], np.ones(first.sum()))
    ratios = seconds / (terms @ constants)
    formula = (f"{constant:.1e}{name}" for constant, name in zip(constants, _TERMS, strict=True))
    print(f"\n{driver} fits: {' + '.join(formula)}")
    for kind in dict.fromkeys(kinds):
        low, middle, high = np.quantile(ratios[kinds == kind], (0, 0.5, 1))
        print(f"  {kind}: {middle:.2f} times that, from {low:.2f} to {high:.2f}")


def _terms(m: int, n: int) -> tuple[float, ...]:
    k = min(m, n)
    return 1.0, m * n, k * k, m * n * k
