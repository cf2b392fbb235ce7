"""What `import batchpinv` brings in and offers: no library that it does not need, the public names,
the version of the installed distribution, and docstrings whose examples run.
"""

import doctest
import importlib.metadata
import inspect
import platform

import numpy as np
import pytest
import scipy
from children import run_python

import batchpinv
from batchpinv import get_workers, show_config

FOREIGN = ["torch", "jax", "tqdm", "matplotlib", "mpmath", "cupy", "dask", "pandas"]
FUNCTIONS = [
    "get_workers", "lstsq", "pinv", "pinv_jvp", "pinv_vjp", "set_workers", "show_config",
]  # fmt: skip


def test_import_brings_in_no_foreign_library():
    printed = run_python("""
        import sys
        import batchpinv
        batchpinv.pinv([[1, 2], [3, 4]])
        batchpinv.show_config()
        print(*sorted({name.partition(".")[0] for name in sys.modules}))
    """)
    imported = printed.splitlines()[-1].split()
    assert "batchpinv" in imported
    assert "scipy" in imported
    assert not set(FOREIGN) & set(imported)


def test_import_starts_no_thread_and_changes_no_blas_threads():
    run_python("""
        import threading
        import scipy.linalg.cython_lapack
        from threadpoolctl import threadpool_info
        before = threadpool_info()
        import batchpinv
        assert threadpool_info() == before
        assert threading.active_count() == 1
    """)


def test_public_names_are_those_of_all():
    public = {name for name in vars(batchpinv) if not name.startswith("_")} | {"__version__"}
    modules = {name for name in public if inspect.ismodule(getattr(batchpinv, name))}
    assert modules <= {"cuda", "cython_pinv"}  # where a test has imported them
    public -= modules
    assert public == set(batchpinv.__all__)
    assert batchpinv.__all__ == sorted(batchpinv.__all__)
    assert {*FUNCTIONS, "Info", "LinAlgError", "Rung", "__version__"} == set(batchpinv.__all__)


def test_version_is_that_of_the_distribution():
    assert batchpinv.__version__ == importlib.metadata.version("batchpinv")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_examples_run(name):
    function = getattr(batchpinv, name)
    [test] = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    shown = []
    result = doctest.DocTestRunner().run(test, out=shown.append)
    assert result.attempted > 0
    assert not result.failed, "".join(shown)


@pytest.mark.parametrize("name", [*FUNCTIONS, "LinAlgError"])
def test_docstrings_name_every_parameter(name):
    documented = inspect.getdoc(getattr(batchpinv, name))
    for parameter in inspect.signature(getattr(batchpinv, name)).parameters:
        assert name == "LinAlgError" or parameter in documented


def test_config_as_dicts_says_what_is_in_use():
    config = show_config("dicts")
    assert list(config) == ["versions", "lapack", "workers", "simd", "cuda"]
    assert config["versions"] == {
        "batchpinv": batchpinv.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
    assert config["lapack"]["integer bits"] in (32, 64)
    assert config["lapack"]["threads"] >= 1
    assert config["lapack"]["library"] in config["lapack"]["file"]
    assert config["workers"]["default"] == get_workers()
    assert config["workers"]["usable CPUs"] >= 1
    assert set(map(type, config["simd"].values())) == {str}
    assert config["cuda"]["usable"] in (True, False)
    assert config["cuda"]["usable"] or config["cuda"]["reason"]


def test_config_is_printed_section_by_section(capsys):
    assert show_config() is None
    printed = capsys.readouterr().out
    for section, facts in show_config("dicts").items():
        assert f"{section}:\n" in printed
        assert all(f"  {name}: " in printed for name in facts)
    assert f"  batchpinv: {batchpinv.__version__}\n" in printed
