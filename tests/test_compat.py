"""`batchpinv.compat`: functions with the peers' own signatures and results, by name or by patch."""

import copy
import doctest
import importlib
import os
import pickle
import subprocess
import sys
import threading
from importlib.util import find_spec

import numpy as np
import pytest
import scipy.linalg
from children import environment, run_python

import batchpinv.compat.numpy as compat_numpy
import batchpinv.compat.scipy as compat_scipy
from batchpinv import show_config
from batchpinv.compat import Calls, calls, patch, unpatch

DTYPES = ["float64", "float32", "complex128", "complex64"]
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def same_numbers_in_any_order():
    global RNG
    RNG = np.random.default_rng(0)


def normal(*shape, dtype="float64"):
    a = RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)
    return (a if np.dtype(dtype).kind == "c" else a.real).astype(dtype)


def deficient(*shape, dtype="float64"):
    *batch, m, n = shape
    return normal(*batch, m, 2, dtype=dtype) @ normal(*batch, 2, n, dtype=dtype)


def squared(a):
    return a @ a.conj().swapaxes(-1, -2)


def parts(result):
    return result if isinstance(result, tuple) else (result,)


def assert_same(found, expected, rtol):
    found, expected = parts(found), parts(expected)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert type(one) is type(other)
        assert np.shape(one) == np.shape(other)
        assert np.asarray(one).dtype == np.asarray(other).dtype
        scale = np.abs(other).max(initial=0)
        np.testing.assert_allclose(one, other, rtol=0, atol=rtol * scale)


def call_ours(name, function, *arguments, **options):
    """The result of `function`, which must not have asked the peer."""
    before = calls().get(name, Calls(0, 0))
    result = function(*arguments, **options)
    assert calls()[name] == (before.ours + 1, before.peers)
    return result


@pytest.fixture
def always_ours(monkeypatch):
    """Our functions answer even if the peer is as fast."""
    monkeypatch.setattr("batchpinv.compat._values.LARGE", 10_000)
    for module in (compat_numpy, compat_scipy):
        monkeypatch.setattr(module, "pays", lambda a, b: True)


def outcome(function, *arguments, **options):
    try:
        return function(*arguments, **options)
    except Exception as error:
        return type(error), str(error)


# One function after the other.

A = {
    "tall": lambda d: normal(9, 5, dtype=d),
    "wide": lambda d: normal(5, 9, dtype=d),
    "stack": lambda d: normal(4, 6, 3, dtype=d),
    "deficient": lambda d: deficient(8, 6, dtype=d),
    "one": lambda d: normal(1, 1, dtype=d),
    "long": lambda d: normal(5000, 4, dtype=d),
}
LIKE_NUMPY = [
    ("pinv", {}),
    ("pinv", {"rtol": None}),
    ("pinv", {"rcond": 0.3}),
    ("pinv", {"rtol": 0.3}),
    ("matrix_rank", {}),
    ("matrix_rank", {"tol": 0.9}),
    ("matrix_rank", {"rtol": 0.3}),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", A)
@pytest.mark.parametrize(("name", "options"), LIKE_NUMPY)
def test_results_agree_with_numpys(name, options, kind, dtype):
    a = A[kind](dtype)
    if kind == "deficient" and options in ({}, {"rtol": None}):
        options = {"rtol": 1e-3} if name == "matrix_rank" else {"rcond": 1e-3}
    found = call_ours(f"numpy.linalg.{name}", getattr(compat_numpy, name), a, **options)
    assert_same(found, getattr(np.linalg, name)(a, **options), 2e3 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["pinv", "matrix_rank"])
def test_hermitian_results_agree_with_numpys(name, dtype):
    a = squared(normal(3, 5, 5, dtype=dtype)) + np.eye(5, dtype=dtype)
    found = call_ours(
        f"numpy.linalg.{name}", getattr(compat_numpy, name), np.tril(a), hermitian=True
    )
    expected = getattr(np.linalg, name)(a, hermitian=True)
    assert_same(found, expected, 1e4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(9,), (9, 1), (9, 3)])
