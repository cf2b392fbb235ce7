"""Other people's programs as they are, with `batchpinv.compat.patch` and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from batchpinv.compat import calls, patch

from .report import print_table
from .timing import Contender, compare

Job = Callable[[], Any]


def clients(budget: float) -> list[dict[str, Any]]:
    """A line for each job whose package is installed. Their results must agree to six digits."""
    results: list[dict[str, Any]] = []
    for make in _CLIENTS:
        with suppress(ImportError):
            results.extend(_measure(name, job, budget) for name, job in make())
    print_table(
        "Jobs of other packages, milliseconds; how many times faster under the patch",
        ["job", "calls", "as it is", "patched", "ratio"],
        [[r["job"], r["calls"], r["plain"] * 1e3, r["patched"] * 1e3, r["ratio"]] for r in results],
    )
    return results


def _measure(name: str, job: Job, budget: float) -> dict[str, Any]:
    plain = np.asarray(job())
    before = _answered()
    with patch("numpy", "scipy"):
        found = np.asarray(job())
    answered = _answered() - before
    scale = np.abs(plain).max()
    assert np.abs(found - plain).max() <= 1e-6 * scale, name
    timings = compare(
        [
            Contender("patched", job, 1, lambda: patch("numpy", "scipy")),
            Contender("plain", job, 1),
        ],
        budget,
    )
    return {
        "job": name,
        "calls": answered,
        "plain": timings["plain"].seconds,
        "patched": timings["patched"].seconds,
        "ratio": timings["plain"].ratio,
    }


def _answered() -> int:
    return sum(count.ours for count in calls().values())


def _dipy() -> Iterator[tuple[str, Job]]:
    from dipy.core.gradients import gradient_table
    from dipy.reconst.dti import TensorModel

    rng = np.random.default_rng(0)
    directions = rng.standard_normal((65, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions[0], values = 0, np.r_[0, np.full(64, 1000.0)]
    table = gradient_table(values, bvecs=directions)
    roots = 0.02 * rng.standard_normal((20_000, 3, 3))
    tensors = roots @ roots.swapaxes(1, 2)
    decay = values * np.einsum("di,vij,dj->vd", directions, tensors, directions)
    signal = 1000 * np.exp(-decay) + rng.standard_normal((20_000, 65))
    for method in ("WLS", "LS"):
        model = TensorModel(table, fit_method=method)
        yield (
            f"DIPY, tensors of 20,000 voxels, {method}",
            lambda model=model: model.fit(signal).model_params,
        )


def _statsmodels() -> Iterator[tuple[str, Job]]:
    from statsmodels.api import OLS, RLM
    from statsmodels.regression.rolling import RollingOLS

    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(3000), rng.standard_normal((3000, 4))])
    y = x @ np.arange(1.0, 6.0) + rng.standard_normal(3000)

    def rolling() -> Any:
        return RollingOLS(y, x, window=60).fit(method="pinv").params[60:]

    yield "statsmodels, RollingOLS of 3000 by 60", rolling
    yield (
        "statsmodels, 200 fits of OLS, 60×5",
        lambda: [OLS(y[i : i + 60], x[i : i + 60]).fit().params for i in range(200)],
    )
    yield "statsmodels, RLM of 3000×5", lambda: RLM(y, x).fit().params


def _sklearn() -> Iterator[tuple[str, Job]]:
    from sklearn.linear_model import LinearRegression, TheilSenRegressor

    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 5))
    y = x @ np.arange(1.0, 6.0) + rng.standard_normal(2000)
    yield (
        "scikit-learn, TheilSenRegressor of 2000×5",
        lambda: TheilSenRegressor(max_subpopulation=2000, random_state=0).fit(x, y).coef_,
    )
    large = rng.standard_normal((200_000, 20))
    target = large @ np.ones(20) + rng.standard_normal(200_000)
    yield (
        "scikit-learn, LinearRegression of 200,000×20",
        lambda: LinearRegression().fit(large, target).coef_,
    )


def _astropy() -> Iterator[tuple[str, Job]]:
    from astropy.modeling import fitting, models

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 500))
    images = rng.standard_normal((50, 500)) + 1 + x * y
    fit = fitting.LinearLSQFitter()

    def surfaces() -> Any:
        return [fit(models.Polynomial2D(3), x, y, image).parameters for image in images]

    yield "astropy, 50 fits of Polynomial2D(3)", surfaces


_CLIENTS = (_dipy, _statsmodels, _sklearn, _astropy)
