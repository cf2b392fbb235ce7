"""What `import batchpinv` imports and offers: no library that it does not need, the public names,
the version of the installed distribution, and docstrings whose examples run.
"""

import doctest
import importlib.metadata
import inspect
import os
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
CLASSES = ["Info", "LinAlgError", "RankWarning", "Rung"]


def test_import_and_calls_import_no_foreign_library():
    printed = run_python("""
        import sys
        import batchpinv
        batchpinv.pinv([[1, 2], [3, 4]])
        batchpinv.pinv([[1] * 70] * 70)  # by LAPACK
        batchpinv.show_config()
        print(*sorted({name.partition(".")[0] for name in sys.modules}))
    """)
    imported = printed.splitlines()[-1].split()
    assert "batchpinv" in imported
    assert "scipy" in imported
    assert not set(FOREIGN) & set(imported)


def test_scipy_is_imported_when_lapack_is_first_needed():
    """`import batchpinv` takes 1.2 times as long as `import numpy`; with SciPy it took 2.7."""
    run_python("""
        import sys
        import numpy as np
        import batchpinv
        def is_there(name):
            return name in sys.modules
        assert np.all(batchpinv.pinv(2 * np.eye(3)) == np.eye(3) / 2)
        assert not is_there("scipy") and not is_there("importlib.metadata")
        assert np.all(batchpinv.pinv(2 * np.eye(70)) == np.eye(70) / 2)
        assert is_there("scipy.linalg.cython_lapack")
        from importlib.metadata import version
        assert batchpinv.__version__ == version("batchpinv")
        try:
            batchpinv.no_such_name
        except AttributeError as error:
            assert "'batchpinv' has no attribute 'no_such_name'" in str(error)
        else:
            raise AssertionError
    """)


@pytest.mark.skipif(platform.system() != "Linux", reason="glibc's feenableexcept")
def test_scipy_can_first_be_imported_under_traps_and_by_many_threads():
    """The traps are the callers' own, and are still set after the call."""
    run_python("""
        import ctypes, threading
        import numpy as np
        import batchpinv
        libm = ctypes.CDLL("libm.so.6")
        def work():
            libm.feenableexcept(1 | 4 | 8)
            answers.append(batchpinv.pinv(2 * np.eye(70)))
            flags.append(libm.fegetexcept())
        answers, flags = [], []
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert len(answers) == 8 and all(np.all(x == np.eye(70) / 2) for x in answers)
        assert flags == [13] * 8
    """)


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
    assert modules <= {"compat", "cuda", "cython_pinv"}  # if a test has imported them
    public -= modules
    assert public == set(batchpinv.__all__)
    assert batchpinv.__all__ == sorted(batchpinv.__all__)
    assert {*FUNCTIONS, *CLASSES, "__version__"} == set(batchpinv.__all__)


def test_version_is_that_of_the_distribution():
    assert batchpinv.__version__ == importlib.metadata.version("batchpinv")


@pytest.mark.parametrize("name", [*FUNCTIONS, *CLASSES])
def test_docstring_examples_run(name):
    documented = getattr(batchpinv, name)
    [test] = doctest.DocTestFinder(recurse=False).find(documented, name, globs={})
    shown = []
    result = doctest.DocTestRunner().run(test, out=shown.append)
    assert result.attempted > 0
    assert not result.failed, "".join(shown)


@pytest.mark.parametrize("name", [*FUNCTIONS, "LinAlgError"])
def test_docstrings_name_every_parameter(name):
    documented = inspect.getdoc(getattr(batchpinv, name))
    for parameter in inspect.signature(getattr(batchpinv, name)).parameters:
        assert name == "LinAlgError" or parameter in documented


def test_config_as_dicts_reports_versions_libraries_and_workers():
    batchpinv.pinv(np.eye(70))  # by LAPACK
    config = show_config("dicts")
    assert list(config) == ["versions", "lapack", "workers", "simd", "cuda", "compat"]
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
    assert config["cuda"]["loaded"].startswith(("not yet", "yes", "no: "))
    assert set(map(type, config["cuda"].values())) <= {str, bool}


def test_config_is_printed_section_by_section(capsys):
    assert show_config() is None
    printed = capsys.readouterr().out
    for section, facts in show_config("dicts").items():
        assert f"{section}:\n" in printed
        assert all(f"  {name}: " in printed for name in facts)
    assert f"  batchpinv: {batchpinv.__version__}\n" in printed


@pytest.mark.parametrize("workers", ["", "0", "abc", "1.5", "-99"])
def test_config_loads_no_lapack_and_never_raises(workers):
    run_python(
        f"""
        import sys
        import batchpinv
        config = batchpinv.show_config("dicts")
        assert not [name for name in sys.modules if name.partition(".")[0] == "scipy"]
        assert config["versions"]["scipy"][0].isdigit()
        assert config["lapack"]["library"] == config["simd"]["lapack kernels"] == "not loaded yet"
        assert config["lapack"]["threads"] is None
        default = config["workers"]["default"]
        assert "BATCHPINV_NUM_THREADS" in default if {workers!r} else default >= 1
        batchpinv.show_config()
        """,
        BATCHPINV_NUM_THREADS=workers,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("loaded", [False, True])
def test_a_forked_child_has_the_config_of_its_parent(loaded):
    run_python(f"""
        import os
        import numpy as np
        from batchpinv import pinv, show_config
        if {loaded}:
            pinv(np.eye(70))
        config = show_config("dicts")
        child = os.fork()
        if not child:
            os._exit(0 if show_config("dicts") == config else 3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (config["lapack"]["library"] == "not loaded yet") is not {loaded}
    """)