@pytest.mark.parametrize("kind", ["tall", "wide", "deficient", "square", "long"])
@pytest.mark.parametrize("module", ["numpy", "scipy"])
def test_least_squares_agree_with_the_peers(always_ours, module, kind, shape, dtype):
    a = normal(5, 5, dtype=dtype) if kind == "square" else A[kind](dtype)
    b = normal(len(a), *shape[1:], dtype=dtype)
    options = [1e-3] if kind == "deficient" else []
    ours = {"numpy": compat_numpy, "scipy": compat_scipy}[module].lstsq
    peers = {"numpy": np, "scipy": scipy}[module].linalg.lstsq
    found = call_ours(f"{module}.linalg.lstsq", ours, a, b, *options)
    assert_same(found, peers(a, b, *options), 1e4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options",
    [{}, {"atol": 0.5}, {"rtol": 0.3}, {"atol": 0.3, "rtol": 0.2}, {"atol": 0.1, "rtol": 0}],
    ids=str,
)
@pytest.mark.parametrize("return_rank", [False, True])
@pytest.mark.parametrize("name", ["pinv", "pinvh"])
def test_pseudo_inverses_agree_with_scipys(name, return_rank, options, dtype):
    a = normal(6, 6, dtype=dtype)
    if name == "pinvh":
        a = (a + a.conj().T) / 2
    options = {**options, "return_rank": return_rank}
    found = call_ours(f"scipy.linalg.{name}", getattr(compat_scipy, name), a, **options)
    expected = getattr(scipy.linalg, name)(a, **options)
    assert_same(found, expected, 1e4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lower", [True, False])
def test_both_tolerances_of_scipys_pinvh_are_those_of_the_triangle(lower, dtype):
    a = normal(6, 6, dtype=dtype)  # the other triangle is not read
    options = {"atol": 0.3, "rtol": 0.2, "lower": lower, "return_rank": True}
    found = call_ours("scipy.linalg.pinvh", compat_scipy.pinvh, a, **options)
    whole = np.tril(a) if lower else np.triu(a)
    whole = whole + whole.conj().T - np.diag(whole.diagonal().real)
    expected = scipy.linalg.pinv(whole, atol=0.3, rtol=0.2, return_rank=True)
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e4 * np.finfo(dtype).eps)
    assert found[1] == expected[1] < 6


def test_one_matrix_for_many_systems_repeats_its_singular_values():
    found = compat_scipy.lstsq(normal(1, 5, 3), normal(4, 5, 2))
    assert [np.shape(part) for part in found] == [(4, 3, 2), (4, 2), (4,), (4, 3)]


def test_single_precision_is_decided_in_double_as_in_numpy(always_ours):
    a = normal(300_000, 3, dtype="float32")
    a[:, 2] = a[:, 1] * np.float32(1.001)
    b = normal(len(a), dtype="float32")
    x, _, rank, s = compat_numpy.lstsq(a, b)
    assert rank == np.linalg.lstsq(a, b)[2] == 3
    assert x.dtype == s.dtype == np.float32


def test_least_squares_of_one_small_matrix_are_left_to_the_peer():
    a, b = normal(6, 3), normal(6)
    for module, ours in (("numpy", compat_numpy), ("scipy", compat_scipy)):
        before = calls().get(f"{module}.linalg.lstsq", Calls(0, 0))
        ours.lstsq(a, b)
        assert calls()[f"{module}.linalg.lstsq"] == (before.ours, before.peers + 1)


def test_least_squares_of_a_long_matrix_are_ours():
    a, b = normal(200_000, 10), normal(200_000, 2)
    for module, ours, peers in (("numpy", compat_numpy, np), ("scipy", compat_scipy, scipy)):
        found = call_ours(f"{module}.linalg.lstsq", ours.lstsq, a, b)
        assert_same(found, peers.linalg.lstsq(a, b), 1e-12)


def test_least_squares_of_many_right_hand_sides_are_ours():
    a, b = normal(30, 4), normal(30, 1000)
    for module, ours, peers in (("numpy", compat_numpy, np), ("scipy", compat_scipy, scipy)):
        found = call_ours(f"{module}.linalg.lstsq", ours.lstsq, a, b)
        assert_same(found, peers.linalg.lstsq(a, b), 1e-12)


def test_lstsq_takes_stacks_although_the_peers_does_not():
    a, b = normal(7, 6, 3), normal(7, 6, 2)
    x, residuals, rank, s = compat_numpy.lstsq(a, b)
    assert x.shape == (7, 3, 2)
    assert residuals.shape == (7, 2)
    assert rank.tolist() == [3] * 7
    assert s.shape == (7, 3)
    np.testing.assert_allclose(x[4], np.linalg.lstsq(a[4], b[4])[0], rtol=1e-10)


