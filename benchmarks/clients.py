"""Jobs of other packages, unchanged, with `batchpinv.compat.patch` and without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from batchpinv import lstsq
from batchpinv.compat import calls, patch

from .report import print_table
from .timing import Contender, compare

Job = Callable[[], Any]


def clients(budget: float) -> list[dict[str, Any]]:
    """A line for each job whose package is installed. Their results must agree to six digits."""
    results: list[dict[str, Any]] = []
    for make in _CLIENTS:
        with suppress(ImportError):
            results.extend(_measure(budget, *job) for job in make())
    print_table(
        "Jobs of other packages, milliseconds; how many times faster under the patch",
        ["job", "calls", "as it is", "patched", "ratio"],
        [[r["job"], r["calls"], r["plain"] * 1e3, r["patched"] * 1e3, r["ratio"]] for r in results],
    )
    return results


def _measure(budget: float, name: str, job: Job, rewritten: Job | None = None) -> dict[str, Any]:
    """Compare the job with itself under the patch, or with what calls batchpinv by name."""
    plain = np.asarray(job())
    before = _answered()
    with patch("numpy", "scipy"):
        found = np.asarray((rewritten or job)())
    answered = _answered() - before
    scale = np.abs(plain).max()
    assert np.abs(found - plain).max() <= 1e-6 * scale, name
    ours = (
        Contender("patched", rewritten, 1)
        if rewritten
        else Contender("patched", job, 1, lambda: patch("numpy", "scipy"))
    )
    timings = compare([ours, Contender("plain", job, 1)], budget)
    return {
        "job": name,
        "calls": answered,
        "plain": timings["plain"].seconds,
        "patched": timings["patched"].seconds,
        "ratio": timings["plain"].ratio,
    }


def _answered() -> int:
    return sum(count.ours for count in calls().values())


def _dipy() -> Iterator[tuple[str, Job] | tuple[str, Job, Job]]:
    from dipy.core.gradients import gradient_table
    from dipy.reconst.dti import TensorModel, eig_from_lo_tri

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

    def fit(design: Any, data: Any, return_S0_hat: bool = False) -> tuple[Any, None]:
        """DIPY's weighted fit, whose designs are not multiplied out into a stack."""
        logs = np.log(data)
        first = lstsq(design, logs.T).T
        found = lstsq(design, logs, weights=np.exp(2 * (first @ design.T)))
        least = 1e-6 / -design.min()
        return eig_from_lo_tri(found, min_diffusivity=least), None

    wls, own = TensorModel(table, fit_method="WLS"), TensorModel(table, fit_method=fit)
    yield (
        "DIPY, tensors of 20,000 voxels, WLS; by lstsq(weights=)",
        lambda: wls.fit(signal).model_params,
        lambda: own.fit(signal).model_params,
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
    wavelengths = np.linspace(-1, 1, 40)
    spectra = 1 + wavelengths + 0.1 * rng.standard_normal((10_000, 40))
    lines = models.Polynomial1D(3, n_models=len(spectra))
    yield (
        "astropy, Polynomial1D(3) of 10,000 spectra",
        lambda: fit(lines, wavelengths, spectra).parameters,
    )
    masked = np.ma.masked_array(spectra[:400], rng.random((400, 40)) < 0.1)
    some = models.Polynomial1D(3, n_models=len(masked))
    yield (
        "astropy, Polynomial1D(3) of 400 masked spectra",
        lambda: fit(some, wavelengths, masked).parameters,
    )


def _photutils() -> Iterator[tuple[str, Job]]:
    from photutils.centroids import centroid_quadratic, centroid_sources
    from photutils.segmentation import SegmentationImage, SourceCatalog

    rng = np.random.default_rng(0)
    row, column = np.mgrid[:25, :25]
    centers = 12 + rng.uniform(-1, 1, (20, 20, 2, 1, 1))
    squares = (row - centers[:, :, 0]) ** 2 + (column - centers[:, :, 1]) ** 2
    image = (10 * np.exp(-squares / 8)).swapaxes(1, 2).reshape(500, 500)
    image += 0.1 * rng.standard_normal(image.shape)
    labels = 1 + np.arange(400).reshape(20, 20).repeat(25, axis=0).repeat(25, axis=1)
    segments = SegmentationImage(np.where(image > 0.5, labels, 0))
    places = (12 + 25 * np.indices((20, 20))).reshape(2, -1)
    yield (
        "photutils, SourceCatalog of 400 sources",
        lambda: SourceCatalog(image, segments).centroid_quad,
    )
    yield (
        "photutils, centroid_quadratic of 400 sources",
        lambda: centroid_sources(image, *places, box_size=11, centroid_func=centroid_quadratic),
    )


def _mne() -> Iterator[tuple[str, Job]]:
    import mne

    mne.set_log_level("ERROR")
    rng = np.random.default_rng(0)
    montage = mne.channels.make_standard_montage("biosemi64")
    info = mne.create_info(montage.ch_names, 500.0, "eeg")
    epochs = mne.EpochsArray(1e-6 * rng.standard_normal((300, 64, 400)), info.set_montage(montage))
    design = np.column_stack([np.ones(300), rng.standard_normal((300, 3))])

    def regression() -> Any:
        found = mne.stats.linear_regression(epochs, design, names=["mean", "a", "b", "c"])
        return found["a"].beta.data

    yield "MNE, linear_regression of 300 epochs, 64×400", regression
    epochs.set_eeg_reference(projection=True)
    sphere = mne.make_sphere_model("auto", "auto", info)
    sources = mne.setup_volume_source_space(sphere=sphere, pos=15.0)
    forward = mne.make_forward_solution(info, None, sources, sphere, meg=False)
    noise, covariance = mne.make_ad_hoc_cov(info), mne.compute_covariance(epochs)

    def beamformer() -> Any:
        found = mne.beamformer.make_lcmv(
            epochs.info, forward, covariance, 0.05, noise, pick_ori="max-power"
        )
        return np.abs(found["weights"])  # their signs are arbitrary

    yield f"MNE, make_lcmv of {forward['nsource']} sources", beamformer


_CLIENTS = (_dipy, _statsmodels, _sklearn, _astropy, _photutils, _mne)
