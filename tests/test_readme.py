"""The examples of README.md and recipes.md run and compute what they say, what the README tells to
write instead of other libraries' calls means the same, and links lead somewhere.
"""

import importlib
import re
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg

import batchpinv

ROOT = Path(__file__).parents[1]
TEXT = "\n".join(
    page.read_text(encoding="utf-8") for page in (ROOT / "README.md", ROOT / "tests/recipes.md")
)
SECTIONS = re.findall(r"^##?#? (.*?)\n(.*?)(?=^##?#? |\Z)", TEXT, re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = {title: "".join(CODE.findall(text)) for title, text in SECTIONS if CODE.search(text)}
# Pairs of another library's call and what to write instead; `a` is a stack.
CALLS = re.findall(r"^\| `((?:np|scipy|torch|jnp)\.[^`]*)` \| `([^`]*)` \|", TEXT, re.MULTILINE)


def installed(code):
    modules = re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)
    return all(find_spec(module) for module in modules)


@pytest.fixture(scope="module")
def after():
    """The names after each example, which may use those of the examples before it."""
    names, found = {}, {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for title, code in EXAMPLES.items():
            if installed(code):
                exec(compile(code, title, "exec"), names)
                found[title] = dict(names)
    return found


def close(x, expected, tol=1e-9):
    np.testing.assert_allclose(x, expected, rtol=tol, atol=tol * np.abs(expected).max())


def check_use(names):
    assert names["x"].shape == (20_000, 7, 65)
    close(names["x"][:100], np.linalg.pinv(names["a"][:100], rtol=None))
    assert (names["info"].rank == 7).all()
    assert (names["rank"] == 7).all()
    assert names["residuals"].shape == (20_000,)
    assert names["covariance"].shape == (20_000, 7, 7)


def check_derivatives(names):
    close(names["dx"][:100], -names["x"][:100])  # since pinv(t a) is pinv(a) / t
    assert names["ga"].shape == names["a"].shape


def check_beamforming(names):
    assert names["w"].shape == (1200, 8, 64)
    assert names["w"].dtype == np.complex64
    close(names["w"], np.linalg.pinv(names["h"]), 1e-4)
    assert 1e-8 < names["crosstalk"] < 1e-5


def check_jacobians(names):
    jacobian, twist = names["jacobian"], names["twist"]
    assert names["rank"].tolist() == [5, 6] * 50_000
    few = slice(0, 200)
    expected = np.linalg.pinv(jacobian[few], rtol=1e-4)
    close(names["exact"][few], (expected @ twist[few, :, None])[..., 0], 1e-8)
    stacked = np.concatenate([jacobian[few], np.full((200, 7, 7), 1e-2 * np.eye(7))], axis=1)
    given = np.concatenate([twist[few], np.zeros((200, 7))], axis=1)
    close(names["speed"][few], (np.linalg.pinv(stacked) @ given[..., None])[..., 0])


def check_voxels(names):
    design, logs, weights = names["design"], names["logs"], names["weights"]
    for voxel in 0, 7, 19_999:
        seen = np.isfinite(logs[voxel])
        assert 40 < seen.sum() < 65
        root = np.sqrt(weights[voxel, seen])
        expected = np.linalg.lstsq(root[:, None] * design[seen], root * logs[voxel, seen])[0]
        close(names["tensors"][voxel], expected)


def check_groups(names):
    assert (names["rank"] == 3).all()
    for group in 0, 500, 999:
        size = names["sizes"][group]
        a, b = names["groups"][group, :size], names["measured"][group, :size]
        close(names["x"][group], np.linalg.lstsq(a, b)[0])


def check_pontius(names):
    certified, x, y = names["certified"], names["X"], names["y"]
    for tol, solution in (1e-13, batchpinv.lstsq(x, y)), (1e-6, np.linalg.lstsq(x, y)[0]):
        np.testing.assert_allclose(solution, certified, rtol=tol)
    said = [float(digits) for digits in re.findall(r"# ([\d., ]+)$", POLYNOMIAL)[0].split(",")]
    solutions = [
        batchpinv.lstsq(x, y), np.linalg.lstsq(x, y)[0], np.linalg.pinv(x) @ y,
    ]  # fmt: skip
    found = [-np.log10(np.abs(solution / certified - 1).max()) for solution in solutions]
    assert found == pytest.approx(said, abs=1.5)


def check_rolling(names):
    start = 1234
    assert np.shares_memory(names["X"], names["factors"])
    days = slice(start, start + 60)
    a, b = names["factors"][days], names["returns"][days]
    x, (squares,) = np.linalg.lstsq(a, b)[:2]
    close(names["exposures"][start], x)
    close(names["squares"][start], squares)
    close(names["errors"][start], np.sqrt(squares / 57 * np.diag(np.linalg.inv(a.T @ a))))
    assert np.abs(x - [0.9, 0.2, -0.4]).max() < 6 * names["errors"][start].max()
    root = np.sqrt(0.5 ** (np.arange(60)[::-1] / 20))
    close(names["lately"][start], np.linalg.lstsq(root[:, None] * a, root * b)[0])


def check_pixels(names):
    trend = names["trend"]
    assert trend.dims == ("y", "x")
    assert trend.chunks  # lazy
    pixel = names["cube"][:, 7, 50].values
    close(trend[7, 50].values, np.polyfit(names["years"], pixel, 1)[0])


def check_layer(names):
    import torch

    layer, task = names["layer"], names["task"]
    given = torch.nn.functional.linear(task[:, :20], *layer.features[0].parameters()).tanh()
    fit = torch.linalg.pinv(given) @ task[:, :20].sin().sum(-1, keepdim=True)
    torch.testing.assert_close(
        names["guess"], layer.features(task[:, 20:]) @ fit, rtol=1e-2, atol=1e-2
    )
    gradients = [parameter.grad for parameter in layer.parameters()]
    assert all(gradient.isfinite().all() and gradient.abs().max() > 0 for gradient in gradients)


def check_jax(names):
    a, b = np.asarray(names["one"], float), np.asarray(names["y"], float)
    x, (residual,) = np.linalg.lstsq(a, b)[:2]
    assert float(names["value"]) == pytest.approx(residual, rel=1e-3)
    close(names["slope"], 2 * np.outer(a @ x - b, x), 1e-3)


def check_dask(names):
    stack = names["weights"][:, :, None] * names["design"]
    assert names["lazy"].chunks[0] == (2_000,) * 10
    assert (names["rank"] == 7).all()
    np.testing.assert_array_equal(names["x"], batchpinv.pinv(stack))


def check_numba(names):
    np.testing.assert_array_equal(names["x"], batchpinv.pinv(names["jacobian"][:1000]))


def check_compat(names):
    np.testing.assert_array_equal(names["x"], batchpinv.pinv(names["a"], rtol=1e-15))
    assert names["calls"]()["numpy.linalg.pinv"].ours >= 1
    assert batchpinv.show_config("dicts")["compat"]["replaced"] == []


CHECKS = {
    "Use": check_use,
    "Fits in every voxel, with weights and missing values": check_voxels,
    "Groups of different length": check_groups,
    "A robot near a singularity": check_jacobians,
    "A rolling regression, its error bars, and recent days first": check_rolling,
    "A trend in every pixel, with xarray and Dask": check_pixels,
    "Beamforming weights for every subcarrier": check_beamforming,
    "A polynomial that is badly scaled": check_pontius,
    "A layer of PyTorch that fits by least squares": check_layer,
    "JAX under `jit`": check_jax,
    "A stack larger than memory, with Dask": check_dask,
    "A parallel loop of Numba": check_numba,
    "Derivatives by hand": check_derivatives,
    "A program that is not yours": check_compat,
}
POLYNOMIAL = EXAMPLES["A polynomial that is badly scaled"]


def test_each_example_has_its_check():
    assert list(CHECKS) == list(EXAMPLES)


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_links_lead_somewhere():
    # The tests may be run without the sources.
    sources = all((ROOT / name).exists() for name in ("src", "benchmarks", ".github"))
    pages = [ROOT / "README.md", *(ROOT / "tests").rglob("*.md")]
    if sources:
        pages += [*(ROOT / "src").rglob("*.md"), *(ROOT / ".github").rglob("*.md")]
        pages += [ROOT / "benchmarks" / "README.md"]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for path, heading in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", text):
            target = page.parent / path if path else page
            if not sources and not target.exists():
                continue
            assert target.exists(), (page, path)
            if heading:
                titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
                anchors = [re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles]
                assert heading in anchors, (page, path, heading)


@pytest.mark.parametrize("title", [title for title, code in EXAMPLES.items() if installed(code)])
def test_an_example_computes_what_it_says(after, title):
    CHECKS[title](after[title])


def stack(kind):
    """Matrices of rank 3 with noise of 1e-10, so that tolerances matter; or Hermitian ones."""
    rng = np.random.default_rng(5)
    left, right = rng.standard_normal((20, 5, 3)), rng.standard_normal((20, 3, 4))
    if kind == "hermitian":
        return left @ left.mT
    return left @ right + 1e-10 * rng.standard_normal((20, 5, 4))


def evaluate(call, library, operands):
    names = {"np": np, "scipy": scipy, "pinv": batchpinv.pinv, "lstsq": batchpinv.lstsq}
    if library in ("torch", "jnp"):
        names[library] = importlib.import_module({"jnp": "jax.numpy"}.get(library, library))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return eval(call, names, operands)


def test_there_are_calls_to_translate():
    assert {call.partition(".")[0] for call, _ in CALLS} == {"np", "scipy", "torch", "jnp"}
    assert len(CALLS) >= 8


MODULES = {"np": "numpy", "scipy": "scipy", "torch": "torch", "jnp": "jax"}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [pair for pair in CALLS if find_spec(MODULES[pair[0].partition(".")[0]])],
)
def test_a_translated_call_means_the_same(theirs, ours):
    library = theirs.partition(".")[0]
    kind = "hermitian" if "hermitian" in ours else "general"
    a = stack(kind)
    if library == "torch":
        import torch

        a = torch.from_numpy(a)
    if library == "jnp":
        import jax

        a = jax.numpy.asarray(a)
    operands = {"a": a, "b": a[0, :, 0], "t": 1e-9, "r": 1e-6}
    expected = evaluate(theirs, library, operands)
    found = evaluate(ours, library, operands)
    assert type(found) is type(expected) or library == "np"
    close(np.asarray(found), np.asarray(expected), 1e-3)