@pytest.mark.parametrize("shape", [(50_000, 8), (8, 50_000), (5000, 3)])
@pytest.mark.parametrize("cond", [1.0, 1e4, 1e9])
def test_singular_values_of_long_matrices_are_accurate(always_ours, shape, cond):
    left, right = (np.linalg.qr(normal(n, min(shape)))[0] for n in shape)
    s = np.geomspace(1, 1 / cond, min(shape))
    found = compat_numpy.lstsq(left * s @ right.T, np.ones(shape[0]))[3]
    np.testing.assert_allclose(found, s, rtol=0, atol=1e-14)


# Calls that go to the peer.

NAN = np.full((3, 3), np.nan)
CALLS_OF_THE_PEER = [
    ("numpy", "pinv", (np.ones(3),), {}),
    ("numpy", "pinv", (NAN,), {}),
    ("numpy", "pinv", (np.ones((3, 3), np.float16),), {}),
    ("numpy", "pinv", (np.ones((3, 3)), 0.1), {"rtol": 0.1}),
    ("numpy", "pinv", (np.ones((3, 0)),), {}),
    ("numpy", "pinv", (np.ones((2, 3)),), {"hermitian": True}),
    ("numpy", "pinv", (), {}),
    ("numpy", "pinv", (np.ones((3, 3)),), {"tolerance": 1}),
    ("numpy", "pinv", ([["a"]],), {}),
    ("numpy", "pinv", (np.ones((3, 3)), [0.1, 0.2]), {}),
    ("numpy", "pinv", (np.ones((2, 3, 3)), np.ones((5, 2))), {}),
    ("numpy", "pinv", (np.eye(3, dtype=int),), {"rtol": None}),
    ("numpy", "lstsq", (np.ones((3, 3)), np.ones((2, 3, 1))), {}),
    ("numpy", "matrix_rank", (NAN,), {"tol": []}),
    ("numpy", "lstsq", (np.ones((3, 3)), np.ones(4)), {}),
    ("numpy", "lstsq", (np.ones(3), np.ones(3)), {}),
    ("numpy", "lstsq", (NAN, np.ones(3)), {}),
    ("numpy", "lstsq", (np.ones((3, 3)), np.ones((3, 0))), {}),
    ("numpy", "matrix_rank", (np.ones(3),), {}),
    ("numpy", "matrix_rank", (np.ones((3, 3)),), {"tol": 1, "rtol": 1}),
    ("scipy", "pinv", (np.ones(3),), {}),
    ("scipy", "pinv", (NAN,), {}),
    ("scipy", "pinv", (np.ones((3, 3)),), {"atol": -1}),
    ("scipy", "pinv", (np.ones((3, 3)),), {"rtol": -1.0}),
    ("scipy", "pinv", (np.ones((3, 3)),), {"rtol": [0.1]}),
    ("scipy", "pinvh", (np.ones((2, 3, 3)),), {"rtol": np.array([0.1, 0.2])}),
    ("scipy", "pinvh", (np.eye(3),), {"lower": "x"}),
    ("scipy", "pinvh", (np.ones((2, 3)),), {}),
    ("scipy", "pinvh", (NAN,), {}),
    ("scipy", "lstsq", (np.ones((3, 2)), np.ones(4)), {}),
    ("scipy", "lstsq", (np.ones((3, 2)), np.full(3, np.inf)), {}),
    ("scipy", "lstsq", (np.ones((3, 2)), np.ones(3)), {"lapack_driver": "none"}),
    ("scipy", "lstsq", (np.eye(3, 2), np.ones(3)), {"lapack_driver": "gelsy"}),
]


@pytest.mark.parametrize(("module", "name", "arguments", "options"), CALLS_OF_THE_PEER, ids=repr)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_peer_answers_or_fails_in_its_own_words(module, name, arguments, options):
    ours = getattr({"numpy": compat_numpy, "scipy": compat_scipy}[module], name)
    peers = getattr({"numpy": np, "scipy": scipy}[module].linalg, name)
    before = calls().get(f"{module}.linalg.{name}", Calls(0, 0))
    found, expected = (outcome(f, *arguments, **options) for f in (ours, peers))
    assert calls()[f"{module}.linalg.{name}"] == (before.ours, before.peers + 1)
    assert repr(found) == repr(expected)


@pytest.mark.parametrize("cond", [0, 1, 2.0, np.inf])
@pytest.mark.parametrize("module", ["numpy", "scipy"])
def test_tolerances_that_lapack_replaces_are_left_to_the_peer(always_ours, module, cond):
    a, b = deficient(5, 3), np.ones(5)
    ours = {"numpy": compat_numpy, "scipy": compat_scipy}[module].lstsq
    assert_same(ours(a, b, cond), {"numpy": np, "scipy": scipy}[module].linalg.lstsq(a, b, cond), 0)


def test_scipy_computes_short_integers_in_single_precision():
    a = np.arange(6, dtype=np.int16).reshape(3, 2)
    assert compat_scipy.pinv(a).dtype == scipy.linalg.pinv(a).dtype == np.float32


def test_nan_in_the_other_triangle_is_refused_as_by_scipy():
    with pytest.raises(ValueError, match="must not contain infs or NaNs"):
        compat_scipy.pinvh([[1.0, np.nan], [2.0, 3.0]])


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_subclasses_are_left_to_the_peer():
    found = compat_numpy.pinv(np.matrix(np.eye(2)))
    assert type(found) is np.matrix


# Patches.


@pytest.fixture(autouse=True)
def nothing_stays_patched():
    yield
    assert show_config("dicts")["compat"]["replaced"] == []


def test_a_patch_replaces_functions_and_puts_them_back():
    by_name = np.linalg.pinv, scipy.linalg.pinvh
    a = normal(4, 3)
    with patch("numpy", "scipy"):
        assert np.linalg.pinv is not by_name[0]
        assert np.linalg.pinv.__name__ == "pinv"
        assert np.linalg.pinv.__doc__ == by_name[0].__doc__
        np.testing.assert_allclose(
            call_ours("numpy.linalg.pinv", np.linalg.pinv, a), by_name[0](a), rtol=1e-12
        )
        call_ours("scipy.linalg.pinvh", scipy.linalg.pinvh, squared(a))
        assert show_config("dicts")["compat"]["replaced"] == [
            *(f"numpy.linalg.{name}" for name in ("pinv", "lstsq", "matrix_rank")),
            *(f"scipy.linalg.{name}" for name in ("pinv", "pinvh", "lstsq")),
        ]
    assert (np.linalg.pinv, scipy.linalg.pinvh) == by_name


def test_the_peers_own_modules_are_patched_too():
    with patch("numpy"):
        before = calls().get("numpy.linalg.lstsq", Calls(0, 0))
        np.polyfit(np.arange(4.0), np.arange(4.0), 1)
        assert sum(calls()["numpy.linalg.lstsq"]) == sum(before) + 1


def test_libraries_that_are_imported_under_the_patch_keep_their_own_rules():
    run_python("""
    import pickle
    import numpy as np
    from batchpinv.compat import patch
    with patch("numpy"):
        assert pickle.loads(pickle.dumps(np.linalg.pinv)) is np.linalg.pinv
        rules = {np.linalg.pinv: "mine"}
    class Mine:
        def __array_function__(self, function, types, arguments, options):
            return rules[function]
    assert np.linalg.pinv(Mine()) == "mine"
    with patch("numpy"):
        assert np.linalg.pinv(Mine()) == "mine"
    """)


def test_patching_twice_is_patching_once():
    original = np.linalg.pinv
    patch("numpy")
    with patch("numpy"):
        replaced = np.linalg.pinv
    assert np.linalg.pinv is replaced  # the first patch still holds
    unpatch()
    unpatch("numpy")
    assert np.linalg.pinv is original


def test_threads_may_patch_at_once():
    original = np.linalg.pinv
    wrong = []

    def work():
        for _ in range(50):
            with patch("numpy"):
                if np.linalg.pinv is original:  # another thread's block ended the patch
                    wrong.append(np.linalg.pinv)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert np.linalg.pinv is original


def test_the_last_block_that_ends_puts_the_originals_back():
    original = np.linalg.pinv
    first, second = patch("numpy"), patch("numpy", "scipy")
    with second:
        with first:
            pass
        assert np.linalg.pinv is not original
        with first:
            assert np.linalg.pinv is not original
        assert np.linalg.pinv is not original
    assert np.linalg.pinv is original


def test_unpatch_ends_the_blocks_of_others():
    original = np.linalg.pinv
    with patch("numpy"):
        unpatch()
        assert np.linalg.pinv is original
        with patch("numpy"):
            assert np.linalg.pinv is not original
        assert np.linalg.pinv is original


def test_functions_imported_under_the_patch_act_as_the_originals_after_it():
    original = np.linalg.pinv
    with patch("numpy", "scipy"):
        from numpy.linalg import pinv
        from scipy.linalg import pinvh

        call_ours("numpy.linalg.pinv", pinv, np.eye(2))
        call_ours("scipy.linalg.pinvh", pinvh, np.eye(2))
        for function in pinv, pinvh:
            assert pickle.loads(pickle.dumps(function)) is function
            assert copy.deepcopy(function) is function
    before = calls()
    pinv(np.eye(2))
    pinvh(np.eye(2))
    assert calls() == before
    assert pickle.loads(pickle.dumps(pinv)) is original
    assert pickle.loads(pickle.dumps(pinvh)) is scipy.linalg.pinvh
    assert b"batchpinv" not in pickle.dumps(pinv)
    with patch("numpy"):
        assert np.linalg.pinv is pinv
        call_ours("numpy.linalg.pinv", pinv, np.eye(2))


def test_replacements_look_like_the_originals():
    original = np.linalg.pinv
    with patch("numpy"):
        assert {original: 1}[np.linalg.pinv] == {np.linalg.pinv: 1}[original] == 1
        assert np.linalg.pinv != np.linalg.lstsq
        assert np.linalg.pinv._implementation is original._implementation
        assert "numpy.linalg.pinv in the place of <function pinv" in repr(np.linalg.pinv)


def test_a_later_replacement_by_somebody_else_stays(monkeypatch):
    with monkeypatch.context() as somebody:
        block = patch("numpy")
        replaced, pinv = np.linalg.pinv, lambda a: replaced(a)
        somebody.setattr(np.linalg, "pinv", pinv)
        assert "numpy.linalg.pinv" not in show_config("dicts")["compat"]["replaced"]
        with pytest.warns(RuntimeWarning, match=r"somebody else has replaced numpy\.linalg\.pinv"):
            block.__exit__(None, None, None)
        assert np.linalg.pinv is pinv
        before = calls()
        np.linalg.pinv(np.eye(2))  # calls the original by way of ours
        assert calls() == before
        patch("numpy")
        call_ours("numpy.linalg.pinv", np.linalg.pinv, np.eye(2))
        unpatch()
        assert np.linalg.pinv is pinv
    np.linalg.pinv = replaced.original


def test_an_unknown_library_is_refused():
    with pytest.raises(ValueError, match="libraries must be among numpy, scipy, torch"):
        patch("tensorflow")


def test_a_program_runs_under_the_patch_with_its_own_arguments(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, numpy as np\nprint(sys.argv[1:], np.linalg.pinv(np.eye(2)).sum())\n"
    )
    for how in ([str(program)], ["-m", "program"]):
        child = subprocess.run(
            [sys.executable, "-P", "-m", "batchpinv.compat", "--count", *how, "--count", "x"],
            env=environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert child.stdout == "['--count', 'x'] 2.0\n"
        assert child.stderr == "numpy.linalg.pinv: 1 by batchpinv, 0 by numpy itself\n"


def test_calls_after_the_main_program_are_counted(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import atexit, threading, time, numpy as np\n"
        "def late(): time.sleep(0.2); np.linalg.pinv(np.eye(2))\n"
        "threading.Thread(target=late).start()\n"
        "atexit.register(np.linalg.pinv, np.eye(3))\n"
    )
    child = subprocess.run(
        [sys.executable, "-P", "-m", "batchpinv.compat", "--count", str(program)],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stderr == "numpy.linalg.pinv: 2 by batchpinv, 0 by numpy itself\n"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["missing.py"], "cannot read missing.py: No such file or directory"),
        (["."], f"cannot read {os.path.join('.', '__main__.py')}: No such file or directory"),
        (["-m", "missing"], "no module is named missing"),
        (["-m", "json"], "no module is named json.__main__"),
        (["-m", "missing.module"], "No module named 'missing'"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_a_missing_program_ends_in_one_line(tmp_path, arguments, why):
    child = subprocess.run(
        [sys.executable, "-P", "-m", "batchpinv.compat", *arguments],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert child.returncode == 2
    assert child.stderr == f"python -m batchpinv.compat: {why}\n"


@pytest.mark.parametrize(
    "name",
    ["numpy", "scipy", "_calls", "_patch", *(name for name in ("torch", "jax") if find_spec(name))],
)
def test_docstring_examples_run(name):
    module = importlib.import_module(f"batchpinv.compat.{name}")
    failed, tried = doctest.testmod(module, report=False)
    assert failed == 0
    assert tried >= 4


def test_importing_batchpinv_does_not_import_compat():
    run_python("""
    import sys, batchpinv
    assert not [name for name in sys.modules if name.startswith("batchpinv.compat")]
    import batchpinv.compat
    assert "scipy" not in sys.modules
    """)
